//! One row of the `invitations` table with what decides on it: verifying its token and ending it.

use std::collections::HashMap;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Result, StoreError};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::invitation::StateName;
use crate::domain::token::{NONCE_BYTES, TokenSubject};

/// The invitation that a token or an action is about. Not `Debug`: it holds an address.
pub struct Subject {
    pub id: Uuid,
    pub organization_id: String,
    pub is_organization_deleted: bool,
    pub is_organization_suspended: bool,
    /// Counts the rotations of the link.
    pub generation: i32,
    pub nonce: [u8; NONCE_BYTES],
    /// The key that the token is derived with.
    pub key_id: i16,
    /// Empty once the address was erased. No token belongs to such an invitation.
    pub email_normalized: String,
    /// The state in the row, see [`Subject::state`].
    pub state: String,
    pub expires_at: OffsetDateTime,
    /// The user who accepted or revoked the invitation.
    pub ended_by_user_id: Option<String>,
}

impl Subject {
    pub fn state(&self, now: OffsetDateTime) -> Result<StateName> {
        current_state(&self.state, self.expires_at, now)
    }

    pub const fn is_erased(&self) -> bool {
        self.email_normalized.is_empty()
    }

    pub fn key_id(&self) -> Result<u8> {
        u8::try_from(self.key_id).map_err(|_| StoreError::Inconsistent("invitations.key_id"))
    }

    pub fn token_subject(&self) -> Result<TokenSubject<'_>> {
        Ok(TokenSubject {
            organization_id: &self.organization_id,
            invitation_id: self.id,
            generation: u32::try_from(self.generation)
                .map_err(|_| StoreError::Inconsistent("invitations.generation"))?,
            nonce: self.nonce,
            email_normalized: &self.email_normalized,
        })
    }
}

/// The state at a time. A row says `pending` until the sweeper ends it, even if the invitation has expired.
pub(super) fn current_state(
    stored: &str,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<StateName> {
    match StateName::from_name(stored) {
        Some(StateName::Pending) if expires_at <= now => Ok(StateName::Expired),
        Some(state) => Ok(state),
        None => Err(StoreError::Inconsistent("invitations.state")),
    }
}

/// Returns the redirect URLs of an organization's invitations, by id.
pub async fn redirect_urls(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    ids: &[Uuid],
) -> Result<HashMap<Uuid, String>> {
    let query = sqlx::query!(
        "-- store::subjects::redirect_urls
        SELECT id, redirect_url FROM invitations WHERE id = ANY($2) AND organization_id = $1",
        organization_id.as_str(),
        ids,
    )
    .map(|row| (row.id, row.redirect_url));
    connection.fetch_all(query).await
}

/// Returns those of an organization's invitations that exist, to derive their links. Does not read the organization.
pub async fn find_many(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    ids: &[Uuid],
) -> Result<Vec<Subject>> {
    let query = sqlx::query_as!(
        Subject,
        r#"-- store::subjects::find_many
        SELECT i.id, i.organization_id, false AS "is_organization_deleted!", false AS "is_organization_suspended!",
               i.generation, i.nonce AS "nonce: [u8; NONCE_BYTES]", i.key_id,
               coalesce(i.email_normalized, '') AS "email_normalized!", i.state, i.expires_at, i.ended_by_user_id
          FROM invitations i
         WHERE i.id = ANY($2) AND i.organization_id = $1"#,
        organization_id.as_str(),
        ids,
    );
    connection.fetch_all(query).await
}

/// Locks one invitation until the transaction ends.
pub async fn lock(
    connection: &mut Connection<'_>,
    organization_id: &str,
    id: Uuid,
) -> Result<Option<Subject>> {
    let query = sqlx::query_as!(
        Subject,
        r#"-- store::subjects::lock
        SELECT i.id AS "id!", i.organization_id AS "organization_id!",
               o.deleted_at IS NOT NULL AS "is_organization_deleted!",
               o.suspended_at IS NOT NULL AS "is_organization_suspended!", i.generation AS "generation!",
               i.nonce AS "nonce!: [u8; NONCE_BYTES]", i.key_id AS "key_id!",
               coalesce(i.email_normalized, '') AS "email_normalized!",
               i.state AS "state!", i.expires_at AS "expires_at!", i.ended_by_user_id AS "ended_by_user_id?"
          FROM invitations i
          JOIN organizations o ON o.id = i.organization_id
         WHERE i.id = $2 AND i.organization_id = $1
           FOR UPDATE OF i"#,
        organization_id,
        id,
    );
    connection.fetch_optional(query).await
}

/// Whether the invitation is for any address, for one of these, or for one that the directory has for the user.
pub async fn is_addressed_to(
    connection: &mut Connection<'_>,
    subject: &Subject,
    emails_normalized: &[String],
    user_id: Option<&UserId>,
) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"-- store::subjects::is_addressed_to
        SELECT EXISTS (
               SELECT FROM invitations i
                WHERE i.id = $2 AND i.organization_id = $1
                  AND (i.accept_policy = 'any_email'
                       OR i.email_normalized = ANY($3)
                       OR EXISTS (SELECT FROM user_emails e
                                   WHERE e.email_normalized = i.email_normalized AND e.user_id = $4))) AS "is_for!""#,
        subject.organization_id,
        subject.id,
        emails_normalized,
        user_id.map(UserId::as_str),
    );
    connection.fetch_one(query).await
}

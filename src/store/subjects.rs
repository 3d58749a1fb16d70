//! One invitation as what decides over it: what a token is checked against, and what becomes of an attempt to accept it.
//!
//! Statements on the `invitations` table; those that make, end and list many stand in `invitations`.

use super::Connection;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::audit::AuditEvent;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;
use crate::domain::membership::Membership;
use crate::domain::token::TokenSubject;
use crate::domain::user::User;

/// What decides over a token or an action on one invitation. Not `Debug`: it holds an address.
pub struct Subject {
    /// The invitation.
    pub id: Uuid,
    /// The organization.
    pub organization_id: String,
    /// Whether that was deleted.
    pub is_organization_deleted: bool,
    /// Whether that is suspended.
    pub is_organization_suspended: bool,
    /// Counts the rotations of the link.
    pub generation: i32,
    /// Its chance.
    pub nonce: Vec<u8>,
    /// The key its token is derived with.
    pub key_id: i16,
    /// The invited address; empty once it was erased, which no token is of.
    pub email_normalized: String,
    /// The state's name in the store.
    pub state: String,
    /// When it expires.
    pub expires_at: OffsetDateTime,
    /// Who accepted or revoked it.
    pub ended_by_user_id: Option<String>,
}

impl Subject {
    /// The state as whoever reads now sees it.
    pub fn state(&self, now: OffsetDateTime) -> Result<StateName, StoreError> {
        match StateName::from_name(&self.state) {
            Some(StateName::Pending) if self.expires_at <= now => Ok(StateName::Expired),
            Some(state) => Ok(state),
            None => Err(StoreError::Inconsistent("invitations.state")),
        }
    }

    /// Whether the address was erased, so that nobody can be mailed any more.
    #[must_use]
    pub const fn is_erased(&self) -> bool {
        self.email_normalized.is_empty()
    }

    /// The key its token is derived with.
    pub fn key_id(&self) -> Result<u8, StoreError> {
        u8::try_from(self.key_id).map_err(|_| StoreError::Inconsistent("invitations.key_id"))
    }

    /// What its token is bound to.
    pub fn token_subject(&self) -> Result<TokenSubject<'_>, StoreError> {
        Ok(TokenSubject {
            organization_id: &self.organization_id,
            invitation_id: self.id,
            generation: u32::try_from(self.generation)
                .map_err(|_| StoreError::Inconsistent("invitations.generation"))?,
            nonce: self
                .nonce
                .as_slice()
                .try_into()
                .map_err(|_| StoreError::Inconsistent("invitations.nonce"))?,
            email_normalized: &self.email_normalized,
        })
    }
}

/// Finds many at once, of one organization: what deriving their links takes.
pub async fn find_many(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    ids: &[Uuid],
) -> Result<Vec<Subject>, StoreError> {
    let subjects = sqlx::query_as!(
        Subject,
        r#"-- store::subjects::find_many
        SELECT i.id, i.organization_id, false AS "is_organization_deleted!", false AS "is_organization_suspended!",
               i.generation, i.nonce, i.key_id,
               coalesce(i.email_normalized, '') AS "email_normalized!", i.state, i.expires_at, i.ended_by_user_id
          FROM invitations i
         WHERE i.id = ANY($2) AND i.organization_id = $1"#,
        organization_id.as_str(),
        ids,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(subjects)
}

/// Locks one invitation of an organization until the transaction ends.
pub async fn lock(
    connection: &mut Connection<'_>,
    organization_id: &str,
    id: Uuid,
) -> Result<Option<Subject>, StoreError> {
    let subject = sqlx::query_as!(
        Subject,
        r#"-- store::subjects::lock
        SELECT i.id AS "id!", i.organization_id AS "organization_id!",
               o.deleted_at IS NOT NULL AS "is_organization_deleted!",
               o.suspended_at IS NOT NULL AS "is_organization_suspended!", i.generation AS "generation!",
               i.nonce AS "nonce!", i.key_id AS "key_id!", coalesce(i.email_normalized, '') AS "email_normalized!",
               i.state AS "state!", i.expires_at AS "expires_at!", i.ended_by_user_id AS "ended_by_user_id?"
          FROM invitations i
          JOIN organizations o ON o.id = i.organization_id
         WHERE i.id = $2 AND i.organization_id = $1
           FOR UPDATE OF i"#,
        organization_id,
        id,
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(subject)
}

/// An attempt to accept. Not `Debug`: it holds addresses.
pub struct Acceptance<'a> {
    /// The invitation's row, its token verified.
    pub subject: &'a Subject,
    /// Who accepts.
    pub user_id: &'a str,
    /// Their name, if the directory does not know them.
    pub user_name: &'a str,
    /// Addresses the caller has verified, beside those the directory knows.
    pub emails_normalized: &'a [String],
    /// Those of them that the directory takes on for a user whom it does not know.
    pub emails_to_keep: &'a [String],
    /// Now.
    pub now: OffsetDateTime,
    /// The version of the invitation's row when it was found.
    pub version: &'a str,
    /// What is written down if it is accepted.
    pub event: &'a AuditEvent,
}

/// What an attempt to accept came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted {
    /// Whether this attempt won the invitation.
    pub is_claimed: bool,
    /// Whether the invitation was, until then, as it was found, and a mail that it owed was held by nobody.
    pub is_as_found: bool,
    /// Whether the invited address became known as this user's.
    pub is_proven: bool,
    /// The membership that this made; if there is none, the user was a member already.
    pub joined: Option<Membership>,
}

/// Accepts, in one statement: claims the invitation if everything still holds, makes the membership, adds a user whom
/// the directory does not know, cancels queued mail, and writes the event. Of any number at once, one claims.
pub async fn accept(
    connection: &mut Connection<'_>,
    acceptance: &Acceptance<'_>,
) -> Result<Accepted, StoreError> {
    let row = sqlx::query!(
        r#"-- store::subjects::accept
        WITH target AS (
            SELECT id, delivery_state, xmin::text = $14 AS is_as_found
              FROM invitations
             WHERE id = $2 AND organization_id = $1 AND state = 'pending' FOR NO KEY UPDATE
        ), claimed AS (
            UPDATE invitations AS i
               SET state = 'accepted', ended_at = $7, ended_by_user_id = $4, updated_at = $7, next_attempt_at = NULL,
                   remind_at = NULL, last_accept_error = NULL,
                   delivery_state = CASE WHEN i.delivery_state IN ('queued', 'deferred') THEN 'canceled'
                                         ELSE i.delivery_state END
              FROM target
             WHERE i.id = target.id AND i.organization_id = $1 AND i.generation = $3
               AND i.state = 'pending' AND i.expires_at > $7
               AND (i.accept_policy = 'any_email'
                    OR i.email_normalized = ANY($6)
                    OR EXISTS (SELECT FROM user_emails e
                                WHERE e.email_normalized = i.email_normalized AND e.user_id = $4))
               AND EXISTS (SELECT FROM organizations o
                            WHERE o.id = $1 AND o.deleted_at IS NULL AND o.suspended_at IS NULL
                              AND i.role = ANY(o.roles)
                              AND (NOT o.recheck_inviter
                                   OR EXISTS (SELECT FROM memberships m
                                               WHERE m.organization_id = $1 AND m.role = 'admin'
                                                 AND m.user_id = i.inviter_user_id)))
            RETURNING i.id, i.batch_id, i.role, i.public_metadata, i.private_metadata, i.send_seq, i.email_normalized,
                      target.is_as_found, target.delivery_state AS old_delivery_state, i.delivery_state,
                      target.delivery_state IN ('queued', 'deferred') AS is_owed, 'queued' AS waiting
        ), told AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                    new_delivery_state, invitation_ids)
            SELECT $7, $1, batch_id, 'accepted', 'pending', old_delivery_state, 'accepted', delivery_state, ARRAY[id]
              FROM claimed
        ), joined AS (
            INSERT INTO memberships
                   (organization_id, user_id, role, public_metadata, private_metadata, invitation_id, created_at,
                    updated_at)
            SELECT $1, $4, role, public_metadata, private_metadata, $2, $7, $7 FROM claimed
                ON CONFLICT (organization_id, user_id) DO NOTHING
            RETURNING role, public_metadata, private_metadata
        ), introduced AS (
            INSERT INTO users (id, name, created_at, updated_at)
            SELECT $4, $5, $7, $7 FROM claimed
                ON CONFLICT (id) DO NOTHING RETURNING id
        ), proven AS (
            INSERT INTO user_emails (email_normalized, user_id)
            SELECT DISTINCT email_normalized, introduced.id
              FROM introduced, UNNEST($8::text[]) AS t (email_normalized)
                ON CONFLICT DO NOTHING RETURNING email_normalized
        ), canceled AS (
            UPDATE outbox AS o SET state = 'canceled'
              FROM claimed
             WHERE o.invitation_id = $2 AND o.send_seq = claimed.send_seq AND o.organization_id = $1
               AND o.state = claimed.waiting
            RETURNING true
        ), audited AS (
            INSERT INTO audit_events
                   (id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
                    invitation_id, counts)
            SELECT $9, $7, $1, $10, $11, $12, $13, $4, $2,
                   CASE WHEN EXISTS (SELECT FROM joined) THEN '{"created": 1}'::jsonb ELSE '{"unchanged": 1}' END
              FROM claimed
        )
        SELECT claimed.id IS NOT NULL AS "is_claimed!",
               coalesce(claimed.is_as_found AND EXISTS (SELECT FROM canceled) = claimed.is_owed, false) AS "is_as_found!",
               EXISTS (SELECT FROM proven WHERE proven.email_normalized = claimed.email_normalized) AS "is_proven!",
               joined.role AS "role?", joined.public_metadata, joined.private_metadata
          FROM (VALUES (true)) AS asked
          LEFT JOIN claimed ON true
          LEFT JOIN joined ON true"#,
        acceptance.subject.organization_id,
        acceptance.subject.id,
        acceptance.subject.generation,
        acceptance.user_id,
        acceptance.user_name,
        acceptance.emails_normalized,
        acceptance.now,
        acceptance.emails_to_keep,
        acceptance.event.id,
        acceptance.event.action.as_str(),
        acceptance.event.outcome(),
        acceptance.event.caller,
        acceptance.event.on_behalf_of_user_id,
        acceptance.version,
    )
    .fetch_one(connection.driver())
    .await?;
    connection
        .notifications()
        .add_events(&acceptance.subject.organization_id);
    Ok(Accepted {
        is_claimed: row.is_claimed,
        is_as_found: row.is_as_found,
        is_proven: row.is_proven,
        joined: row
            .role
            .map(|role| acceptance.membership(role, row.public_metadata, row.private_metadata)),
    })
}

impl Acceptance<'_> {
    /// The membership that it makes.
    fn membership(
        &self,
        role: String,
        public_metadata: Option<Value>,
        private_metadata: Option<Value>,
    ) -> Membership {
        Membership {
            organization_id: self.subject.organization_id.clone(),
            user_id: self.user_id.to_owned(),
            role,
            public_metadata,
            private_metadata,
            invitation_id: Some(self.subject.id),
            created_at: self.now,
            updated_at: self.now,
        }
    }
}

/// Whether the user may take the invitation as far as addresses go: by the directory, by what the caller has verified,
/// or because anybody may.
pub async fn is_owned_by(
    connection: &mut Connection<'_>,
    subject: &Subject,
    user: &User,
) -> Result<bool, StoreError> {
    let is_owned = sqlx::query_scalar!(
        r#"-- store::subjects::is_owned_by
        SELECT EXISTS (
               SELECT FROM invitations i
                WHERE i.id = $2 AND i.organization_id = $1
                  AND (i.accept_policy = 'any_email'
                       OR i.email_normalized = ANY($4)
                       OR EXISTS (SELECT FROM user_emails e
                                   WHERE e.email_normalized = i.email_normalized AND e.user_id = $3))) AS "is_owned!""#,
        subject.organization_id,
        subject.id,
        user.id.as_str(),
        &user.emails_normalized,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(is_owned)
}

/// Whether an invitation is for one of these addresses, or for whoever holds its link. What the directory knows of
/// anybody does not count here.
pub async fn is_for(
    connection: &mut Connection<'_>,
    subject: &Subject,
    emails_normalized: &[String],
) -> Result<bool, StoreError> {
    let is_for = sqlx::query_scalar!(
        r#"-- store::subjects::is_for
        SELECT EXISTS (
               SELECT FROM invitations i
                WHERE i.id = $2 AND i.organization_id = $1
                  AND (i.accept_policy = 'any_email' OR i.email_normalized = ANY($3))) AS "is_for!""#,
        subject.organization_id,
        subject.id,
        emails_normalized,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(is_for)
}

/// Whether the role is one of the organization's still: it may have been taken out since the invitation was made.
pub async fn is_role_offered(
    connection: &mut Connection<'_>,
    subject: &Subject,
) -> Result<bool, StoreError> {
    let is_offered = sqlx::query_scalar!(
        r#"-- store::subjects::is_role_offered
        SELECT EXISTS (
               SELECT FROM invitations i
                 JOIN organizations o ON o.id = i.organization_id
                WHERE i.id = $2 AND i.organization_id = $1 AND i.role = ANY(o.roles)) AS "is_offered!""#,
        subject.organization_id,
        subject.id,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(is_offered)
}

/// Whether the inviter still may invite, as far as the organization asks for that.
pub async fn is_inviter_trusted(
    connection: &mut Connection<'_>,
    subject: &Subject,
) -> Result<bool, StoreError> {
    let is_trusted = sqlx::query_scalar!(
        r#"-- store::subjects::is_inviter_trusted
        SELECT EXISTS (
               SELECT FROM invitations i
                 JOIN organizations o ON o.id = i.organization_id
                 LEFT JOIN memberships m ON m.organization_id = $1 AND m.user_id = i.inviter_user_id
                WHERE i.id = $2 AND i.organization_id = $1
                  AND (NOT o.recheck_inviter OR m.role = 'admin')) AS "is_trusted!""#,
        subject.organization_id,
        subject.id,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(is_trusted)
}

/// Keeps why an attempt to accept was refused, for the organization to see, and writes the event, in one statement.
pub async fn refuse(
    connection: &mut Connection<'_>,
    subject: &Subject,
    event: &AuditEvent,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- store::subjects::refuse
        WITH told AS (
            UPDATE invitations SET last_accept_error = $3
             WHERE id = $2 AND organization_id = $1 AND state = 'pending' AND last_accept_error IS DISTINCT FROM $3
        )
        INSERT INTO audit_events
               (id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
                invitation_id, counts)
        VALUES ($4, $5, $1, $6, $3, $7, $8, $9, $2, '{}')",
        subject.organization_id,
        subject.id,
        event.outcome(),
        event.id,
        event.created_at,
        event.action.as_str(),
        event.caller,
        event.on_behalf_of_user_id,
        event.subject_user_id,
    )
    .execute(connection.driver())
    .await?;
    Ok(())
}

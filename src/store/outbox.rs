//! The `outbox` table: mails that are owed. Claimed under a lease, settled by whoever still holds it.
//!
//! Statements elsewhere that cancel the mail of an invitation take the word `queued` from the part before, as `waiting`. As
//! a literal it would let a planner use the index of the mails that wait, which is empty whenever the table was analyzed
//! while none did: it would then read all of them for each mail that is looked for.

use std::collections::HashSet;

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Purged, StoreError};

/// Names one mail.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MailKey {
    /// The invitation.
    pub invitation_id: Uuid,
    /// Which of its mails.
    pub send_seq: i32,
    /// The organization.
    pub organization_id: String,
}

impl MailKey {
    /// What tells it from every other mail.
    #[must_use]
    pub const fn name(&self) -> (Uuid, i32) {
        (self.invitation_id, self.send_seq)
    }
}

/// A mail under a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedMail {
    /// Which mail.
    pub key: MailKey,
    /// Whether it reminds of an invitation that was mailed before.
    pub is_reminder: bool,
    /// How often it was tried, this time included.
    pub attempts: i32,
    /// When it was queued.
    pub created_at: OffsetDateTime,
    /// Since when it is tried: when it was queued, or queued again after it was given up.
    pub owed_since: OffsetDateTime,
}

/// A lease: until when, and the token that only its holder knows.
#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// Fences off whoever lost it.
    pub token: Uuid,
    /// When its holder counts as dead.
    pub until: OffsetDateTime,
}

/// Claims the mails that are due, oldest first, at most `limit`. Counts the attempt first, so that a mail that kills
/// its worker is counted too. Joins nothing: rows of ended invitations would pile up at the head.
pub async fn claim(
    connection: &mut Connection<'_>,
    limit: i64,
    lease: Lease,
    now: OffsetDateTime,
) -> Result<Vec<ClaimedMail>, StoreError> {
    let rows = sqlx::query!(
        r#"-- store::outbox::claim
        WITH due AS (
            SELECT invitation_id, send_seq, organization_id
              FROM outbox
             WHERE state = 'queued' AND next_attempt_at <= $4
             ORDER BY next_attempt_at, invitation_id
             LIMIT $1
               FOR UPDATE SKIP LOCKED
        )
        UPDATE outbox AS o
           SET state = 'sending', lease_token = $2, lease_until = $3, attempts = o.attempts + 1
          FROM due
         WHERE o.invitation_id = due.invitation_id AND o.send_seq = due.send_seq
           AND o.organization_id = due.organization_id
        RETURNING o.invitation_id, o.send_seq, o.organization_id, o.kind, o.attempts, o.created_at,
                  coalesce(o.requeued_at, o.created_at) AS "owed_since!""#,
        limit,
        lease.token,
        lease.until,
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ClaimedMail {
            key: MailKey {
                invitation_id: row.invitation_id,
                send_seq: row.send_seq,
                organization_id: row.organization_id,
            },
            is_reminder: row.kind == "reminder",
            attempts: row.attempts,
            created_at: row.created_at,
            owed_since: row.owed_since,
        })
        .collect())
}

/// What a mail is written from. Not `Debug`: it holds an address, a note and what makes a token.
pub struct MailContent {
    /// The invitation.
    pub invitation_id: Uuid,
    /// Which of its mails is the latest.
    pub send_seq: i32,
    /// The organization.
    pub organization_id: String,
    /// Whether it is suspended.
    pub is_organization_suspended: bool,
    /// Its name.
    pub organization_name: String,
    /// Its logo, or empty.
    pub logo_url: String,
    /// Its color, or empty.
    pub brand_color: String,
    /// Where its readers may write to, or empty.
    pub support_email: String,
    /// The inviter's name, or empty.
    pub inviter_name: String,
    /// The address as given.
    pub email: String,
    /// The address, normalized.
    pub email_normalized: String,
    /// The role.
    pub role: String,
    /// The invitation's language, or the organization's, or empty.
    pub locale: String,
    /// The personal note, or empty.
    pub message: String,
    /// Where the application goes after accepting, or empty.
    pub redirect_url: String,
    /// The state's name in the store.
    pub state: String,
    /// When it expires.
    pub expires_at: OffsetDateTime,
    /// Counts the rotations of the link.
    pub generation: i32,
    /// What the token is derived from.
    pub nonce: Vec<u8>,
    /// The key the token is derived with.
    pub key_id: i16,
}

/// What claimed mails are written from, read right before they are sent: whatever ended since they were queued shows,
/// and nothing is written for an organization that was deleted, or to an address that was erased.
pub async fn contents(
    connection: &mut Connection<'_>,
    ids: &[Uuid],
) -> Result<Vec<MailContent>, StoreError> {
    let contents = sqlx::query_as!(
        MailContent,
        r#"-- store::outbox::contents
        SELECT i.id AS "invitation_id!", i.send_seq AS "send_seq!", i.organization_id AS "organization_id!",
               o.suspended_at IS NOT NULL AS "is_organization_suspended!",
               o.name AS "organization_name!", o.logo_url AS "logo_url!", o.brand_color AS "brand_color!",
               o.support_email AS "support_email!", coalesce(inviter.name, '') AS "inviter_name!", i.email AS "email!",
               i.email_normalized AS "email_normalized!", i.role AS "role!",
               coalesce(nullif(i.locale, ''), o.locale) AS "locale!", i.message AS "message!",
               i.redirect_url AS "redirect_url!", i.state AS "state!", i.expires_at AS "expires_at!",
               i.generation AS "generation!", i.nonce AS "nonce!", i.key_id AS "key_id!"
          FROM invitations i
          JOIN organizations o ON o.id = i.organization_id AND o.deleted_at IS NULL
          LEFT JOIN users inviter ON inviter.id = i.inviter_user_id
         WHERE i.id = ANY($1) AND i.email IS NOT NULL"#,
        ids,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(contents)
}

/// Extends the leases of mails, each while it holds the lease it is named with; returns how many were extended.
pub async fn extend_leases(
    connection: &mut Connection<'_>,
    held: &[(MailKey, Uuid)],
    until: OffsetDateTime,
) -> Result<u64, StoreError> {
    let keys = KeyColumns::of(held.iter().map(|(key, _)| key));
    let tokens: Vec<Uuid> = held.iter().map(|(_, token)| *token).collect();
    let extended = sqlx::query!(
        "-- store::outbox::extend_leases
        UPDATE outbox AS o SET lease_until = $5
          FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::uuid[])
               AS held (invitation_id, send_seq, organization_id, lease_token)
         WHERE o.invitation_id = held.invitation_id AND o.send_seq = held.send_seq
           AND o.organization_id = held.organization_id COLLATE \"C\"
           AND o.lease_token = held.lease_token AND o.state = 'sending' AND o.batch_id IS NULL",
        &keys.invitation_ids,
        &keys.send_seqs,
        &keys.organization_ids as &[&str],
        &tokens,
        until,
    )
    .persistent(false)
    .execute(connection.driver())
    .await?;
    Ok(extended.rows_affected())
}

/// Those of these mails that are held under the lease they are named with, and that it has not run out for.
pub async fn held(
    connection: &mut Connection<'_>,
    held: &[(MailKey, Uuid)],
    now: OffsetDateTime,
) -> Result<HashSet<(Uuid, i32)>, StoreError> {
    let keys = KeyColumns::of(held.iter().map(|(key, _)| key));
    let tokens: Vec<Uuid> = held.iter().map(|(_, token)| *token).collect();
    let rows = sqlx::query!(
        "-- store::outbox::held
        SELECT o.invitation_id, o.send_seq
          FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::uuid[])
               AS held (invitation_id, send_seq, organization_id, lease_token)
          JOIN outbox o ON o.invitation_id = held.invitation_id AND o.send_seq = held.send_seq
                       AND o.organization_id = held.organization_id COLLATE \"C\"
         WHERE o.lease_token = held.lease_token AND o.state = 'sending' AND o.lease_until > $5",
        &keys.invitation_ids,
        &keys.send_seqs,
        &keys.organization_ids as &[&str],
        &tokens,
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.invitation_id, row.send_seq))
        .collect())
}

/// Keys of many mails, as the arrays that a statement takes.
pub(super) struct KeyColumns<'a> {
    pub(super) invitation_ids: Vec<Uuid>,
    pub(super) send_seqs: Vec<i32>,
    pub(super) organization_ids: Vec<&'a str>,
}

impl<'a> KeyColumns<'a> {
    pub(super) fn of(keys: impl Iterator<Item = &'a MailKey> + Clone) -> Self {
        Self {
            invitation_ids: keys.clone().map(|key| key.invitation_id).collect(),
            send_seqs: keys.clone().map(|key| key.send_seq).collect(),
            organization_ids: keys.map(|key| key.organization_id.as_str()).collect(),
        }
    }
}

/// Queues again what dead workers held, at most `limit`; returns how many. They line up behind what waits already: a mail
/// that kills whoever takes it must not be the first that the next one takes.
pub async fn requeue_expired(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    limit: i64,
) -> Result<u64, StoreError> {
    let requeued = sqlx::query!(
        "-- store::outbox::requeue_expired
        UPDATE outbox SET state = 'queued', lease_token = NULL, lease_until = NULL, next_attempt_at = $1
         WHERE (invitation_id, send_seq, organization_id) IN (
               SELECT invitation_id, send_seq, organization_id
                 FROM outbox
                WHERE state = 'sending' AND lease_until < $1
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
        now,
        limit,
    )
    .execute(connection.driver())
    .await?;
    Ok(requeued.rows_affected())
}

/// Deletes mails that were sent or canceled and were last due at a time or before, the oldest first, at most `limit`.
pub async fn purge_settled(
    connection: &mut Connection<'_>,
    due_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged, StoreError> {
    let purged = sqlx::query_as!(
        Purged,
        r#"-- store::outbox::purge_settled
        WITH due AS (
            SELECT invitation_id, send_seq, organization_id
              FROM outbox
             WHERE state IN ('sent', 'canceled') AND next_attempt_at <= $1
             ORDER BY next_attempt_at
             LIMIT $2
               FOR UPDATE SKIP LOCKED
        ), deleted AS (
            DELETE FROM outbox AS o
             USING due
             WHERE o.invitation_id = due.invitation_id AND o.send_seq = due.send_seq
               AND o.organization_id = due.organization_id
            RETURNING o.next_attempt_at
        )
        SELECT count(*) AS "count!", min(next_attempt_at) AS "oldest?" FROM deleted"#,
        due_by,
        limit,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(purged)
}

/// The same for mails that were given up.
pub async fn purge_dead(
    connection: &mut Connection<'_>,
    due_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged, StoreError> {
    let purged = sqlx::query_as!(
        Purged,
        r#"-- store::outbox::purge_dead
        WITH due AS (
            SELECT invitation_id, send_seq, organization_id
              FROM outbox
             WHERE state = 'dead' AND next_attempt_at <= $1
             ORDER BY next_attempt_at
             LIMIT $2
               FOR UPDATE SKIP LOCKED
        ), deleted AS (
            DELETE FROM outbox AS o
             USING due
             WHERE o.invitation_id = due.invitation_id AND o.send_seq = due.send_seq
               AND o.organization_id = due.organization_id
            RETURNING o.next_attempt_at
        )
        SELECT count(*) AS "count!", min(next_attempt_at) AS "oldest?" FROM deleted"#,
        due_by,
        limit,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(purged)
}

//! The `outbox` table: the queue of emails. A worker claims an email under a lease, and only the holder of the lease
//! may settle it.
//!
//! Statements in other files that cancel or release the queued email of an invitation compare `state` with the column
//! `queued_state` of a preceding common table expression. With the literal `'queued'`, the planner may read all of the
//! partial index over queued emails for each email. It does so if no email was queued when the table was analyzed.

use std::collections::HashSet;

use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Purged, Result, column};
use crate::domain::role::RoleNames;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MailKey {
    pub invitation_id: Uuid,
    /// Counts the emails of the invitation, from 1.
    pub send_seq: i32,
    pub organization_id: String,
}

impl MailKey {
    /// The part of the key that is unique without the organization.
    pub const fn id(&self) -> (Uuid, i32) {
        (self.invitation_id, self.send_seq)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedMail {
    pub key: MailKey,
    pub is_reminder: bool,
    /// Includes this attempt.
    pub attempts: i32,
    /// When the email was queued.
    pub created_at: OffsetDateTime,
    /// When the attempts began: `created_at`, or the time at which the email was requeued after it was given up.
    pub retrying_since: OffsetDateTime,
}

#[derive(Debug, Clone, Copy)]
pub struct Lease {
    /// The fencing token. A holder whose lease was lost has an old token and changes nothing.
    pub token: Uuid,
    /// When the lease expires. From then on its holder counts as crashed.
    pub until: OffsetDateTime,
}

/// Claims emails that are due, oldest first. Counts the attempt in advance, so that an email that crashes its worker is
/// counted too. Does not skip emails of invitations that ended: they would pile up at the head of the queue.
pub async fn claim(
    connection: &mut Connection<'_>,
    limit: i64,
    lease: Lease,
    now: OffsetDateTime,
) -> Result<Vec<ClaimedMail>> {
    let query = sqlx::query!(
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
                  coalesce(o.requeued_at, o.created_at) AS "retrying_since!""#,
        limit,
        lease.token,
        lease.until,
        now,
    )
    .map(|row| ClaimedMail {
        key: MailKey {
            invitation_id: row.invitation_id,
            send_seq: row.send_seq,
            organization_id: row.organization_id,
        },
        is_reminder: row.kind == "reminder",
        attempts: row.attempts,
        created_at: row.created_at,
        retrying_since: row.retrying_since,
    });
    connection.fetch_all(query).await
}

/// What an email is rendered from. Texts that were not given are empty. Not `Debug`: it holds an address and a nonce.
pub struct MailContent {
    pub invitation_id: Uuid,
    /// The number of the invitation's latest email.
    pub send_seq: i32,
    pub organization_id: String,
    pub is_organization_suspended: bool,
    pub organization_name: String,
    pub logo_url: String,
    pub brand_color: String,
    pub support_email: String,
    pub inviter_name: String,
    /// The address as given.
    pub email: String,
    pub email_normalized: String,
    pub role: String,
    /// `None` if the role has no names.
    pub role_names: Option<Json<RoleNames>>,
    /// The language of the invitation, or else of the organization.
    pub locale: String,
    pub message: String,
    pub redirect_url: String,
    pub state: String,
    pub expires_at: OffsetDateTime,
    pub generation: i32,
    pub nonce: Vec<u8>,
    pub key_id: i16,
}

/// Reads what claimed emails are rendered from, right before they are sent. Omits invitations of deleted organizations
/// and invitations whose address was erased.
pub async fn contents(connection: &mut Connection<'_>, ids: &[Uuid]) -> Result<Vec<MailContent>> {
    let query = sqlx::query_as!(
        MailContent,
        r#"-- store::outbox::contents
        SELECT i.id AS "invitation_id!", i.send_seq AS "send_seq!", i.organization_id AS "organization_id!",
               o.suspended_at IS NOT NULL AS "is_organization_suspended!",
               o.name AS "organization_name!", o.logo_url AS "logo_url!", o.brand_color AS "brand_color!",
               o.support_email AS "support_email!", coalesce(inviter.name, '') AS "inviter_name!", i.email AS "email!",
               i.email_normalized AS "email_normalized!", i.role AS "role!",
               o.role_names -> i.role AS "role_names: Json<RoleNames>", coalesce(nullif(i.locale, ''), o.locale) AS "locale!", i.message AS "message!",
               i.redirect_url AS "redirect_url!", i.state AS "state!", i.expires_at AS "expires_at!",
               i.generation AS "generation!", i.nonce AS "nonce!", i.key_id AS "key_id!"
          FROM invitations i
          JOIN organizations o ON o.id = i.organization_id AND o.deleted_at IS NULL
          LEFT JOIN users inviter ON inviter.id = i.inviter_user_id
         WHERE i.id = ANY($1) AND i.email IS NOT NULL"#,
        ids,
    );
    connection.fetch_all(query).await
}

/// Extends leases that were not lost, and returns how many were extended.
pub async fn extend_leases(
    connection: &mut Connection<'_>,
    leases: &[(MailKey, Uuid)],
    until: OffsetDateTime,
) -> Result<u64> {
    let query = sqlx::query!(
        "-- store::outbox::extend_leases
        UPDATE outbox AS o SET lease_until = $5
          FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::uuid[])
               AS lease (invitation_id, send_seq, organization_id, lease_token)
         WHERE o.invitation_id = lease.invitation_id AND o.send_seq = lease.send_seq
           AND o.organization_id = lease.organization_id COLLATE \"C\"
           AND o.lease_token = lease.lease_token AND o.state = 'sending' AND o.batch_id IS NULL",
        &column(leases, |(key, _)| key.invitation_id),
        &column(leases, |(key, _)| key.send_seq),
        &column(leases, |(key, _)| key.organization_id.as_str()) as &[&str],
        &column(leases, |(_, token)| *token),
        until,
    )
    .persistent(false);
    connection.execute(query).await
}

/// Returns the emails whose lease was not lost and has not expired.
pub async fn filter_leased(
    connection: &mut Connection<'_>,
    leases: &[(MailKey, Uuid)],
    now: OffsetDateTime,
) -> Result<HashSet<(Uuid, i32)>> {
    let query = sqlx::query!(
        "-- store::outbox::filter_leased
        SELECT o.invitation_id, o.send_seq
          FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::uuid[])
               AS lease (invitation_id, send_seq, organization_id, lease_token)
          JOIN outbox o ON o.invitation_id = lease.invitation_id AND o.send_seq = lease.send_seq
                       AND o.organization_id = lease.organization_id COLLATE \"C\"
         WHERE o.lease_token = lease.lease_token AND o.state = 'sending' AND o.lease_until > $5",
        &column(leases, |(key, _)| key.invitation_id),
        &column(leases, |(key, _)| key.send_seq),
        &column(leases, |(key, _)| key.organization_id.as_str()) as &[&str],
        &column(leases, |(_, token)| *token),
        now,
    )
    .map(|row| (row.invitation_id, row.send_seq));
    connection.fetch_all(query).await
}

/// Requeues emails whose lease has expired, and returns how many. They go to the end of the queue, so that the next
/// worker does not begin with an email that crashes its worker.
pub async fn requeue_expired(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    limit: i64,
) -> Result<u64> {
    let query = sqlx::query!(
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
    );
    connection.execute(query).await
}

/// Calls `sqlx::query_as!` with a statement that deletes old emails. The condition must be a literal, because each of
/// the two conditions has a partial index.
macro_rules! purge_query {
    ($name:literal, $condition:literal, $($arguments:tt)*) => {
        sqlx::query_as!(
            Purged,
            "-- store::outbox::" + $name + "
        WITH due AS (
            SELECT invitation_id, send_seq, organization_id
              FROM outbox
             WHERE " + $condition + " AND next_attempt_at <= $1
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
        SELECT count(*) AS \"count!\", min(next_attempt_at) AS \"oldest?\" FROM deleted",
            $($arguments)*
        )
    };
}

/// Deletes emails that were sent or canceled and were last due by a time, oldest first.
pub async fn purge_settled(
    connection: &mut Connection<'_>,
    due_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged> {
    let query = purge_query!(
        "purge_settled",
        "state IN ('sent', 'canceled')",
        due_by,
        limit
    );
    connection.fetch_one(query).await
}

/// Deletes dead letters that were last due by a time, oldest first.
pub async fn purge_dead(
    connection: &mut Connection<'_>,
    due_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged> {
    let query = purge_query!("purge_dead", "state = 'dead'", due_by, limit);
    connection.fetch_one(query).await
}

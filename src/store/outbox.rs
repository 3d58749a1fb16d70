//! The `outbox` table: mails that are owed. Claimed under a lease, settled by whoever still holds it.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;

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

/// A mail under a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedMail {
    /// Which mail.
    pub key: MailKey,
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
    connection: &mut PgConnection,
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
        RETURNING o.invitation_id, o.send_seq, o.organization_id, o.attempts, o.created_at,
                  coalesce(o.requeued_at, o.created_at) AS "owed_since!""#,
        limit,
        lease.token,
        lease.until,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| ClaimedMail {
            key: MailKey {
                invitation_id: row.invitation_id,
                send_seq: row.send_seq,
                organization_id: row.organization_id,
            },
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
    /// Its name.
    pub organization_name: String,
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
/// and nothing is written for an organization that was deleted.
pub async fn contents(
    connection: &mut PgConnection,
    ids: &[Uuid],
) -> Result<Vec<MailContent>, StoreError> {
    let contents = sqlx::query_as!(
        MailContent,
        r#"-- store::outbox::contents
        SELECT i.id AS "invitation_id!", i.send_seq AS "send_seq!", i.organization_id AS "organization_id!",
               o.name AS "organization_name!", coalesce(inviter.name, '') AS "inviter_name!", i.email AS "email!",
               i.email_normalized AS "email_normalized!", i.role AS "role!",
               coalesce(nullif(i.locale, ''), o.locale) AS "locale!", i.message AS "message!",
               i.redirect_url AS "redirect_url!", i.state AS "state!", i.expires_at AS "expires_at!",
               i.generation AS "generation!", i.nonce AS "nonce!", i.key_id AS "key_id!"
          FROM invitations i
          JOIN organizations o ON o.id = i.organization_id AND o.deleted_at IS NULL
          LEFT JOIN users inviter ON inviter.id = i.inviter_user_id
         WHERE i.id = ANY($1)"#,
        ids,
    )
    .fetch_all(connection)
    .await?;
    Ok(contents)
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// The mail server took it.
    Sent,
    /// It will be tried again.
    Deferred {
        /// When.
        next_attempt_at: OffsetDateTime,
        /// Whether the attempt counts; one that never reached the recipient does not.
        is_counted: bool,
        /// What was said, without the address.
        error: String,
        /// The SMTP reply code.
        reply_code: Option<u16>,
    },
    /// It is given up.
    Dead {
        /// What was said, without the address.
        error: String,
        /// The SMTP reply code.
        reply_code: Option<u16>,
    },
    /// Nobody wants it any more.
    Canceled,
}

struct SettledColumns<'a> {
    outbox_state: &'static str,
    uncounted: i32,
    next_attempt_at: Option<OffsetDateTime>,
    delivery_state: Option<&'static str>,
    error: Option<&'a str>,
    reply_code: Option<i16>,
}

impl Settlement {
    fn columns(&self) -> SettledColumns<'_> {
        let code = |reply_code: &Option<u16>| reply_code.and_then(|code| i16::try_from(code).ok());
        let (outbox_state, uncounted, next_attempt_at, delivery_state, error, reply_code) =
            match self {
                Self::Sent => ("sent", 0, None, Some("sent"), None, None),
                Self::Deferred {
                    next_attempt_at,
                    is_counted,
                    error,
                    reply_code,
                } => {
                    let uncounted = i32::from(!is_counted);
                    let delivery_state = Some("deferred");
                    (
                        "queued",
                        uncounted,
                        Some(*next_attempt_at),
                        delivery_state,
                        Some(error.as_str()),
                        code(reply_code),
                    )
                }
                Self::Dead { error, reply_code } => (
                    "dead",
                    0,
                    None,
                    Some("failed"),
                    Some(error.as_str()),
                    code(reply_code),
                ),
                Self::Canceled => ("canceled", 1, None, Some("canceled"), None, None),
            };
        SettledColumns {
            outbox_state,
            uncounted,
            next_attempt_at,
            delivery_state,
            error,
            reply_code,
        }
    }
}

/// Settles one attempt and tells the invitation, in one statement; `false` if the lease was lost, and then nothing
/// changes: whoever holds it now decides.
///
/// Locks the invitation before its mail, as whoever ends or resends an invitation does.
pub async fn settle(
    connection: &mut PgConnection,
    key: &MailKey,
    lease_token: Uuid,
    settlement: &Settlement,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let columns = settlement.columns();
    let is_settled = sqlx::query_scalar!(
        r#"-- store::outbox::settle
        WITH target AS (
            SELECT FROM invitations WHERE id = $1 AND organization_id = $3 FOR NO KEY UPDATE
        ), settled AS (
            UPDATE outbox
               SET state = $5, lease_token = NULL, lease_until = NULL, attempts = attempts - $6,
                   next_attempt_at = coalesce($7, next_attempt_at)
             WHERE invitation_id = $1 AND send_seq = $2 AND organization_id = $3
               AND lease_token = $4 AND state = 'sending'
               AND (SELECT count(*) FROM target) >= 0
            RETURNING attempts
        ), told AS (
            UPDATE invitations AS i
               SET delivery_state = CASE WHEN $8 = 'deferred' AND i.state <> 'pending' THEN 'canceled'
                                         ELSE coalesce($8, i.delivery_state) END,
                   delivery_attempts = settled.attempts,
                   delivery_error = coalesce($9, i.delivery_error),
                   delivery_reply_code = CASE WHEN $9::text IS NULL THEN i.delivery_reply_code ELSE $10 END,
                   next_attempt_at = CASE WHEN $5 = 'queued' AND i.state = 'pending' THEN $7 END,
                   sent_at = CASE WHEN $8 = 'sent' THEN $11 ELSE i.sent_at END,
                   updated_at = $11
              FROM settled
             WHERE i.id = $1 AND i.organization_id = $3 AND i.send_seq = $2
        )
        SELECT EXISTS (SELECT FROM settled) AS "is_settled!""#,
        key.invitation_id,
        key.send_seq,
        key.organization_id,
        lease_token,
        columns.outbox_state,
        columns.uncounted,
        columns.next_attempt_at,
        columns.delivery_state,
        columns.error,
        columns.reply_code,
        now,
    )
    .fetch_one(connection)
    .await?;
    Ok(is_settled)
}

/// Extends a lease; `false` if it was lost.
pub async fn extend_lease(
    connection: &mut PgConnection,
    key: &MailKey,
    lease: Lease,
) -> Result<bool, StoreError> {
    let extended = sqlx::query!(
        "-- store::outbox::extend_lease
        UPDATE outbox SET lease_until = $5
         WHERE invitation_id = $1 AND send_seq = $2 AND organization_id = $3
           AND lease_token = $4 AND state = 'sending'",
        key.invitation_id,
        key.send_seq,
        key.organization_id,
        lease.token,
        lease.until,
    )
    .execute(connection)
    .await?;
    Ok(extended.rows_affected() == 1)
}

/// Queues again what dead workers held, at most `limit`; returns how many.
pub async fn requeue_expired(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    limit: i64,
) -> Result<u64, StoreError> {
    let requeued = sqlx::query!(
        "-- store::outbox::requeue_expired
        UPDATE outbox SET state = 'queued', lease_token = NULL, lease_until = NULL
         WHERE (invitation_id, send_seq, organization_id) IN (
               SELECT invitation_id, send_seq, organization_id
                 FROM outbox
                WHERE state = 'sending' AND lease_until < $1
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
        now,
        limit,
    )
    .execute(connection)
    .await?;
    Ok(requeued.rows_affected())
}

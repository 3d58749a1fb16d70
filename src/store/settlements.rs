//! Settling: what became of attempts at mails, told to the `outbox` and to `invitations` in one statement.

use std::collections::HashSet;

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use super::outbox::{KeyColumns, MailKey};
use super::suppressions::{self, SuppressionRow};

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
    /// The receiving side refused it for good: there is no such mailbox.
    Bounced {
        /// What was said, without the address.
        error: String,
        /// The SMTP reply code.
        reply_code: Option<u16>,
    },
    /// The address is to get no mail.
    Suppressed,
    /// Nobody wants it any more.
    Canceled,
    /// It was claimed and not tried: somebody else may, from this time on. Says nothing to the invitation.
    Released {
        /// When; `None` if it stays due since when it was.
        next_attempt_at: Option<OffsetDateTime>,
    },
}

/// A settlement of one mail, by whoever holds this lease of it.
#[derive(Debug, Clone)]
pub struct Settled {
    /// Which mail.
    pub key: MailKey,
    /// The lease.
    pub lease_token: Uuid,
    /// What became of it.
    pub settlement: Settlement,
    /// What to put on the suppression list with it.
    pub suppression: Option<SuppressionRow>,
}

struct Columns<'a> {
    outbox_state: &'static str,
    uncounted: i32,
    next_attempt_at: Option<OffsetDateTime>,
    delivery_state: Option<&'static str>,
    error: Option<&'a str>,
    reply_code: Option<i16>,
}

impl Settlement {
    fn columns(&self) -> Columns<'_> {
        let plain = |outbox_state, uncounted, delivery_state| Columns {
            outbox_state,
            uncounted,
            next_attempt_at: None,
            delivery_state,
            error: None,
            reply_code: None,
        };
        let refused = |outbox_state, delivery_state, error, reply_code: &Option<u16>| Columns {
            error: Some(error),
            reply_code: reply_code.and_then(|code| i16::try_from(code).ok()),
            ..plain(outbox_state, 0, Some(delivery_state))
        };
        match self {
            Self::Sent => plain("sent", 0, Some("sent")),
            Self::Deferred {
                next_attempt_at,
                is_counted,
                error,
                reply_code,
            } => Columns {
                uncounted: i32::from(!is_counted),
                next_attempt_at: Some(*next_attempt_at),
                ..refused("queued", "deferred", error.as_str(), reply_code)
            },
            Self::Dead { error, reply_code } => refused("dead", "failed", error, reply_code),
            Self::Bounced { error, reply_code } => refused("dead", "bounced", error, reply_code),
            Self::Suppressed => plain("canceled", 1, Some("suppressed")),
            Self::Canceled => plain("canceled", 1, Some("canceled")),
            Self::Released { next_attempt_at } => Columns {
                next_attempt_at: *next_attempt_at,
                ..plain("queued", 1, None)
            },
        }
    }
}

/// Settles attempts and tells their invitations; returns the mails that were settled. Of one whose lease was lost
/// nothing changes: whoever holds it now decides.
///
/// Locks the invitations before their mails and in the order that everybody locks them in. A report of a bounce may be
/// quicker than the settlement of its mail, and stays. For use inside a transaction.
pub async fn settle_many(
    connection: &mut Connection<'_>,
    settled: &[Settled],
    now: OffsetDateTime,
) -> Result<HashSet<(Uuid, i32)>, StoreError> {
    super::plan_afresh(&mut *connection).await?;
    let keys = KeyColumns::of(settled.iter().map(|one| &one.key));
    let tokens: Vec<Uuid> = settled.iter().map(|one| one.lease_token).collect();
    let columns: Vec<Columns<'_>> = settled.iter().map(|one| one.settlement.columns()).collect();
    let outbox_states: Vec<&str> = columns.iter().map(|one| one.outbox_state).collect();
    let uncounted: Vec<i32> = columns.iter().map(|one| one.uncounted).collect();
    let next_attempts: Vec<Option<OffsetDateTime>> =
        columns.iter().map(|one| one.next_attempt_at).collect();
    let delivery_states: Vec<Option<&str>> = columns.iter().map(|one| one.delivery_state).collect();
    let errors: Vec<Option<&str>> = columns.iter().map(|one| one.error).collect();
    let reply_codes: Vec<Option<i16>> = columns.iter().map(|one| one.reply_code).collect();
    let rows = sqlx::query!(
        r#"-- store::settlements::settle_many
        WITH asked AS (
            SELECT *
              FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::uuid[], $5::text[], $6::integer[],
                          $7::timestamptz[], $8::text[], $9::text[], $10::smallint[])
                   AS asked (invitation_id, send_seq, organization_id, lease_token, outbox_state, uncounted,
                             next_attempt_at, delivery_state, error, reply_code)
        ), target AS (
            SELECT i.id, i.organization_id, i.state, i.delivery_state
              FROM asked
              JOIN invitations i ON i.id = asked.invitation_id
                                AND i.organization_id = asked.organization_id COLLATE "C"
             ORDER BY i.organization_id, i.email_normalized, i.id
               FOR NO KEY UPDATE OF i
        ), settled AS (
            UPDATE outbox AS o
               SET state = asked.outbox_state, lease_token = NULL, lease_until = NULL, batch_id = NULL,
                   batch_index = NULL, attempts = o.attempts - asked.uncounted,
                   next_attempt_at = coalesce(asked.next_attempt_at, o.next_attempt_at)
              FROM asked
             WHERE o.invitation_id = asked.invitation_id AND o.send_seq = asked.send_seq
               AND o.organization_id = asked.organization_id COLLATE "C"
               AND o.lease_token = asked.lease_token AND o.state = 'sending'
               AND (SELECT count(*) FROM target) >= 0
            RETURNING o.invitation_id, o.send_seq, o.organization_id, o.attempts, o.state, o.next_attempt_at,
                      asked.delivery_state, asked.error, asked.reply_code
        ), told AS (
            UPDATE invitations AS i
               SET delivery_state = CASE WHEN i.delivery_state IN ('bounced', 'complained') THEN i.delivery_state
                                         WHEN s.delivery_state = 'deferred' AND i.state <> 'pending' THEN 'canceled'
                                         ELSE s.delivery_state END,
                   delivery_attempts = s.attempts,
                   -- An erased invitation takes in nothing more that may be about its person.
                   delivery_error = CASE WHEN i.email IS NOT NULL THEN coalesce(s.error, i.delivery_error) END,
                   delivery_reply_code = CASE WHEN s.error IS NULL THEN i.delivery_reply_code ELSE s.reply_code END,
                   next_attempt_at = CASE WHEN s.state = 'queued' AND i.state = 'pending'
                                           AND i.delivery_state NOT IN ('bounced', 'complained')
                                          THEN s.next_attempt_at END,
                   sent_at = CASE WHEN s.state = 'sent' THEN $11 ELSE i.sent_at END,
                   updated_at = $11
              FROM settled s
             WHERE i.id = s.invitation_id AND i.organization_id = s.organization_id AND i.send_seq = s.send_seq
               AND s.delivery_state IS NOT NULL
            RETURNING i.id, i.organization_id, i.batch_id, i.state, i.delivery_state
        ), noted AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                    new_delivery_state, invitation_ids)
            SELECT $11, told.organization_id, told.batch_id, told.delivery_state, target.state, target.delivery_state,
                   told.state, told.delivery_state, array_agg(told.id ORDER BY told.id)
              FROM told
              -- Two mails of one invitation may end at once, and one of them is the latest.
              JOIN (SELECT DISTINCT id, organization_id, state, delivery_state FROM target) AS target
                ON target.id = told.id AND target.organization_id = told.organization_id
             WHERE told.delivery_state <> target.delivery_state
             GROUP BY told.organization_id, told.batch_id, told.state, told.delivery_state, target.state,
                      target.delivery_state
        )
        SELECT invitation_id, send_seq FROM settled"#,
        &keys.invitation_ids,
        &keys.send_seqs,
        &keys.organization_ids as &[&str],
        &tokens,
        &outbox_states as &[&str],
        &uncounted,
        &next_attempts as &[Option<OffsetDateTime>],
        &delivery_states as &[Option<&str>],
        &errors as &[Option<&str>],
        &reply_codes as &[Option<i16>],
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    let written: HashSet<(Uuid, i32)> = rows
        .into_iter()
        .map(|row| (row.invitation_id, row.send_seq))
        .collect();
    let told = settled
        .iter()
        .filter(|one| written.contains(&one.key.name()));
    for one in told {
        connection
            .notifications()
            .add_events(one.key.organization_id.as_str());
    }
    suppress(connection, settled, &written, now).await?;
    Ok(written)
}

/// Suppresses what was settled with a suppression; each address once, however many organizations invited it.
async fn suppress(
    connection: &mut Connection<'_>,
    settled: &[Settled],
    written: &HashSet<(Uuid, i32)>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let is_written = |one: &&Settled| written.contains(&one.key.name());
    let mut tags = HashSet::new();
    let rows: Vec<SuppressionRow> = settled
        .iter()
        .filter(is_written)
        .filter_map(|one| one.suppression.clone())
        .filter(|row| tags.insert((row.organization_id.clone(), row.tag)))
        .collect();
    if !rows.is_empty() {
        suppressions::upsert_many(connection, &rows, now).await?;
    }
    Ok(())
}

//! Settling delivery attempts: their results are written to the `outbox` and the `invitations` table in one statement.

use std::collections::HashSet;

use time::OffsetDateTime;
use uuid::Uuid;

use super::outbox::MailKey;
use super::planner;
use super::suppressions::{self, SuppressionRow};
use super::{Connection, Result, column, query_with_events};

/// The result of a delivery attempt. Error texts do not contain the address, and reply codes are those of SMTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    Sent,
    /// The email will be retried.
    Deferred {
        next_attempt_at: OffsetDateTime,
        /// Whether the attempt counts. An attempt that did not reach the recipient's server does not.
        is_counted: bool,
        error: String,
        reply_code: Option<u16>,
    },
    Dead {
        error: String,
        reply_code: Option<u16>,
    },
    /// The receiving side rejected the email permanently: the mailbox does not exist.
    Bounced {
        error: String,
        reply_code: Option<u16>,
    },
    Suppressed,
    Canceled,
    /// The email was claimed but not attempted, and any worker may claim it again. The invitation does not change.
    Released {
        /// `None` keeps the time at which the email was due.
        next_attempt_at: Option<OffsetDateTime>,
    },
}

/// The settlement of one email by the holder of its lease.
#[derive(Debug, Clone)]
pub struct SettledMail {
    pub key: MailKey,
    pub lease_token: Uuid,
    pub settlement: Settlement,
    pub suppression: Option<SuppressionRow>,
}

struct SettlementColumns<'a> {
    outbox_state: &'static str,
    /// How many attempts to subtract: 1 if this one does not count.
    uncounted: i32,
    next_attempt_at: Option<OffsetDateTime>,
    /// `None` leaves the invitation as it is.
    delivery_state: Option<&'static str>,
    error: Option<&'a str>,
    reply_code: Option<i16>,
}

impl Settlement {
    fn columns(&self) -> SettlementColumns<'_> {
        let plain = |outbox_state, uncounted, delivery_state| SettlementColumns {
            outbox_state,
            uncounted,
            next_attempt_at: None,
            delivery_state,
            error: None,
            reply_code: None,
        };
        let failed =
            |outbox_state, delivery_state, error, reply_code: &Option<u16>| SettlementColumns {
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
            } => SettlementColumns {
                uncounted: i32::from(!is_counted),
                next_attempt_at: Some(*next_attempt_at),
                ..failed("queued", "deferred", error.as_str(), reply_code)
            },
            Self::Dead { error, reply_code } => failed("dead", "failed", error, reply_code),
            Self::Bounced { error, reply_code } => failed("dead", "bounced", error, reply_code),
            Self::Suppressed => plain("canceled", 1, Some("suppressed")),
            Self::Canceled => plain("canceled", 1, Some("canceled")),
            Self::Released { next_attempt_at } => SettlementColumns {
                next_attempt_at: *next_attempt_at,
                ..plain("queued", 1, None)
            },
        }
    }
}

/// Settles attempts, updates their invitations, and returns the [ids](MailKey::id) of the emails that were settled.
/// Nothing changes for an email whose lease was lost. Must run inside a transaction.
#[expect(clippy::too_many_lines, reason = "one statement")]
pub async fn settle_many(
    connection: &mut Connection<'_>,
    mails: &[SettledMail],
    now: OffsetDateTime,
) -> Result<HashSet<(Uuid, i32)>> {
    planner::force_custom_plans(connection).await?;
    let columns = column(mails, |mail| mail.settlement.columns());
    let query = query_with_events!(query!(
        r#"-- store::settlements::settle_many
        WITH attempt AS (
            SELECT *
              FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::uuid[], $5::text[], $6::integer[],
                          $7::timestamptz[], $8::text[], $9::text[], $10::smallint[])
                   AS t (invitation_id, send_seq, organization_id, lease_token, outbox_state, uncounted,
                         next_attempt_at, delivery_state, error, reply_code)
        ), target AS (
            -- Locks the invitations, and reads their states before this statement changes them.
            SELECT i.id, i.organization_id, i.state, i.delivery_state
              FROM attempt
              JOIN invitations i ON i.id = attempt.invitation_id
                                AND i.organization_id = attempt.organization_id COLLATE "C"
             ORDER BY i.organization_id, i.email_normalized, i.id
               FOR NO KEY UPDATE OF i
        ), settled AS (
            UPDATE outbox AS o
               SET state = attempt.outbox_state, lease_token = NULL, lease_until = NULL, batch_id = NULL,
                   batch_index = NULL, attempts = o.attempts - attempt.uncounted,
                   next_attempt_at = coalesce(attempt.next_attempt_at, o.next_attempt_at)
              FROM attempt
             WHERE o.invitation_id = attempt.invitation_id AND o.send_seq = attempt.send_seq
               AND o.organization_id = attempt.organization_id COLLATE "C"
               -- Only the holder of the lease settles.
               AND o.lease_token = attempt.lease_token AND o.state = 'sending'
               -- Always true. Counting reads all of target, so that every invitation is locked before the first email.
               -- All statements that lock both lock them in this order.
               AND (SELECT count(*) FROM target) >= 0
            RETURNING o.invitation_id, o.send_seq, o.organization_id, o.attempts, o.state, o.next_attempt_at,
                      attempt.delivery_state, attempt.error, attempt.reply_code
        ), updated AS (
            -- Updates the invitations whose latest email was settled. A report of a bounce may arrive before the
            -- settlement, and stays. An email that is deferred after its invitation ended counts as canceled.
            UPDATE invitations AS i
               SET delivery_state = CASE WHEN i.delivery_state IN ('bounced', 'complained') THEN i.delivery_state
                                         WHEN s.delivery_state = 'deferred' AND i.state <> 'pending' THEN 'canceled'
                                         ELSE s.delivery_state END,
                   delivery_attempts = s.attempts,
                   -- An erased invitation stores no text that may contain personal data.
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
            RETURNING i.id, i.organization_id, i.batch_id, i.updated_at, i.state, i.delivery_state
        ), changed AS (
            SELECT updated.id, updated.organization_id, updated.batch_id, updated.updated_at,
                   updated.delivery_state AS event_type, before.state AS old_state,
                   before.delivery_state AS old_delivery_state, updated.state AS new_state,
                   updated.delivery_state AS new_delivery_state
              FROM updated
              -- Two emails of one invitation may be settled together, and only one of them is the latest.
              JOIN (SELECT DISTINCT id, organization_id, state, delivery_state FROM target) AS before
                ON before.id = updated.id AND before.organization_id = updated.organization_id
             WHERE updated.delivery_state <> before.delivery_state
        )"# + EVENTS
            + "
        SELECT invitation_id, send_seq FROM settled",
        &column(mails, |mail| mail.key.invitation_id),
        &column(mails, |mail| mail.key.send_seq),
        &column(mails, |mail| mail.key.organization_id.as_str()) as &[&str],
        &column(mails, |mail| mail.lease_token),
        &column(&columns, |row| row.outbox_state) as &[&str],
        &column(&columns, |row| row.uncounted),
        &column(&columns, |row| row.next_attempt_at) as &[Option<OffsetDateTime>],
        &column(&columns, |row| row.delivery_state) as &[Option<&str>],
        &column(&columns, |row| row.error) as &[Option<&str>],
        &column(&columns, |row| row.reply_code) as &[Option<i16>],
        now,
    ))
    .map(|row| (row.invitation_id, row.send_seq));
    let settled: HashSet<(Uuid, i32)> = connection.fetch_all(query).await?;
    let mut suppressions = Vec::new();
    for mail in mails.iter().filter(|mail| settled.contains(&mail.key.id())) {
        let notifications = &mut connection.notifications;
        notifications.add_events(&mail.key.organization_id);
        suppressions.extend(mail.suppression.clone());
    }
    // Several organizations may have invited the same address.
    let mut tags = HashSet::new();
    suppressions.retain(|row| tags.insert((row.organization_id.clone(), row.tag)));
    if !suppressions.is_empty() {
        suppressions::upsert_many(connection, &suppressions, now).await?;
    }
    Ok(settled)
}

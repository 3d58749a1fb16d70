//! Reminders: a second email for an invitation that is about to expire.

use time::OffsetDateTime;

use super::{Connection, Result, query_with_events};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueuedReminders {
    /// Invitations whose reminder was due.
    pub due: i64,
    /// Emails that were queued.
    pub queued: i64,
}

/// Queues an email for each invitation whose reminder is due, if the invitation can still be accepted and its latest
/// email was sent. Other invitations get no reminder. Skips locked rows.
pub async fn queue_due(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    limit: i64,
) -> Result<QueuedReminders> {
    let query = query_with_events!(query_as!(
        QueuedReminders,
        r#"-- store::reminders::queue_due
        WITH due AS (
            SELECT id, organization_id, delivery_state = 'sent' AND expires_at > $1 AS is_wanted
              FROM invitations
             WHERE state = 'pending' AND remind_at <= $1
             ORDER BY remind_at
             LIMIT $2
               FOR NO KEY UPDATE SKIP LOCKED
        ), skipped AS (
            UPDATE invitations AS i SET remind_at = NULL
              FROM due
             WHERE i.id = due.id AND i.organization_id = due.organization_id AND NOT due.is_wanted
        ), changed AS (
            UPDATE invitations AS i
               SET remind_at = NULL, updated_at = $1, send_seq = i.send_seq + 1,
                   delivery_state = 'queued', delivery_attempts = 0, delivery_error = NULL, delivery_reply_code = NULL,
                   queued_at = $1, next_attempt_at = $1, sent_at = NULL
              FROM due
             WHERE i.id = due.id AND i.organization_id = due.organization_id AND due.is_wanted
            RETURNING i.id, i.organization_id, i.batch_id, i.send_seq, i.updated_at, 'reminded' AS event_type,
                      i.state AS old_state, 'sent' AS old_delivery_state, i.state AS new_state,
                      i.delivery_state AS new_delivery_state
        )"# + EVENTS
            + r#", mail AS (
            INSERT INTO outbox
                   (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at, kind)
            SELECT id, organization_id, send_seq, 'queued', 0, $1, $1, 'reminder' FROM changed
        )
        SELECT (SELECT count(*) FROM due) AS "due!", (SELECT count(*) FROM changed) AS "queued!""#,
        now,
        limit,
    ));
    let reminders = connection.fetch_one(query).await?;
    if reminders.queued > 0 {
        connection.notifications.add_mail_of_any_organization();
    }
    Ok(reminders)
}

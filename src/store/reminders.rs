//! Reminders: the second mail of an invitation that is about to expire.

use super::Connection;
use time::OffsetDateTime;

use super::StoreError;

/// What became of reminders that were due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reminded {
    /// Invitations that were looked at.
    pub due: i64,
    /// Mails that were queued.
    pub queued: i64,
}

/// Takes reminders that are due, at most `limit`, and queues a mail for each invitation that still waits for its person
/// and whose latest mail was sent; in one statement, so that no two replicas queue the same one. For the others there is
/// none: their person has come, cannot be reached, or is still to get the mail it would remind of.
///
/// Passes over rows that others hold, and so waits for nobody.
pub async fn queue_due(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    limit: i64,
) -> Result<Reminded, StoreError> {
    let reminded = sqlx::query_as!(
        Reminded,
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
        ), reminded AS (
            UPDATE invitations AS i
               SET remind_at = NULL, updated_at = $1, send_seq = i.send_seq + 1,
                   delivery_state = 'queued', delivery_attempts = 0, delivery_error = NULL, delivery_reply_code = NULL,
                   queued_at = $1, next_attempt_at = $1, sent_at = NULL
              FROM due
             WHERE i.id = due.id AND i.organization_id = due.organization_id AND due.is_wanted
            RETURNING i.id, i.organization_id, i.send_seq, i.batch_id
        ), told AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                    new_delivery_state, invitation_ids)
            SELECT $1, organization_id, batch_id, 'reminded', 'pending', 'sent', 'pending', 'queued',
                   array_agg(id ORDER BY id)
              FROM reminded
             GROUP BY organization_id, batch_id
        ), owed AS (
            INSERT INTO outbox
                   (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at, kind)
            SELECT id, organization_id, send_seq, 'queued', 0, $1, $1, 'reminder' FROM reminded
        )
        SELECT (SELECT count(*) FROM due) AS "due!", (SELECT count(*) FROM reminded) AS "queued!""#,
        now,
        limit,
    )
    .fetch_one(connection.driver())
    .await?;
    if reminded.queued > 0 {
        connection.notifications().add_mail_of_any_organization();
    }
    Ok(reminded)
}

//! Figures of the `outbox` table: how many emails wait, and since when.
//! Each figure is read from one end of a partial index, up to a limit, so it costs the same for any number of emails.
//! Each part is ordered by all columns of its index. A planner with wrong statistics would otherwise read the table.

use time::OffsetDateTime;

use super::{Connection, Result};

/// Numbers of emails, each counted up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogRow {
    /// Waiting to be attempted, now or later.
    pub queued: i64,
    /// The part of `queued` that is due.
    pub due: i64,
    pub sending: i64,
    pub dead: i64,
    /// Since when the email that has waited longest is due, whether it is claimed or not.
    pub oldest_due_at: Option<OffsetDateTime>,
}

/// An email that no server has accepted or rejected yet waits since it was queued, even if its lane failed many times:
/// a failure of the lane counts no attempt. Any other email waits since it is due again.
pub async fn get(
    connection: &mut Connection<'_>,
    limit: i64,
    now: OffsetDateTime,
) -> Result<BacklogRow> {
    let query = sqlx::query_as!(
        BacklogRow,
        r#"-- store::backlog::get
        WITH queued AS (
            SELECT next_attempt_at,
                   CASE WHEN attempts = 0 THEN coalesce(requeued_at, created_at) ELSE next_attempt_at END AS since
              FROM outbox
             WHERE state = 'queued'
             ORDER BY next_attempt_at, invitation_id
             LIMIT $1
        ), due AS (
            SELECT FROM outbox
             WHERE state = 'queued' AND next_attempt_at <= $2
             ORDER BY next_attempt_at, invitation_id
             LIMIT $1
        ), sending AS (
            SELECT CASE WHEN attempts = 1 THEN coalesce(requeued_at, created_at) ELSE next_attempt_at END AS since
              FROM outbox
             WHERE state = 'sending'
             ORDER BY lease_until
             LIMIT $1
        ), dead AS (
            SELECT FROM outbox WHERE state = 'dead' ORDER BY organization_id, invitation_id LIMIT $1
        )
        SELECT (SELECT count(*) FROM queued) AS "queued!",
               (SELECT count(*) FROM due) AS "due!",
               (SELECT count(*) FROM sending) AS "sending!",
               (SELECT count(*) FROM dead) AS "dead!",
               least((SELECT min(since) FROM queued WHERE next_attempt_at <= $2),
                     (SELECT min(since) FROM sending)) AS "oldest_due_at?""#,
        limit,
        now,
    );
    connection.fetch_one(query).await
}

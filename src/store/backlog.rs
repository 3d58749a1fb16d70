//! The `outbox` table in figures: how many mails are owed, and since when.
//!
//! Each figure is read from one end of a partial index and no further than a limit, so that it costs the same however
//! many mails there are. The order that each part asks for is the whole order of its index: only that keeps a planner
//! that guesses wrong from reading the table instead.

use super::Connection;
use time::OffsetDateTime;

use super::StoreError;

/// Mails that are owed, each number counted up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacklogRow {
    /// Waiting to be tried, now or later.
    pub queued: i64,
    /// Those of them whose time has come.
    pub due: i64,
    /// Held by workers.
    pub sending: i64,
    /// Given up.
    pub dead: i64,
    /// Since when the one that has been due for longest is, whether a worker holds it or not.
    pub oldest_due_at: Option<OffsetDateTime>,
}

/// The figures of the whole table.
///
/// A mail that no server has judged yet waits since it was queued, however often its lane failed: what fails for the
/// lane's sake counts no attempt and lines up anew. One that was judged waits since it is due again.
pub async fn get(
    connection: &mut Connection<'_>,
    limit: i64,
    now: OffsetDateTime,
) -> Result<BacklogRow, StoreError> {
    let row = sqlx::query_as!(
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
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(row)
}

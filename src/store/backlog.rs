//! The `outbox` table in figures: how many mails are owed, and since when.

use sqlx::PgConnection;
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

/// The figures of one organization, or of all. Each is read from one end of a partial index and no further than `limit`
/// rows, so it costs the same however many there are; wants a plan of its own for each of the two cases.
pub async fn get(
    connection: &mut PgConnection,
    organization_id: Option<&str>,
    limit: i64,
    now: OffsetDateTime,
) -> Result<BacklogRow, StoreError> {
    let row = sqlx::query_as!(
        BacklogRow,
        r#"-- store::backlog::get
        SELECT (SELECT count(*)
                  FROM (SELECT FROM outbox
                         WHERE state = 'queued' AND ($1::text IS NULL OR organization_id = $1)
                         LIMIT $2) AS queued) AS "queued!",
               (SELECT count(*)
                  FROM (SELECT FROM outbox
                         WHERE state = 'queued' AND next_attempt_at <= $3
                           AND ($1::text IS NULL OR organization_id = $1)
                         LIMIT $2) AS due) AS "due!",
               (SELECT count(*)
                  FROM (SELECT FROM outbox
                         WHERE state = 'sending' AND ($1::text IS NULL OR organization_id = $1)
                         LIMIT $2) AS sending) AS "sending!",
               (SELECT count(*)
                  FROM (SELECT FROM outbox
                         WHERE state = 'dead' AND ($1::text IS NULL OR organization_id = $1)
                         LIMIT $2) AS dead) AS "dead!",
               least((SELECT min(next_attempt_at)
                        FROM outbox
                       WHERE state = 'queued' AND next_attempt_at <= $3
                         AND ($1::text IS NULL OR organization_id = $1)),
                     (SELECT min(next_attempt_at)
                        FROM (SELECT next_attempt_at FROM outbox
                               WHERE state = 'sending' AND ($1::text IS NULL OR organization_id = $1)
                               LIMIT $2) AS sending)) AS "oldest_due_at?""#,
        organization_id,
        limit,
        now,
    )
    .fetch_one(connection)
    .await?;
    Ok(row)
}

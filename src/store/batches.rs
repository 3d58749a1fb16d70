//! The `batches` table, and how many of a batch's invitations are where.
//!
//! The counts are those of `batch_counts` and of the events that were not folded into them yet. Whoever makes an event adds
//! a row and waits for nobody; [`fold`] alone writes counters.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Purged, StoreError};
use crate::domain::batch::{Batch, BatchCounts};
use crate::domain::ids::OrganizationId;

/// Items that were done in a batch.
#[derive(Debug, Clone, Copy)]
pub struct Done<'a> {
    /// The organization.
    pub organization_id: &'a OrganizationId,
    /// The batch.
    pub batch_id: Uuid,
    /// How many, whatever came of them.
    pub items: usize,
    /// How many of them failed.
    pub failed: usize,
    /// Now.
    pub now: OffsetDateTime,
}

/// Writes down that items were done: the first ones make the batch, later ones add to it.
pub async fn add(connection: &mut Connection<'_>, done: Done<'_>) -> Result<(), StoreError> {
    sqlx::query!(
        "-- store::batches::add
        INSERT INTO batches AS b (id, created_at, updated_at, item_count, failed_count, organization_id)
        VALUES ($1, $2, $2, $3, $4, $5)
            ON CONFLICT (organization_id, id) DO UPDATE
               SET updated_at = excluded.updated_at, item_count = b.item_count + excluded.item_count,
                   failed_count = b.failed_count + excluded.failed_count",
        done.batch_id,
        done.now,
        i64::try_from(done.items).unwrap_or(i64::MAX),
        i64::try_from(done.failed).unwrap_or(i64::MAX),
        done.organization_id.as_str(),
    )
    .execute(connection.driver())
    .await?;
    Ok(())
}

/// A batch, without its counts.
pub async fn find(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    id: Uuid,
) -> Result<Option<Batch>, StoreError> {
    let batch = sqlx::query_as!(
        Batch,
        "-- store::batches::find
        SELECT id, organization_id, created_at, updated_at, item_count, failed_count
          FROM batches
         WHERE organization_id = $1 AND id = $2",
        organization_id.as_str(),
        id,
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(batch)
}

/// The transaction of a batch's first items, where its events begin; `None` if the organization has no such batch.
pub async fn first_transaction(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    id: Uuid,
) -> Result<Option<i64>, StoreError> {
    let transaction_id = sqlx::query_scalar!(
        r#"-- store::batches::first_transaction
        SELECT transaction_id::text::bigint AS "transaction_id!"
          FROM batches
         WHERE organization_id = $1 AND id = $2"#,
        organization_id.as_str(),
        id,
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(transaction_id)
}

/// How many invitations of a batch are in each pair of states, at one moment. One whose time ran out is counted as expired,
/// and one that a worker holds as sending, as whoever reads it sees it.
pub async fn counts(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Vec<BatchCounts>, StoreError> {
    let counts = sqlx::query_as!(
        BatchCounts,
        r#"-- store::batches::counts
        WITH fresh AS (
            SELECT old_state, old_delivery_state, new_state, new_delivery_state, invitation_count AS count
              FROM invitation_events
             WHERE organization_id = $1 AND transaction_id >= (SELECT folded_before FROM event_fold)
               AND batch_id = $2
        ), due AS MATERIALIZED (
            -- In the order of the index that has few of them, whatever the planner knows.
            SELECT organization_id, batch_id, state, delivery_state
              FROM invitations
             WHERE state = 'pending' AND expires_at <= $3
             ORDER BY expires_at
        ), overdue AS (
            SELECT state, delivery_state, count(*) AS count
              FROM due
             WHERE organization_id = $1 AND batch_id = $2
             GROUP BY state, delivery_state
        ), held AS (
            SELECT i.state, i.delivery_state, i.expires_at <= $3 AS is_overdue, count(*) AS count
              FROM outbox o
              JOIN invitations i ON i.id = o.invitation_id AND i.organization_id = o.organization_id
                                AND i.send_seq = o.send_seq
             WHERE o.state = 'sending' AND o.organization_id = $1 AND i.batch_id = $2
               AND i.delivery_state NOT IN ('bounced', 'complained')
             GROUP BY i.state, i.delivery_state, is_overdue
        ), moved (state, delivery_state, count) AS (
            SELECT state, delivery_state, invitation_count
              FROM batch_counts
             WHERE organization_id = $1 AND batch_id = $2
             UNION ALL
            SELECT new_state, new_delivery_state, count FROM fresh
             UNION ALL
            SELECT old_state, old_delivery_state, -count FROM fresh WHERE old_state IS NOT NULL
             UNION ALL
            SELECT 'expired', delivery_state, count FROM overdue
             UNION ALL
            SELECT state, delivery_state, -count FROM overdue
             UNION ALL
            SELECT CASE WHEN state = 'pending' AND is_overdue THEN 'expired' ELSE state END, 'sending', count FROM held
             UNION ALL
            SELECT CASE WHEN state = 'pending' AND is_overdue THEN 'expired' ELSE state END, delivery_state, -count
              FROM held
        )
        SELECT state AS "state!", delivery_state AS "delivery_state!", sum(count)::bigint AS "count!"
          FROM moved
         GROUP BY state, delivery_state
        HAVING sum(count) <> 0"#,
        organization_id.as_str(),
        id,
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(counts)
}

/// Folds events into the counts, about so many rows of them and the rest of the last transaction; returns how many.
///
/// Below the oldest transaction that still runs no event can be added any more, so what was folded is never looked at
/// again. Whoever comes second waits, and then finds less to do or nothing.
pub async fn fold(connection: &mut Connection<'_>, rows: i64) -> Result<i64, StoreError> {
    let folded = sqlx::query_scalar!(
        r#"-- store::batches::fold
        WITH fold AS MATERIALIZED (
            SELECT folded_before FROM event_fold WHERE id = 1 FOR NO KEY UPDATE
        ), range AS MATERIALIZED (
            SELECT fold.folded_before AS low,
                   greatest(fold.folded_before,
                            least(pg_snapshot_xmin(pg_current_snapshot()),
                                  -- Right behind it: a transaction may have any number of events, and has all or none of
                                  -- them folded.
                                  (SELECT (transaction_id::text::bigint + 1)::text::xid8
                                     FROM invitation_events
                                    WHERE transaction_id >= fold.folded_before
                                    ORDER BY transaction_id
                                   OFFSET $1
                                    LIMIT 1))) AS high
              FROM fold
        ), event AS MATERIALIZED (
            SELECT e.organization_id, e.batch_id, e.old_state, e.old_delivery_state, e.new_state,
                   e.new_delivery_state, e.invitation_count AS count
              FROM invitation_events e
             WHERE e.transaction_id >= (SELECT low FROM range) AND e.transaction_id < (SELECT high FROM range)
        ), moved (organization_id, batch_id, state, delivery_state, count) AS (
            SELECT organization_id, batch_id, new_state, new_delivery_state, count FROM event
             UNION ALL
            SELECT organization_id, batch_id, old_state, old_delivery_state, -count
              FROM event
             WHERE old_state IS NOT NULL
        ), written AS (
            INSERT INTO batch_counts AS c (organization_id, batch_id, state, delivery_state, invitation_count)
            SELECT organization_id, batch_id, state, delivery_state, sum(count)
              FROM moved
             -- The counts of a batch that is kept no more are not begun anew.
             WHERE EXISTS (SELECT FROM batches b WHERE b.organization_id = moved.organization_id AND b.id = moved.batch_id)
             GROUP BY organization_id, batch_id, state, delivery_state
            HAVING sum(count) <> 0
                ON CONFLICT (organization_id, batch_id, state, delivery_state) DO UPDATE
                   SET invitation_count = c.invitation_count + excluded.invitation_count
        ), marked AS (
            UPDATE event_fold SET folded_before = range.high FROM range WHERE range.high > range.low
        )
        SELECT count(*) AS "count!" FROM event"#,
        rows,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(folded)
}

/// Deletes batches that were made at a time or before, with their counts, the oldest first, at most `limit`.
pub async fn purge(
    connection: &mut Connection<'_>,
    made_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged, StoreError> {
    let purged = sqlx::query_as!(
        Purged,
        r#"-- store::batches::purge
        WITH due AS (
            SELECT organization_id, id
              FROM batches
             WHERE created_at <= $1
             ORDER BY created_at
             LIMIT $2
               FOR UPDATE SKIP LOCKED
        ), deleted AS (
            DELETE FROM batches AS b
             USING due
             WHERE b.organization_id = due.organization_id AND b.id = due.id
            RETURNING b.organization_id, b.id, b.created_at
        ), forgotten AS (
            DELETE FROM batch_counts AS c
             USING deleted
             WHERE c.organization_id = deleted.organization_id AND c.batch_id = deleted.id
        )
        SELECT count(*) AS "count!", min(created_at) AS "oldest?" FROM deleted"#,
        made_by,
        limit,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(purged)
}

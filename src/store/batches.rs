//! The `batches` table, and the counts of a batch's invitations by state.
//!
//! The counts are the sum of `batch_counts` and of the events that were not folded into it yet. A transaction that
//! changes invitations only inserts events, so it waits for no counter. Only [`fold_events`] writes `batch_counts`.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Purged, Result};
use crate::domain::batch::{Batch, BatchCounts};
use crate::domain::ids::OrganizationId;

#[derive(Debug, Clone, Copy)]
pub struct ProcessedItems<'a> {
    pub organization_id: &'a OrganizationId,
    pub batch_id: Uuid,
    /// How many items, failed ones included.
    pub items: usize,
    pub failed: usize,
    pub now: OffsetDateTime,
}

/// Adds processed items to a batch. The first items create the batch.
pub async fn add_items(connection: &mut Connection<'_>, batch: ProcessedItems<'_>) -> Result<()> {
    let query = sqlx::query!(
        "-- store::batches::add_items
        INSERT INTO batches AS b (id, created_at, updated_at, item_count, failed_count, organization_id)
        VALUES ($1, $2, $2, $3, $4, $5)
            ON CONFLICT (organization_id, id) DO UPDATE
               SET updated_at = excluded.updated_at, item_count = b.item_count + excluded.item_count,
                   failed_count = b.failed_count + excluded.failed_count",
        batch.batch_id,
        batch.now,
        i64::try_from(batch.items).unwrap_or(i64::MAX),
        i64::try_from(batch.failed).unwrap_or(i64::MAX),
        batch.organization_id.as_str(),
    );
    connection.execute(query).await?;
    Ok(())
}

/// Returns a batch without its counts.
pub async fn get(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    id: Uuid,
) -> Result<Option<Batch>> {
    let query = sqlx::query_as!(
        Batch,
        "-- store::batches::get
        SELECT id, organization_id, created_at, updated_at, item_count, failed_count
          FROM batches
         WHERE organization_id = $1 AND id = $2",
        organization_id.as_str(),
        id,
    );
    connection.fetch_optional(query).await
}

/// Returns the transaction of a batch's first items, where its events begin. `None` if the batch does not exist.
pub async fn first_transaction(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    id: Uuid,
) -> Result<Option<i64>> {
    let query = sqlx::query_scalar!(
        r#"-- store::batches::first_transaction
        SELECT transaction_id::text::bigint AS "transaction_id!"
          FROM batches
         WHERE organization_id = $1 AND id = $2"#,
        organization_id.as_str(),
        id,
    );
    connection.fetch_optional(query).await
}

/// Counts the invitations of a batch by state and delivery state, as of one moment. As in every response, a pending
/// invitation whose time of expiry has passed counts as expired, and one whose email is claimed counts as sending.
pub async fn counts(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Vec<BatchCounts>> {
    let query = sqlx::query_as!(
        BatchCounts,
        r#"-- store::batches::counts
        WITH unfolded AS (
            -- Events that are not part of batch_counts yet.
            SELECT old_state, old_delivery_state, new_state, new_delivery_state, invitation_count AS count
              FROM invitation_events
             WHERE organization_id = $1 AND transaction_id >= (SELECT folded_before FROM event_fold)
               AND batch_id = $2
        ), due AS MATERIALIZED (
            -- Of all organizations, because the index over them holds few rows. The order makes the planner use it.
            SELECT organization_id, batch_id, state, delivery_state
              FROM invitations
             WHERE state = 'pending' AND expires_at <= $3
             ORDER BY expires_at
        ), overdue AS (
            SELECT state, delivery_state, count(*) AS count
              FROM due
             WHERE organization_id = $1 AND batch_id = $2
             GROUP BY state, delivery_state
        ), claimed AS (
            -- Emails that a worker is sending.
            SELECT i.state, i.delivery_state, i.expires_at <= $3 AS is_overdue, count(*) AS count
              FROM outbox o
              JOIN invitations i ON i.id = o.invitation_id AND i.organization_id = o.organization_id
                                AND i.send_seq = o.send_seq
             WHERE o.state = 'sending' AND o.organization_id = $1 AND i.batch_id = $2
               AND i.delivery_state NOT IN ('bounced', 'complained')
             GROUP BY i.state, i.delivery_state, is_overdue
        ), change (state, delivery_state, count) AS (
            SELECT state, delivery_state, invitation_count
              FROM batch_counts
             WHERE organization_id = $1 AND batch_id = $2
             UNION ALL
            SELECT new_state, new_delivery_state, count FROM unfolded
             UNION ALL
            SELECT old_state, old_delivery_state, -count FROM unfolded WHERE old_state IS NOT NULL
             UNION ALL
            SELECT 'expired', delivery_state, count FROM overdue
             UNION ALL
            SELECT state, delivery_state, -count FROM overdue
             UNION ALL
            SELECT CASE WHEN state = 'pending' AND is_overdue THEN 'expired' ELSE state END, 'sending', count FROM claimed
             UNION ALL
            SELECT CASE WHEN state = 'pending' AND is_overdue THEN 'expired' ELSE state END, delivery_state, -count
              FROM claimed
        )
        SELECT state AS "state!", delivery_state AS "delivery_state!", sum(count)::bigint AS "count!"
          FROM change
         GROUP BY state, delivery_state
        HAVING sum(count) <> 0"#,
        organization_id.as_str(),
        id,
        now,
    );
    connection.fetch_all(query).await
}

/// Adds the oldest events to the counts: about `rows` rows, and the rest of their transaction. Returns how many rows.
/// Only events below the horizon are folded, where no event can be added. Concurrent calls wait for each other.
pub async fn fold_events(connection: &mut Connection<'_>, rows: i64) -> Result<i64> {
    let query = sqlx::query_scalar!(
        r#"-- store::batches::fold_events
        WITH fold AS MATERIALIZED (
            SELECT folded_before FROM event_fold WHERE id = 1 FOR NO KEY UPDATE
        ), range AS MATERIALIZED (
            SELECT fold.folded_before AS low,
                   greatest(fold.folded_before,
                            least(pg_snapshot_xmin(pg_current_snapshot()),
                                  -- The transaction after the last one to fold. All events of a transaction are folded
                                  -- together, however many there are.
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
        ), change (organization_id, batch_id, state, delivery_state, count) AS (
            SELECT organization_id, batch_id, new_state, new_delivery_state, count FROM event
             UNION ALL
            SELECT organization_id, batch_id, old_state, old_delivery_state, -count
              FROM event
             WHERE old_state IS NOT NULL
        ), counted AS (
            INSERT INTO batch_counts AS c (organization_id, batch_id, state, delivery_state, invitation_count)
            SELECT organization_id, batch_id, state, delivery_state, sum(count)
              FROM change
             -- A batch that was purged gets no new counts.
             WHERE EXISTS (SELECT FROM batches b WHERE b.organization_id = change.organization_id AND b.id = change.batch_id)
             GROUP BY organization_id, batch_id, state, delivery_state
            HAVING sum(count) <> 0
                ON CONFLICT (organization_id, batch_id, state, delivery_state) DO UPDATE
                   SET invitation_count = c.invitation_count + excluded.invitation_count
        ), progress AS (
            UPDATE event_fold SET folded_before = range.high FROM range WHERE range.high > range.low
        )
        SELECT count(*) AS "count!" FROM event"#,
        rows,
    );
    connection.fetch_one(query).await
}

/// Deletes batches that were created by a time, with their counts, oldest first.
pub async fn purge(
    connection: &mut Connection<'_>,
    created_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged> {
    let query = sqlx::query_as!(
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
        ), deleted_counts AS (
            DELETE FROM batch_counts AS c
             USING deleted
             WHERE c.organization_id = deleted.organization_id AND c.batch_id = deleted.id
        )
        SELECT count(*) AS "count!", min(created_at) AS "oldest?" FROM deleted"#,
        created_by,
        limit,
    );
    connection.fetch_one(query).await
}

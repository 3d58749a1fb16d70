//! The `invitation_events` table, a log of what happened to invitations. The statements that change invitations write
//! it with `query_with_events!`.
//!
//! Events are ordered by the transaction that wrote them. Its events appear when it commits, maybe before others that
//! were read already. Below the horizon, the oldest transaction that still runs, no event can be added any more.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Purged, Result, StoreError};
use crate::domain::event::EventPosition;
use crate::domain::ids::OrganizationId;

/// Most rows that [`changed_organizations`] reads.
const POLLED_ROWS_MAX: i64 = 5_000;

/// Calls `sqlx::query!` or one of its relatives with a statement that changes invitations. It replaces `EVENTS` by a
/// common table expression that inserts their events: a row for each batch and transition, with the ids of the
/// invitations in ascending order. It reads another expression, `changed`, which has a row for each invitation.
macro_rules! query_with_events {
    ($query:ident!($($record:ident,)? $before:literal + EVENTS + $after:literal, $($arguments:tt)*)) => {
        sqlx::$query!(
            $($record,)?
            $before
                + ", event AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                    new_delivery_state, invitation_ids)
            SELECT updated_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                   new_delivery_state, array_agg(id ORDER BY id)
              FROM changed
             GROUP BY updated_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                      new_delivery_state
        )" + $after,
            $($arguments)*
        )
    };
}

pub(super) use query_with_events;

#[derive(Debug, Clone, Copy)]
pub struct EventQuery<'a> {
    pub organization_id: &'a OrganizationId,
    /// Only the events of this batch.
    pub batch_id: Option<Uuid>,
    /// The first position to read.
    pub from: EventPosition,
    /// `seq` of rows that were read before, with how many of their events were read.
    pub already_read: &'a [(i64, i32)],
    /// Most rows to scan.
    pub rows_max: i64,
    /// Most events to return.
    pub events_max: i32,
}

#[derive(Debug, Clone)]
pub struct EventRow {
    pub position: EventPosition,
    pub created_at: OffsetDateTime,
    pub event_type: String,
    /// The batch that created the invitations.
    pub batch_id: Uuid,
    /// How many events the row holds, read or not.
    pub event_count: usize,
    /// The invitations of the next unread events, as many as fit into the page. May be empty.
    pub invitation_ids: Vec<Uuid>,
}

/// A part of the log as of one moment.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// The oldest transaction that still runs.
    pub horizon: i64,
    /// The last row that was scanned and its time, if there may be rows behind it.
    pub truncated_at: Option<(EventPosition, OffsetDateTime)>,
    /// Rows in order. The last row may be incomplete.
    pub rows: Vec<EventRow>,
}

/// Reads a part of the log, in one statement, so that the horizon is of the moment at which the rows were read.
pub async fn read_page(connection: &mut Connection<'_>, page: EventQuery<'_>) -> Result<EventPage> {
    let (read_seqs, read_counts): (Vec<i64>, Vec<i32>) = page.already_read.iter().copied().unzip();
    let query = sqlx::query!(
        r#"-- store::invitation_events::read_page
        WITH scanned AS MATERIALIZED (
            SELECT transaction_id, seq, batch_id, created_at, event_type, invitation_count, invitation_ids
              FROM invitation_events
             WHERE (organization_id, transaction_id, seq) >= ($1, $2::bigint::text::xid8, $3::bigint)
               AND (organization_id, transaction_id, seq) <= ($1, $9::bigint::text::xid8, $9::bigint)
             ORDER BY organization_id, transaction_id, seq
             LIMIT $4
        ), unread AS (
            -- preceding_count: how many unread events the rows before this one hold.
            SELECT s.transaction_id, s.seq, s.batch_id, s.created_at, s.event_type, s.invitation_count,
                   s.invitation_ids, coalesce(known.count, 0) AS read_count,
                   sum(s.invitation_count - coalesce(known.count, 0)) OVER (ORDER BY s.transaction_id, s.seq)
                   - (s.invitation_count - coalesce(known.count, 0)) AS preceding_count
              FROM scanned s
              LEFT JOIN UNNEST($5::bigint[], $6::integer[]) AS known (seq, count) ON known.seq = s.seq
             WHERE ($7::uuid IS NULL OR s.batch_id = $7) AND s.invitation_count > coalesce(known.count, 0)
        ), page AS (
            SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon,
                   (SELECT count(*) FROM scanned) AS scanned_count
        )
        SELECT page.horizon::text::bigint AS "horizon!", page.scanned_count AS "scanned_count!",
               last.transaction_id::text::bigint AS "last_transaction_id?", last.seq AS "last_seq?",
               last.created_at AS "last_created_at?",
               unread.transaction_id::text::bigint AS "transaction_id?", unread.seq AS "seq?",
               unread.batch_id AS "batch_id?", unread.created_at AS "created_at?",
               unread.event_type AS "event_type?", unread.invitation_count AS "invitation_count?",
               unread.invitation_ids[read_count + 1 : read_count + ($8 - preceding_count)::integer] AS "invitation_ids?"
          FROM page
          LEFT JOIN (SELECT transaction_id, seq, created_at
                       FROM scanned
                      ORDER BY transaction_id DESC, seq DESC
                      LIMIT 1) AS last ON true
          LEFT JOIN unread ON unread.preceding_count <= $8
         ORDER BY unread.transaction_id, unread.seq"#,
        page.organization_id.as_str(),
        page.from.transaction_id,
        page.from.seq,
        page.rows_max,
        &read_seqs,
        &read_counts,
        page.batch_id,
        i64::from(page.events_max),
        i64::MAX,
    );
    let rows: Vec<_> = connection.fetch_all(query).await?;
    let first = rows.first().ok_or(StoreError::Inconsistent("horizon"))?;
    let horizon = first.horizon;
    let last = position(first.last_transaction_id, first.last_seq).zip(first.last_created_at);
    let truncated_at = last.filter(|_| first.scanned_count >= page.rows_max);
    let rows = rows.into_iter().filter_map(|row| {
        Some(EventRow {
            position: position(row.transaction_id, row.seq)?,
            created_at: row.created_at?,
            event_type: row.event_type?,
            batch_id: row.batch_id?,
            event_count: usize::try_from(row.invitation_count?).ok()?,
            invitation_ids: row.invitation_ids?,
        })
    });
    Ok(EventPage {
        horizon,
        truncated_at,
        rows: rows.collect(),
    })
}

fn position(transaction_id: Option<i64>, seq: Option<i64>) -> Option<EventPosition> {
    let (transaction_id, seq) = transaction_id.zip(seq)?;
    Some(EventPosition {
        transaction_id,
        seq,
    })
}

#[derive(Debug, Clone, Copy)]
pub struct SnapshotBounds {
    /// The oldest transaction that still runs.
    pub horizon: i64,
    /// The next transaction to begin.
    pub end: i64,
}

pub async fn snapshot_bounds(connection: &mut Connection<'_>) -> Result<SnapshotBounds> {
    let query = sqlx::query_as!(
        SnapshotBounds,
        r#"-- store::invitation_events::snapshot_bounds
        SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "horizon!",
               pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS "end!""#,
    );
    connection.fetch_one(query).await
}

#[derive(Debug)]
pub struct ChangedOrganizations {
    /// The transaction to poll from next time.
    pub horizon: i64,
    pub organization_ids: Vec<String>,
    /// Whether there may be more organizations.
    pub is_truncated: bool,
}

/// Returns the organizations that have events of transaction `from` or later ones; without `from`, no organizations.
pub async fn changed_organizations(
    connection: &mut Connection<'_>,
    from: Option<i64>,
) -> Result<ChangedOrganizations> {
    let query = sqlx::query_as!(
        ChangedOrganizations,
        r#"-- store::invitation_events::changed_organizations
        WITH fresh AS MATERIALIZED (
            SELECT organization_id
              FROM invitation_events
             WHERE transaction_id >= $1::bigint::text::xid8
             ORDER BY transaction_id
             LIMIT $2
        )
        SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "horizon!",
               ARRAY(SELECT DISTINCT organization_id FROM fresh) AS "organization_ids!",
               (SELECT count(*) FROM fresh) >= $2 AS "is_truncated!""#,
        from,
        POLLED_ROWS_MAX,
    );
    connection.fetch_one(query).await
}

/// Deletes events that happened by a time and are folded, among the `limit` events of the oldest transactions.
pub async fn purge(
    connection: &mut Connection<'_>,
    happened_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged> {
    let query = sqlx::query_as!(
        Purged,
        r#"-- store::invitation_events::purge
        WITH oldest AS MATERIALIZED (
            SELECT organization_id, transaction_id, seq, created_at
              FROM invitation_events
             WHERE transaction_id < (SELECT folded_before FROM event_fold WHERE id = 1)
             ORDER BY transaction_id
             LIMIT $2
        ), deleted AS (
            DELETE FROM invitation_events AS e
             USING oldest
             WHERE e.organization_id = oldest.organization_id AND e.transaction_id = oldest.transaction_id
               AND e.seq = oldest.seq AND oldest.created_at <= $1
            RETURNING e.created_at
        )
        SELECT count(*) AS "count!", min(created_at) AS "oldest?" FROM deleted"#,
        happened_by,
        limit,
    );
    connection.fetch_one(query).await
}

//! The `invitation_events` table, a log of what happened to invitations. The statements that change invitations write
//! it with `query_with_events!`.
//!
//! Events are ordered by the transaction that wrote them. Its events appear when it commits, maybe before others that
//! were read already. Below the horizon, the oldest transaction that still runs, no event can be added any more.
//!
//! Transactions are numbered by one timeline of one cluster. After a failover, numbers that the old primary had given to
//! lost transactions are given again. So a position is valid only together with the id of its log, a hash over the
//! cluster, the database (by the oid of a table), its timeline, and the `log_id` of `event_fold`. The timeline is taken from the name of the WAL
//! file, because the control file has the new one only after the first checkpoint.

use std::collections::BTreeSet;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Purged, Result, StoreError};
use crate::domain::actor::Access;
use crate::domain::event::{EventFilter, EventPosition};

/// Most rows that [`changed_organizations`] reads. So few that Postgres walks the index, even without statistics.
const POLLED_ROWS_MAX: i64 = 1_000;
/// How many rows of each organization a page of several organizations may scan at least.
const SHARE_MIN: i64 = 100;

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
    pub filter: &'a EventFilter,
    /// The first position to read.
    pub from: EventPosition,
    /// `seq` of rows that were read before, with how many of their events were read.
    pub already_read: &'a [(i64, i32)],
    /// Most rows to scan. Of several organizations, each has its share, but at least [`SHARE_MIN`].
    pub rows_max: i64,
    /// Most events to return.
    pub events_max: i32,
}

#[derive(Debug, Clone)]
pub struct EventRow {
    pub position: EventPosition,
    pub created_at: OffsetDateTime,
    pub event_type: String,
    pub organization_id: String,
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
    pub log_id: i64,
    /// The oldest transaction that still runs.
    pub horizon: i64,
    /// The last row up to which the log was scanned, and its time, if there may be rows behind it.
    pub truncated_at: Option<(EventPosition, OffsetDateTime)>,
    /// Rows in order. The last row may be incomplete.
    pub rows: Vec<EventRow>,
}

/// What a page and one of its rows share.
struct PageRow {
    log_id: i64,
    horizon: i64,
    last_transaction_id: Option<i64>,
    last_seq: Option<i64>,
    last_created_at: Option<OffsetDateTime>,
    transaction_id: Option<i64>,
    seq: Option<i64>,
    organization_id: Option<String>,
    batch_id: Option<Uuid>,
    created_at: Option<OffsetDateTime>,
    event_type: Option<String>,
    invitation_count: Option<i32>,
    invitation_ids: Option<Vec<Uuid>>,
}

/// Calls `sqlx::query_as!` with a statement that reads a page. It begins with the common table expression `scanned`:
/// the rows to look at, each with its `number` among the rows of its scan. A scan that was cut off ends with the number
/// `$3`.
macro_rules! page_query {
    (
        ($page:ident, $rows_max:expr),
        $scanned:literal + PAGE
        $(, $argument:expr)* $(,)?
    ) => {{
        let (read_seqs, read_counts): (Vec<i64>, Vec<i32>) = $page.already_read.iter().copied().unzip();
        let types: Vec<&str> = $page.filter.types.iter().map(|one| one.as_str()).collect();
        sqlx::query_as!(
            PageRow,
            $scanned
                + r#", last AS (
            -- Where the first scan was cut off. Rows behind it are left for the next page, because other rows may stand
            -- between them.
            SELECT transaction_id, seq, created_at FROM scanned WHERE number = $3 ORDER BY transaction_id, seq LIMIT 1
        ), unread AS (
            -- preceding_count: how many unread events the rows before this one hold.
            SELECT s.transaction_id, s.seq, s.organization_id, s.batch_id, s.created_at, s.event_type,
                   s.invitation_count, s.invitation_ids, coalesce(known.count, 0) AS read_count,
                   sum(s.invitation_count - coalesce(known.count, 0)) OVER (ORDER BY s.transaction_id, s.seq)
                   - (s.invitation_count - coalesce(known.count, 0)) AS preceding_count
              FROM scanned s
              LEFT JOIN UNNEST($4::bigint[], $5::integer[]) AS known (seq, count) ON known.seq = s.seq
             WHERE ($6::uuid IS NULL OR s.batch_id = $6) AND (cardinality($9::text[]) = 0 OR s.event_type = ANY($9))
               AND s.invitation_count > coalesce(known.count, 0)
               AND NOT EXISTS (SELECT FROM last WHERE (s.transaction_id, s.seq) > (last.transaction_id, last.seq))
        )
        SELECT (SELECT hashtextextended(concat_ws('/', log_id, system_identifier, event_fold.tableoid,
                       CASE WHEN pg_is_in_recovery()
                            THEN (SELECT lpad(upper(to_hex(timeline_id)), 8, '0') FROM pg_control_checkpoint())
                            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END), 0)
                  FROM event_fold, pg_control_system()
                 WHERE event_fold.id = 1) AS "log_id!",
               pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "horizon!",
               last.transaction_id::text::bigint AS "last_transaction_id?", last.seq AS "last_seq?",
               last.created_at AS "last_created_at?",
               unread.transaction_id::text::bigint AS "transaction_id?", unread.seq AS "seq?",
               unread.organization_id AS "organization_id?", unread.batch_id AS "batch_id?",
               unread.created_at AS "created_at?", unread.event_type AS "event_type?",
               unread.invitation_count AS "invitation_count?",
               unread.invitation_ids[read_count + 1 : read_count + ($7 - preceding_count)::integer] AS "invitation_ids?"
          FROM (VALUES (true)) AS page
          LEFT JOIN last ON true
          LEFT JOIN unread ON unread.preceding_count <= $7
         ORDER BY unread.transaction_id, unread.seq"#,
            $page.from.transaction_id,
            $page.from.seq,
            $rows_max,
            &read_seqs,
            &read_counts,
            $page.filter.batch_id,
            i64::from($page.events_max),
            i64::MAX,
            &types as &[&str],
            $($argument),*
        )
    }};
}

/// Reads a part of the log, in one statement, so that the horizon is of the moment at which the rows were read.
pub async fn read_page(connection: &mut Connection<'_>, page: EventQuery<'_>) -> Result<EventPage> {
    let rows = match &page.filter.organizations {
        Access::Every => all_rows(connection, page).await?,
        Access::Only(ids) => rows_of(connection, page, ids).await?,
    };
    let first = rows.first().ok_or(StoreError::Inconsistent("horizon"))?;
    let (log_id, horizon) = (first.log_id, first.horizon);
    let truncated_at =
        position(first.last_transaction_id, first.last_seq).zip(first.last_created_at);
    let rows = rows.into_iter().filter_map(|row| {
        Some(EventRow {
            position: position(row.transaction_id, row.seq)?,
            created_at: row.created_at?,
            event_type: row.event_type?,
            organization_id: row.organization_id?,
            batch_id: row.batch_id?,
            event_count: usize::try_from(row.invitation_count?).ok()?,
            invitation_ids: row.invitation_ids?,
        })
    });
    Ok(EventPage {
        log_id,
        horizon,
        truncated_at,
        rows: rows.collect(),
    })
}

async fn all_rows(connection: &mut Connection<'_>, page: EventQuery<'_>) -> Result<Vec<PageRow>> {
    let query = page_query!(
        (page, page.rows_max),
        "-- store::invitation_events::all_rows
        WITH scanned AS MATERIALIZED (
            SELECT *, row_number() OVER (ORDER BY transaction_id, seq) AS number
              FROM (SELECT transaction_id, seq, organization_id, batch_id, created_at, event_type, invitation_count,
                           invitation_ids
                      FROM invitation_events
                     WHERE (transaction_id, seq) >= ($1::bigint::text::xid8, $2::bigint)
                       AND (transaction_id, seq) <= ($8::bigint::text::xid8, $8::bigint)
                     ORDER BY transaction_id, seq
                     LIMIT $3) AS event
        )" + PAGE,
    );
    connection.fetch_all(query).await
}

async fn rows_of(
    connection: &mut Connection<'_>,
    page: EventQuery<'_>,
    organization_ids: &BTreeSet<String>,
) -> Result<Vec<PageRow>> {
    let organization_ids: Vec<&str> = organization_ids.iter().map(String::as_str).collect();
    let rows_max = match i64::try_from(organization_ids.len()) {
        Ok(0 | 1) => page.rows_max,
        Ok(count) => page.rows_max.min(SHARE_MIN.max(page.rows_max / count)),
        Err(_) => SHARE_MIN,
    };
    let query = page_query!(
        (page, rows_max),
        "-- store::invitation_events::rows_of
        WITH scanned AS MATERIALIZED (
            SELECT event.*
              FROM UNNEST($10::text[]) AS watched (id)
             CROSS JOIN LATERAL (
                   SELECT *, row_number() OVER (ORDER BY transaction_id, seq) AS number
                     FROM (SELECT transaction_id, seq, organization_id, batch_id, created_at, event_type,
                                  invitation_count, invitation_ids
                             FROM invitation_events
                            WHERE (organization_id, transaction_id, seq)
                                  >= (watched.id, $1::bigint::text::xid8, $2::bigint)
                              AND (organization_id, transaction_id, seq)
                                  <= (watched.id, $8::bigint::text::xid8, $8::bigint)
                            ORDER BY organization_id, transaction_id, seq
                            LIMIT $3) AS of_organization) AS event
        )" + PAGE,
        &organization_ids as &[&str],
    );
    connection.fetch_all(query).await
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
    pub log_id: i64,
    /// The oldest transaction that still runs.
    pub horizon: i64,
    /// The next transaction to begin.
    pub end: i64,
}

pub async fn snapshot_bounds(connection: &mut Connection<'_>) -> Result<SnapshotBounds> {
    let query = sqlx::query_as!(
        SnapshotBounds,
        r#"-- store::invitation_events::snapshot_bounds
        SELECT (SELECT hashtextextended(concat_ws('/', log_id, system_identifier, event_fold.tableoid,
                       CASE WHEN pg_is_in_recovery()
                            THEN (SELECT lpad(upper(to_hex(timeline_id)), 8, '0') FROM pg_control_checkpoint())
                            ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END), 0)
                  FROM event_fold, pg_control_system()
                 WHERE event_fold.id = 1) AS "log_id!",
               pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "horizon!",
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

//! The `invitation_events` table, read. Events are written by the statements that make them.
//!
//! A row stands where its transaction began and is seen when that ends, so one may appear before others that were read
//! already. Below the horizon, the oldest transaction that still runs, none can: those rows are final.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Purged, StoreError};
use crate::domain::event::EventPosition;
use crate::domain::ids::OrganizationId;

/// Most rows that one look for news reads.
const NEWS_ROWS_MAX: i64 = 5_000;

/// What to read of the log.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Of which organization.
    pub organization_id: &'a OrganizationId,
    /// Only this batch.
    pub batch_id: Option<Uuid>,
    /// Where to begin.
    pub from: EventPosition,
    /// Rows by their numbers that were read before, with how many of their events.
    pub known: &'a [(i64, i32)],
    /// Most rows to look at.
    pub rows_max: i64,
    /// Most events to return.
    pub events_max: i32,
}

/// A row of events.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// Where it stands.
    pub position: EventPosition,
    /// When it happened.
    pub created_at: OffsetDateTime,
    /// What happened, by its name.
    pub event_type: String,
    /// The batch that made the invitations.
    pub batch_id: Uuid,
    /// How many events it holds.
    pub size: usize,
    /// The invitations of those that come next, as many as the page has room for; maybe none.
    pub invitation_ids: Vec<Uuid>,
}

/// A part of the log, read at one moment.
#[derive(Debug, Clone)]
pub struct Page {
    /// The oldest transaction that still runs.
    pub horizon: i64,
    /// The last row that was looked at and when it happened, if there may be more behind it.
    pub cut: Option<(EventPosition, OffsetDateTime)>,
    /// Rows in order; the last one may be there in part.
    pub rows: Vec<EventRow>,
}

/// Reads a part of the log. One statement, so that the horizon is that of the rows. As a range in
/// the order of the index, which names it: with an equality, a planner without statistics takes an organization for so small
/// that it reads and sorts all of it.
pub async fn page(
    connection: &mut Connection<'_>,
    reading: Reading<'_>,
) -> Result<Page, StoreError> {
    let (known_seqs, known_counts): (Vec<i64>, Vec<i32>) = reading.known.iter().copied().unzip();
    let rows = sqlx::query!(
        r#"-- store::invitation_events::page
        WITH scanned AS MATERIALIZED (
            SELECT transaction_id, seq, batch_id, created_at, event_type, invitation_count, invitation_ids
              FROM invitation_events
             WHERE (organization_id, transaction_id, seq) >= ($1, $2::bigint::text::xid8, $3::bigint)
               AND (organization_id, transaction_id, seq) <= ($1, $9::bigint::text::xid8, $9::bigint)
             ORDER BY organization_id, transaction_id, seq
             LIMIT $4
        ), unread AS (
            SELECT s.transaction_id, s.seq, s.batch_id, s.created_at, s.event_type, s.invitation_count,
                   s.invitation_ids, coalesce(known.count, 0) AS known_count,
                   sum(s.invitation_count - coalesce(known.count, 0)) OVER (ORDER BY s.transaction_id, s.seq)
                   - (s.invitation_count - coalesce(known.count, 0)) AS before
              FROM scanned s
              LEFT JOIN UNNEST($5::bigint[], $6::integer[]) AS known (seq, count) ON known.seq = s.seq
             WHERE ($7::uuid IS NULL OR s.batch_id = $7) AND s.invitation_count > coalesce(known.count, 0)
        ), look AS (
            SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon,
                   (SELECT count(*) FROM scanned) AS scanned_count
        )
        SELECT look.horizon::text::bigint AS "horizon!", look.scanned_count AS "scanned_count!",
               last.transaction_id::text::bigint AS "last_transaction_id?", last.seq AS "last_seq?",
               last.created_at AS "last_created_at?",
               unread.transaction_id::text::bigint AS "transaction_id?", unread.seq AS "seq?",
               unread.batch_id AS "batch_id?", unread.created_at AS "created_at?",
               unread.event_type AS "event_type?", unread.invitation_count AS "invitation_count?",
               unread.invitation_ids[known_count + 1 : known_count + ($8 - before)::integer] AS "invitation_ids?"
          FROM look
          LEFT JOIN (SELECT transaction_id, seq, created_at
                       FROM scanned
                      ORDER BY transaction_id DESC, seq DESC
                      LIMIT 1) AS last ON true
          LEFT JOIN unread ON unread.before <= $8
         ORDER BY unread.transaction_id, unread.seq"#,
        reading.organization_id.as_str(),
        reading.from.transaction_id,
        reading.from.seq,
        reading.rows_max,
        &known_seqs,
        &known_counts,
        reading.batch_id,
        i64::from(reading.events_max),
        i64::MAX,
    )
    .fetch_all(connection.driver())
    .await?;
    let first = rows.first().ok_or(StoreError::Inconsistent("horizon"))?;
    let last = first
        .last_transaction_id
        .zip(first.last_seq)
        .zip(first.last_created_at);
    let cut = last
        .filter(|_| first.scanned_count >= reading.rows_max)
        .map(|((transaction_id, seq), created_at)| {
            let position = EventPosition {
                transaction_id,
                seq,
            };
            (position, created_at)
        });
    let horizon = first.horizon;
    let rows = rows.into_iter().filter_map(|row| {
        Some(EventRow {
            position: EventPosition {
                transaction_id: row.transaction_id?,
                seq: row.seq?,
            },
            created_at: row.created_at?,
            event_type: row.event_type?,
            batch_id: row.batch_id?,
            size: usize::try_from(row.invitation_count?).ok()?,
            invitation_ids: row.invitation_ids?,
        })
    });
    Ok(Page {
        horizon,
        cut,
        rows: rows.collect(),
    })
}

/// From where the database's own log of transactions goes on, at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The oldest transaction that still runs.
    pub horizon: i64,
    /// The next one to begin.
    pub end: i64,
}

/// Where the log stands now.
pub async fn span(connection: &mut Connection<'_>) -> Result<Span, StoreError> {
    let span = sqlx::query_as!(
        Span,
        r#"-- store::invitation_events::span
        SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "horizon!",
               pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS "end!""#,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(span)
}

/// Who has new events.
#[derive(Debug)]
pub struct News {
    /// From where to look next time.
    pub horizon: i64,
    /// The organizations.
    pub organization_ids: Vec<String>,
    /// Whether there are more of them.
    pub is_cut: bool,
}

/// The organizations with events of a transaction or later ones; without one, only from where to look next time.
pub async fn news(connection: &mut Connection<'_>, from: Option<i64>) -> Result<News, StoreError> {
    let news = sqlx::query!(
        r#"-- store::invitation_events::news
        WITH fresh AS MATERIALIZED (
            SELECT organization_id
              FROM invitation_events
             WHERE transaction_id >= $1::bigint::text::xid8
             ORDER BY transaction_id
             LIMIT $2
        )
        SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS "horizon!",
               ARRAY(SELECT DISTINCT organization_id FROM fresh) AS "organization_ids!",
               (SELECT count(*) FROM fresh) AS "count!""#,
        from,
        NEWS_ROWS_MAX,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(News {
        horizon: news.horizon,
        organization_ids: news.organization_ids,
        is_cut: news.count >= NEWS_ROWS_MAX,
    })
}

/// Deletes events that happened at a time or before and are in the counts, the oldest transactions first, out of the
/// `limit` oldest ones.
pub async fn purge(
    connection: &mut Connection<'_>,
    happened_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged, StoreError> {
    let purged = sqlx::query_as!(
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
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(purged)
}

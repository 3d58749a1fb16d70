//! The `audit_events` table: what callers did. An event is written in the transaction of the action, or by its only
//! statement, see [`acceptances`](super::acceptances). The database rejects changes of events.

use serde_json::Value;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Connection, Purged, Result, column};
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent, AuditFilter, AuditRecord};

/// How far the time in an id may be ahead of its event: the ids of a process never go back, even if its clock does.
const ID_AHEAD_MAX: Duration = Duration::MINUTE;

/// Inserts events. Must run in the transaction of the action.
pub async fn insert_many(connection: &mut Connection<'_>, events: &[AuditEvent]) -> Result<()> {
    let query = sqlx::query!(
        "-- store::audit_events::insert_many
        INSERT INTO audit_events
               (id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
                invitation_id, batch_id, request_id, counts)
        SELECT *
          FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                      $8::text[], $9::uuid[], $10::uuid[], $11::uuid[], $12::jsonb[])",
        &column(events, |event| event.id),
        &column(events, |event| event.created_at),
        &column(events, |event| event.organization_id.as_str()) as &[&str],
        &column(events, |event| event.action.as_str()) as &[&str],
        &column(events, AuditEvent::outcome) as &[&str],
        &column(events, |event| event.caller.as_str()) as &[&str],
        &column(events, |event| event.on_behalf_of_user_id.as_deref()) as &[Option<&str>],
        &column(events, |event| event.subject_user_id.as_deref()) as &[Option<&str>],
        &column(events, |event| event.invitation_id) as &[Option<Uuid>],
        &column(events, |event| event.batch_id) as &[Option<Uuid>],
        &column(events, |event| event.request_id) as &[Option<Uuid>],
        &column(events, |event| event.counts.named().collect::<Value>()),
    );
    connection.execute(query).await?;
    Ok(())
}

/// A lower bound of the ids of a filter. A call generates the id of its batch before the id of its event.
fn first_id(filter: &AuditFilter) -> Uuid {
    let of_start = filter.start.map(first_id_of);
    of_start.max(filter.batch_id).unwrap_or(Uuid::nil())
}

/// An exclusive upper bound of the ids of a filter.
fn end_id(filter: &AuditFilter, before: Option<Uuid>) -> Uuid {
    let of_end = |end: OffsetDateTime| first_id_of(end.saturating_add(ID_AHEAD_MAX));
    let of_end = filter.end.map_or(Uuid::max(), of_end);
    of_end.min(before.unwrap_or(Uuid::max()))
}

/// Calls `sqlx::query_as!` with a list of events, in which the macro replaces `COLUMNS` and `FILTERS` by SQL. It also
/// adds the parameters that all lists have: `$1` and `$2` are the bounds of the ids, `$3` to `$8` are filters, and `$9`
/// is the limit.
macro_rules! audit_query {
    (
        ($filter:ident, $before:ident, $limit:ident),
        $select:literal + COLUMNS + $from:literal + FILTERS + $order:literal
        $(, $argument:expr)* $(,)?
    ) => {
        sqlx::query_as!(
            AuditRecord,
            $select
                + " id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
               invitation_id, batch_id, request_id, counts"
                + $from
                + "
           AND ($3::text IS NULL OR action = $3)
           AND ($4::text IS NULL OR caller = $4)
           AND ($5::text IS NULL OR on_behalf_of_user_id = $5 OR subject_user_id = $5)
           AND ($6::uuid IS NULL OR batch_id = $6)
           AND ($7::timestamptz IS NULL OR created_at >= $7)
           AND ($8::timestamptz IS NULL OR created_at < $8)"
                + $order,
            first_id($filter),
            end_id($filter, $before),
            $filter.action.map(AuditAction::as_str),
            $filter.caller,
            $filter.user_id,
            $filter.batch_id,
            $filter.start,
            $filter.end,
            $limit,
            $($argument),*
        )
    };
}

/// Returns events whose id is less than `before`, newest first. Call
/// [`force_custom_plans`](super::planner::force_custom_plans) first.
pub async fn list(
    connection: &mut Connection<'_>,
    filter: &AuditFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AuditRecord>> {
    match (filter.invitation_id, filter.organization_id.as_deref()) {
        (Some(id), organization_id) => {
            // Materialized, so that the planner reads the few events of the invitation and then filters them. It could
            // otherwise walk the whole organization.
            let query = audit_query!(
                (filter, before, limit),
                "-- store::audit_events::list_of_invitation
        WITH event AS MATERIALIZED (SELECT * FROM audit_events WHERE invitation_id = $10)
        SELECT" + COLUMNS
                    + "
          FROM event
         WHERE id >= $1 AND id < $2 AND ($11::text IS NULL OR organization_id = $11)"
                    + FILTERS
                    + "
         ORDER BY id DESC
         LIMIT $9",
                id,
                organization_id,
            );
            connection.fetch_all(query).await
        }
        (None, Some(id)) => {
            // The range and the order are those of the primary key. With an equality, the planner could look for the
            // events of a small organization among those of all organizations.
            let query = audit_query!(
                (filter, before, limit),
                "-- store::audit_events::list_of_organization
        SELECT" + COLUMNS
                    + "
          FROM audit_events
         WHERE (organization_id, id) >= ($10, $1) AND (organization_id, id) < ($10, $2)"
                    + FILTERS
                    + "
         ORDER BY organization_id DESC, id DESC
         LIMIT $9",
                id,
            );
            connection.fetch_all(query).await
        }
        (None, None) => {
            let query = audit_query!(
                (filter, before, limit),
                "-- store::audit_events::list_of_all
        SELECT" + COLUMNS
                    + "
          FROM audit_events
         WHERE id >= $1 AND id < $2"
                    + FILTERS
                    + "
         ORDER BY id DESC
         LIMIT $9",
            );
            connection.fetch_all(query).await
        }
    }
}

/// Deletes events of actions before a time, oldest first. The trigger of the table allows this for the rest of the
/// transaction, so the transaction should do nothing else. The statement locks no rows in advance, because that needs
/// the UPDATE privilege.
pub async fn purge(
    connection: &mut Connection<'_>,
    before: OffsetDateTime,
    limit: i64,
) -> Result<Purged> {
    let query = sqlx::query_as!(
        Purged,
        r#"-- store::audit_events::purge
        WITH retention AS MATERIALIZED (
            SELECT set_config('invitations.audit_retention', 'on', true)
        ), due AS MATERIALIZED (
            SELECT organization_id, id FROM audit_events WHERE id < $1 ORDER BY id LIMIT $2
        ), deleted AS (
            DELETE FROM audit_events AS a
             USING retention, due
             WHERE a.organization_id = due.organization_id AND a.id = due.id
            RETURNING a.created_at
        )
        SELECT count(*) AS "count!", min(created_at) AS "oldest?" FROM deleted"#,
        first_id_of(before),
        limit,
    );
    connection.fetch_one(query).await
}

/// The smallest `UUIDv7` of a time, to the millisecond (RFC 9562 §5.7).
fn first_id_of(time: OffsetDateTime) -> Uuid {
    let millis = time.unix_timestamp_nanos() / 1_000_000;
    let millis = u64::try_from(millis).unwrap_or(0);
    let [_, _, prefix @ ..] = millis.to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..prefix.len()].copy_from_slice(&prefix);
    Uuid::from_bytes(bytes)
}

impl From<Value> for AuditCounts {
    fn from(stored: Value) -> Self {
        Self::from_named(|name| stored.get(name).and_then(Value::as_u64).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::IdSource;
    use time::macros::datetime;

    #[test]
    fn the_first_id_of_a_time_sorts_between_earlier_ids_and_those_of_its_millisecond() {
        let source = IdSource::new();
        let time = datetime!(2026-11-22 18:48:00.123 UTC);
        let before = source.next(time - Duration::MILLISECOND);
        let first = first_id_of(time);
        assert!(before < first && first < source.next(time));
        assert_eq!(first_id_of(time + Duration::MICROSECOND), first);
        assert_eq!(first_id_of(datetime!(1969-01-01 0:00 UTC)), Uuid::nil());
    }
}

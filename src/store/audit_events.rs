//! The `audit_events` table: what callers did. It is written with the act, and the database itself refuses to change it.
//!
//! The acts that are one statement write their event in that statement; see `subjects`.

use super::Connection;
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Purged, StoreError};
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent, AuditRecord};

/// How far the time in an id may be ahead of that of its event: ids of a process do not go back when its clock does.
const ID_AHEAD_MAX: Duration = Duration::MINUTE;

/// Writes events, in one statement over arrays. Belongs into the transaction of the act.
pub async fn insert_many(
    connection: &mut Connection<'_>,
    events: &[AuditEvent],
) -> Result<(), StoreError> {
    let column = |of: fn(&AuditEvent) -> &str| -> Vec<&str> { events.iter().map(of).collect() };
    let users = |of: fn(&AuditEvent) -> Option<&str>| -> Vec<Option<&str>> {
        events.iter().map(of).collect()
    };
    let optional_ids = |of: fn(&AuditEvent) -> Option<Uuid>| -> Vec<Option<Uuid>> {
        events.iter().map(of).collect()
    };
    let ids: Vec<Uuid> = events.iter().map(|event| event.id).collect();
    let times: Vec<OffsetDateTime> = events.iter().map(|event| event.created_at).collect();
    let counts: Vec<Value> = events.iter().map(|event| to_json(event.counts)).collect();
    sqlx::query!(
        "-- store::audit_events::insert_many
        INSERT INTO audit_events
               (id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
                invitation_id, batch_id, request_id, counts)
        SELECT id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
               invitation_id, batch_id, request_id, counts
          FROM UNNEST($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                      $8::text[], $9::uuid[], $10::uuid[], $11::uuid[], $12::jsonb[])
               AS t (id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
                     invitation_id, batch_id, request_id, counts)",
        &ids,
        &times,
        &column(|event| &event.organization_id) as &[&str],
        &column(|event| event.action.as_str()) as &[&str],
        &column(AuditEvent::outcome) as &[&str],
        &column(|event| &event.caller) as &[&str],
        &users(|event| event.on_behalf_of_user_id.as_deref()) as &[Option<&str>],
        &users(|event| event.subject_user_id.as_deref()) as &[Option<&str>],
        &optional_ids(|event| event.invitation_id) as &[Option<Uuid>],
        &optional_ids(|event| event.batch_id) as &[Option<Uuid>],
        &optional_ids(|event| event.request_id) as &[Option<Uuid>],
        &counts,
    )
    .execute(connection.driver())
    .await?;
    Ok(())
}

/// What a list of events is narrowed to.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Only what was done in this organization.
    pub organization_id: Option<String>,
    /// Only this action.
    pub action: Option<AuditAction>,
    /// Only what this caller did.
    pub caller: Option<String>,
    /// Only what was done for this user, or about them.
    pub user_id: Option<String>,
    /// Only what was about this invitation.
    pub invitation_id: Option<Uuid>,
    /// Only what made this batch.
    pub batch_id: Option<Uuid>,
    /// Only what was done then or later.
    pub start: Option<OffsetDateTime>,
    /// Only what was done before.
    pub end: Option<OffsetDateTime>,
}

impl AuditFilter {
    /// Events before this id are none of those asked for: ids ascend with time, and a call draws that of its batch first.
    fn first_id(&self) -> Uuid {
        let of_start = self.start.map(first_id_of);
        of_start.max(self.batch_id).unwrap_or(Uuid::nil())
    }

    /// Events from this id on are none of those asked for.
    fn end_id(&self, before: Option<Uuid>) -> Uuid {
        let of_end = self
            .end
            .map(|end| first_id_of(end.saturating_add(ID_AHEAD_MAX)));
        [of_end, before]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(Uuid::max())
    }
}

/// Events newest first, those older than `before` alone, at most `limit`. Ask in a transaction that is planned afresh.
pub async fn list(
    connection: &mut Connection<'_>,
    filter: &AuditFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<AuditRecord>, StoreError> {
    let rows = match (filter.invitation_id, filter.organization_id.as_deref()) {
        (Some(id), _) => list_of_invitation(connection, id, filter, before, limit).await?,
        (None, Some(id)) => list_of_one(connection, id, filter, before, limit).await?,
        (None, None) => list_of_all(connection, filter, before, limit).await?,
    };
    Ok(rows.into_iter().map(Row::into_record).collect())
}

/// The range and the order name the primary key: by equality and in the order of ids alone, an organization with few
/// events would be looked for among those of all others.
async fn list_of_one(
    connection: &mut Connection<'_>,
    organization_id: &str,
    filter: &AuditFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "-- store::audit_events::list_of_one
        SELECT id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
               invitation_id, batch_id, request_id, counts
          FROM audit_events
         WHERE (organization_id, id) >= ($1, $2) AND (organization_id, id) < ($1, $3)
           AND ($4::text IS NULL OR action = $4)
           AND ($5::text IS NULL OR caller = $5)
           AND ($6::text IS NULL OR on_behalf_of_user_id = $6 OR subject_user_id = $6)
           AND ($7::uuid IS NULL OR batch_id = $7)
           AND ($8::timestamptz IS NULL OR created_at >= $8)
           AND ($9::timestamptz IS NULL OR created_at < $9)
         ORDER BY organization_id DESC, id DESC
         LIMIT $10",
        organization_id,
        filter.first_id(),
        filter.end_id(before),
        filter.action.map(AuditAction::as_str),
        filter.caller,
        filter.user_id,
        filter.batch_id,
        filter.start,
        filter.end,
        limit,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(rows)
}

async fn list_of_all(
    connection: &mut Connection<'_>,
    filter: &AuditFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "-- store::audit_events::list_of_all
        SELECT id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
               invitation_id, batch_id, request_id, counts
          FROM audit_events
         WHERE id >= $1 AND id < $2
           AND ($3::text IS NULL OR action = $3)
           AND ($4::text IS NULL OR caller = $4)
           AND ($5::text IS NULL OR on_behalf_of_user_id = $5 OR subject_user_id = $5)
           AND ($6::uuid IS NULL OR batch_id = $6)
           AND ($7::timestamptz IS NULL OR created_at >= $7)
           AND ($8::timestamptz IS NULL OR created_at < $8)
         ORDER BY id DESC
         LIMIT $9",
        filter.first_id(),
        filter.end_id(before),
        filter.action.map(AuditAction::as_str),
        filter.caller,
        filter.user_id,
        filter.batch_id,
        filter.start,
        filter.end,
        limit,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(rows)
}

/// The few events of one invitation first, and of them those that are asked for: a planner that weighed both at once could
/// walk the whole organization for them.
async fn list_of_invitation(
    connection: &mut Connection<'_>,
    invitation_id: Uuid,
    filter: &AuditFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Row>, StoreError> {
    let rows = sqlx::query_as!(
        Row,
        "-- store::audit_events::list_of_invitation
        WITH about AS MATERIALIZED (SELECT * FROM audit_events WHERE invitation_id = $10)
        SELECT id, created_at, organization_id, action, outcome, caller, on_behalf_of_user_id, subject_user_id,
               invitation_id, batch_id, request_id, counts
          FROM about
         WHERE id >= $1 AND id < $2
           AND ($3::text IS NULL OR action = $3)
           AND ($4::text IS NULL OR caller = $4)
           AND ($5::text IS NULL OR on_behalf_of_user_id = $5 OR subject_user_id = $5)
           AND ($11::text IS NULL OR organization_id = $11)
           AND ($6::uuid IS NULL OR batch_id = $6)
           AND ($7::timestamptz IS NULL OR created_at >= $7)
           AND ($8::timestamptz IS NULL OR created_at < $8)
         ORDER BY id DESC
         LIMIT $9",
        filter.first_id(),
        filter.end_id(before),
        filter.action.map(AuditAction::as_str),
        filter.caller,
        filter.user_id,
        filter.batch_id,
        filter.start,
        filter.end,
        limit,
        invitation_id,
        filter.organization_id,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(rows)
}

/// Deletes events of acts before a time, oldest first, at most `limit`.
///
/// The one way past the guard of the table, which opens for the transaction that this runs in: run it by itself.
/// Locks nothing beforehand, so that a role of the database without UPDATE may run it.
pub async fn purge(
    connection: &mut Connection<'_>,
    before: OffsetDateTime,
    limit: i64,
) -> Result<Purged, StoreError> {
    let purged = sqlx::query_as!(
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
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(purged)
}

/// The smallest id of a time, to the millisecond (RFC 9562 §5.7).
fn first_id_of(time: OffsetDateTime) -> Uuid {
    let millis = time.unix_timestamp_nanos() / 1_000_000;
    let millis = u64::try_from(millis).unwrap_or(0);
    let [_, _, prefix @ ..] = millis.to_be_bytes();
    let mut bytes = [0; 16];
    bytes[..prefix.len()].copy_from_slice(&prefix);
    Uuid::from_bytes(bytes)
}

fn to_json(counts: AuditCounts) -> Value {
    let named = counts
        .named()
        .map(|(name, count)| (name.to_owned(), count.into()));
    Value::Object(named.collect::<Map<_, _>>())
}

struct Row {
    id: Uuid,
    created_at: OffsetDateTime,
    organization_id: String,
    action: String,
    outcome: String,
    caller: String,
    on_behalf_of_user_id: Option<String>,
    subject_user_id: Option<String>,
    invitation_id: Option<Uuid>,
    batch_id: Option<Uuid>,
    request_id: Option<Uuid>,
    counts: Value,
}

impl Row {
    fn into_record(self) -> AuditRecord {
        let count = |name: &str| self.counts.get(name).and_then(Value::as_u64).unwrap_or(0);
        AuditRecord {
            counts: AuditCounts::from_named(count),
            id: self.id,
            created_at: self.created_at,
            organization_id: self.organization_id,
            action: self.action,
            outcome: self.outcome,
            caller: self.caller,
            on_behalf_of_user_id: self.on_behalf_of_user_id,
            subject_user_id: self.subject_user_id,
            invitation_id: self.invitation_id,
            batch_id: self.batch_id,
            request_id: self.request_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::IdSource;
    use time::macros::datetime;

    #[test]
    fn the_first_id_of_a_time_is_before_all_of_its_millisecond_and_after_all_before() {
        let source = IdSource::new();
        let time = datetime!(2026-11-22 18:48:00.123 UTC);
        let before = source.next(time - Duration::MILLISECOND);
        let first = first_id_of(time);
        assert!(before < first && first < source.next(time));
        assert_eq!(first_id_of(time + Duration::MICROSECOND), first);
        assert_eq!(first_id_of(datetime!(1969-01-01 0:00 UTC)), Uuid::nil());
    }
}

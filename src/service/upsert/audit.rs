//! The audit events of an upsert: one for each organization, and one of no organization for refused items.

use std::collections::BTreeMap;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent, NO_ORGANIZATION};
use crate::service::ServiceError;
use crate::service::unit_of_work::UnitOfWork;
use crate::store::audit_events;

/// One row that an upsert wrote.
pub(super) struct WrittenRow<'a> {
    /// The organization of the row, or [`NO_ORGANIZATION`].
    pub(super) organization_id: &'a str,
    pub(super) user_id: Option<&'a str>,
    pub(super) is_created: bool,
}

/// Records an upsert.
pub(super) async fn record<'a>(
    work: &mut UnitOfWork<'_>,
    actor: &Actor,
    action: AuditAction,
    rows: impl Iterator<Item = WrittenRow<'a>>,
    failed_count: usize,
) -> Result<(), ServiceError> {
    let now = work.context.now();
    let mut events: BTreeMap<&str, AuditEvent> = BTreeMap::new();
    for row in rows {
        let event = events.entry(row.organization_id).or_insert_with(|| {
            work.context
                .audit_event(actor, action, row.organization_id, now)
        });
        // The event names a user if the call wrote one user only.
        let is_first = event.counts == AuditCounts::default();
        event.subject_user_id = row.user_id.filter(|_| is_first).map(str::to_owned);
        if row.is_created {
            event.counts.created += 1;
        } else {
            event.counts.updated += 1;
        }
    }
    if failed_count > 0 {
        let event = events.entry(NO_ORGANIZATION).or_insert_with(|| {
            work.context
                .audit_event(actor, action, NO_ORGANIZATION, now)
        });
        event.counts.failed = u64::try_from(failed_count).unwrap_or(u64::MAX);
    }
    let events: Vec<AuditEvent> = events.into_values().collect();
    Ok(audit_events::insert_many(work, &events).await?)
}

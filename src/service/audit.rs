//! The audit log: how use cases write down what they did, and how it is read.
//!
//! An event is written in the transaction of its act, so that there is neither one without the other, and one for each
//! call, whatever its size. A dry run, a repetition and a call that was rolled back write none. What time brings about
//! and what mail servers report are nobody's acts, and are not written down.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent, AuditRecord};
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::audit_events::{self, AuditFilter};
use crate::store::{self, Connection, organizations};

use super::bulk_create::{ItemResult, Outcome};
use super::{Service, ServiceError};

/// Where an act belongs that belongs to no organization.
pub(super) const NO_ORGANIZATION: &str = "";

/// A page of the log to read.
pub struct ListAudit {
    /// The organization; `None` for all of them, and what belongs to none.
    pub organization_id: Option<OrganizationId>,
    /// What it is narrowed to besides.
    pub filter: AuditFilter,
    /// The last id of the page before.
    pub before: Option<uuid::Uuid>,
    /// At most so many.
    pub page_size: usize,
}

/// One item that a directory call wrote.
pub(super) struct Told<'a> {
    /// The organization it belongs to, or [`NO_ORGANIZATION`].
    pub(super) organization_id: &'a str,
    /// The user it is about, if it is about one.
    pub(super) user_id: Option<&'a str>,
    /// Whether it was not there before.
    pub(super) is_created: bool,
}

impl Service {
    /// Returns a page of the log, and whether there is another one. That of a deleted organization stays readable.
    pub async fn list_audit(
        &self,
        request: ListAudit,
    ) -> Result<(Vec<AuditRecord>, bool), ServiceError> {
        let request = Arc::new(request);
        self.store
            .with_tx("list_audit", move |connection| {
                let request = Arc::clone(&request);
                Box::pin(async move {
                    // One plan for every combination of filters would read the whole log for each page.
                    store::plan_afresh(connection).await?;
                    let mut filter = request.filter.clone();
                    if let Some(id) = &request.organization_id {
                        organizations::get(connection, id)
                            .await?
                            .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
                        filter.organization_id = Some(id.as_str().to_owned());
                    }
                    // One more than asked for tells whether there is another page.
                    let limit = i64::try_from(request.page_size + 1).unwrap_or(i64::MAX);
                    let mut page =
                        audit_events::list(connection, &filter, request.before, limit).await?;
                    let has_more = page.len() > request.page_size;
                    page.truncate(request.page_size);
                    Ok((page, has_more))
                })
            })
            .await
    }

    /// An act of somebody, done and about nothing in particular: the beginning of every event.
    pub(super) fn event(
        &self,
        actor: &Actor,
        action: AuditAction,
        organization_id: &str,
        now: OffsetDateTime,
    ) -> AuditEvent {
        AuditEvent {
            id: self.ids.next(now),
            created_at: now,
            organization_id: organization_id.to_owned(),
            action,
            refusal: None,
            caller: actor.label.clone(),
            on_behalf_of_user_id: actor.user_id.clone(),
            subject_user_id: None,
            invitation_id: None,
            batch_id: None,
            request_id: None,
            counts: AuditCounts::default(),
        }
    }

    /// Writes down what a directory call wrote: one event for each organization, and in one that belongs to none what
    /// was refused.
    pub(super) async fn audit_told<'a>(
        &self,
        connection: &mut Connection<'_>,
        actor: &Actor,
        action: AuditAction,
        told: impl Iterator<Item = Told<'a>>,
        failed: usize,
    ) -> Result<(), ServiceError> {
        let now = self.clock.now();
        let mut events: BTreeMap<&str, AuditEvent> = BTreeMap::new();
        for item in told {
            let event = events
                .entry(item.organization_id)
                .or_insert_with(|| self.event(actor, action, item.organization_id, now));
            // It is about a user if it is about one alone.
            let is_first = event.counts == AuditCounts::default();
            event.subject_user_id = item.user_id.filter(|_| is_first).map(str::to_owned);
            if item.is_created {
                event.counts.created += 1;
            } else {
                event.counts.updated += 1;
            }
        }
        if failed > 0 {
            let event = events
                .entry(NO_ORGANIZATION)
                .or_insert_with(|| self.event(actor, action, NO_ORGANIZATION, now));
            event.counts.failed = count(failed);
        }
        let events: Vec<AuditEvent> = events.into_values().collect();
        Ok(audit_events::insert_many(connection, &events).await?)
    }
}

/// The results of a bulk call in numbers.
pub(super) fn counts_of(results: &[ItemResult]) -> AuditCounts {
    let outcomes = |outcome| count(results.iter().filter(|it| it.outcome == outcome).count());
    let is_role_denied = |result: &&ItemResult| {
        result.violations.iter().any(|violation| {
            matches!(
                violation.reason,
                Reason::RoleNotGrantable | Reason::InviterNotAdmin
            )
        })
    };
    AuditCounts {
        created: outcomes(Outcome::Created),
        replaced: outcomes(Outcome::Replaced),
        resent: outcomes(Outcome::Resent),
        unchanged: outcomes(Outcome::Existing),
        failed: outcomes(Outcome::Failed),
        role_denied: count(results.iter().filter(is_role_denied).count()),
        ..AuditCounts::default()
    }
}

/// A length as a count.
pub(super) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

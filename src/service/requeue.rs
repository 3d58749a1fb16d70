//! `Requeue`: queues messages again that were given up, once the cause is fixed.

use std::collections::{HashMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::OrganizationId;
use crate::domain::new_invitation::ITEMS_MAX;
use crate::domain::reason::Reason;
use crate::store::candidates::Candidate;
use crate::store::{self, Connection, audit_events, dead_letters, organizations};

use super::ServiceError;
use super::result_page::ResultPage;
use super::runner::UseCase;
use super::selection::{RefusedInvitation, SelectedInvitations};
use super::unit_of_work::UnitOfWork;

/// Which messages, by their invitations.
#[derive(Debug, Clone)]
pub enum RequeueSelection {
    /// Those of these invitations. `None` stands for an id that is no UUID.
    Ids(Vec<Option<Uuid>>),
    /// All that can be queued again.
    AllDead,
}

/// Queues messages again.
#[derive(Debug, Clone)]
pub struct Requeue {
    pub actor: Actor,
    pub organization_id: OrganizationId,
    pub selection: RequeueSelection,
}

/// The result of each message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequeuedMessages {
    /// The invitations that were found. Empty for a list of ids.
    pub found: Vec<Uuid>,
    /// In the order of the ids.
    pub results: Vec<Result<(), RefusedInvitation>>,
    /// Whether there are more.
    pub has_more: bool,
}

impl UseCase for Requeue {
    const NAME: &'static str = "requeue";
    type Output = RequeuedMessages;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<RequeuedMessages, ServiceError> {
        let now = work.context.now();
        let organization_id = &self.organization_id;
        store::planner::force_custom_plans(work).await?;
        organizations::lock_shared(work, organization_id)
            .await?
            .filter(|stored| !stored.is_deleted)
            .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
        let selected = self.select(work, now).await?;
        let candidates = selected.lock(work, organization_id).await?;
        let pending = pending(&candidates, now)?;
        let requeued = dead_letters::requeue_many(work, organization_id, &pending, now).await?;
        let requeued: HashSet<Uuid> = requeued.into_iter().collect();
        let mut results = Vec::new();
        for resolved in selected.resolve(&candidates) {
            results.push(match resolved {
                Ok(candidate) if requeued.contains(&candidate.id) => Ok(()),
                Ok(candidate) => {
                    let refusal = candidate.state(now)?.refusal();
                    Err(refusal.unwrap_or(Reason::MailNotFailed).into())
                }
                Err(refused) => Err(refused),
            });
        }
        let event = AuditEvent {
            counts: counts(&results),
            ..work.context.audit_event(
                &self.actor,
                AuditAction::Requeue,
                organization_id.as_str(),
                now,
            )
        };
        audit_events::insert_many(work, &[event]).await?;
        Ok(RequeuedMessages {
            found: selected.found,
            results,
            has_more: selected.has_more,
        })
    }
}

impl Requeue {
    async fn select(
        &self,
        connection: &mut Connection<'_>,
        now: OffsetDateTime,
    ) -> Result<SelectedInvitations, ServiceError> {
        match &self.selection {
            RequeueSelection::Ids(ids) => Ok(SelectedInvitations {
                ids: ids.clone(),
                found: Vec::new(),
                has_more: false,
            }),
            RequeueSelection::AllDead => {
                let limit = ResultPage::<Uuid>::rows_max(ITEMS_MAX);
                let ids = dead_letters::list(connection, &self.organization_id, limit, now).await?;
                Ok(SelectedInvitations::found(ResultPage::new(ids, ITEMS_MAX)))
            }
        }
    }
}

/// The invitations that may still be mailed.
fn pending(
    candidates: &HashMap<Uuid, Candidate>,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, ServiceError> {
    let mut pending = Vec::new();
    for candidate in candidates.values() {
        if candidate.state(now)?.refusal().is_none() {
            pending.push(candidate.id);
        }
    }
    Ok(pending)
}

fn counts(results: &[Result<(), RefusedInvitation>]) -> AuditCounts {
    let mut counts = AuditCounts::default();
    for result in results {
        match result {
            Ok(()) => counts.requeued += 1,
            Err(_) => counts.failed += 1,
        }
    }
    counts
}

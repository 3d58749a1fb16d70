//! `RequeueMessages`: queues messages again that were given up, once the cause is fixed.

use std::collections::{HashMap, HashSet};

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts};
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::candidates::Candidate;
use crate::store::{self, dead_letters, organizations};

use super::selection::{FilterScope, SelectionResults};
use super::{InvitationSelection, RefusedInvitation, ServiceError, UnitOfWork, UseCase};

pub struct Requeue {
    pub actor: Actor,
    pub organization_id: OrganizationId,
    /// A filter finds only invitations whose message can be queued again.
    pub selection: InvitationSelection,
    /// Whether to write nothing.
    pub validate_only: bool,
}

impl UseCase for Requeue {
    const NAME: &'static str = "requeue";
    type Output = SelectionResults<Result<(), RefusedInvitation>>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let now = work.context.now();
        let organization_id = &self.organization_id;
        store::planner::force_index_order(work).await?;
        organizations::lock_shared(work, organization_id)
            .await?
            .filter(|stored| !stored.is_deleted())
            .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
        let selection = &self.selection;
        let selected = selection
            .select(work, organization_id, FilterScope::DeadLetters)
            .await?;
        let candidates = selected.lock(work, organization_id).await?;
        let pending = pending(&candidates, now)?;
        let requeued = if self.validate_only {
            dead_letters::find_many(work, organization_id, &pending).await?
        } else {
            dead_letters::requeue_many(work, organization_id, &pending, now).await?
        };
        let requeued: HashSet<Uuid> = requeued.into_iter().collect();
        let mut results = Vec::new();
        let mut counts = AuditCounts::default();
        for resolved in selected.resolve(&candidates) {
            let refused = match resolved {
                Ok(candidate) if requeued.contains(&candidate.id) => {
                    counts.requeued += 1;
                    results.push(Ok(()));
                    continue;
                }
                Ok(candidate) => {
                    let refusal = candidate.state(now)?.refusal();
                    refusal.unwrap_or(Reason::MessageNotFailed).into()
                }
                Err(refused) => refused,
            };
            counts.failed += 1;
            results.push(Err(refused));
        }
        if !self.validate_only {
            let (action, id) = (AuditAction::Requeue, organization_id.as_str());
            work.record(&self.actor, action, id, counts, now).await?;
        }
        Ok(selected.with(results))
    }
}

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

//! `BulkRevoke`: the organization withdraws many invitations, in one transaction and as many statements as for one.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::invitation::StateName;
use crate::domain::reason::Reason;
use crate::store::candidates::Candidate;
use crate::store::invitations::{self, EndReason, InvitationKey};
use crate::store::{self, audit_events, organizations};

use super::ServiceError;
use super::context::Context;
use super::runner::UseCase;
use super::selection::{InvitationSelection, RefusedInvitation};
use super::unit_of_work::UnitOfWork;

/// Revokes invitations.
pub struct BulkRevoke {
    pub actor: Actor,
    pub organization_id: OrganizationId,
    pub selection: InvitationSelection,
    pub by_user_id: Option<UserId>,
    /// Whether to write nothing.
    pub validate_only: bool,
}

/// What was done for one invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// It was pending and is revoked.
    Revoked,
    /// It was declined, revoked or expired before.
    Unchanged,
}

/// The result of each invitation.
pub struct RevokedInvitations {
    /// The ids that a filter found. Empty for a list of ids.
    pub found: Vec<Uuid>,
    /// In the order of the ids.
    pub results: Vec<Result<RevokeOutcome, RefusedInvitation>>,
    /// Whether the filter finds more.
    pub has_more: bool,
}

impl UseCase for BulkRevoke {
    const NAME: &'static str = "bulk_revoke";
    type Output = RevokedInvitations;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<RevokedInvitations, ServiceError> {
        let now = work.context.now();
        let organization_id = &self.organization_id;
        store::planner::force_index_order(work).await?;
        organizations::lock_shared(work, organization_id)
            .await?
            .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
        let selected = self.selection.select(work, organization_id).await?;
        let candidates = selected.lock(work, organization_id).await?;
        let mut targets: Vec<InvitationKey> = Vec::new();
        let mut results = Vec::new();
        for resolved in selected.resolve(&candidates) {
            let result = match resolved {
                Ok(candidate) => decide(candidate, now)?,
                Err(refused) => Err(refused),
            };
            if let (Ok(candidate), Ok(RevokeOutcome::Revoked)) = (resolved, result) {
                targets.push((candidate.id, organization_id.as_str().to_owned()));
            }
            results.push(result);
        }
        if !self.validate_only {
            let by_user_id = self.by_user_id.as_ref().map(UserId::as_str);
            let end = EndReason::Revoked { by_user_id };
            let ended = invitations::end_many(work, &targets, end, now).await?;
            if ended.len() != targets.len() {
                return Err(ServiceError::Conflict);
            }
            let event = self.audit_event(work.context, &results, now);
            audit_events::insert_many(work, &[event]).await?;
        }
        Ok(RevokedInvitations {
            found: selected.found,
            results,
            has_more: selected.has_more,
        })
    }
}

impl BulkRevoke {
    fn audit_event(
        &self,
        context: &Context,
        results: &[Result<RevokeOutcome, RefusedInvitation>],
        now: OffsetDateTime,
    ) -> AuditEvent {
        let mut counts = AuditCounts::default();
        for result in results {
            match result {
                Ok(RevokeOutcome::Revoked) => counts.revoked += 1,
                Ok(RevokeOutcome::Unchanged) => counts.unchanged += 1,
                Err(_) => counts.failed += 1,
            }
        }
        let organization_id = self.organization_id.as_str();
        let event = context.audit_event(&self.actor, AuditAction::BulkRevoke, organization_id, now);
        let by_user_id = || {
            self.by_user_id
                .as_ref()
                .map(|user| user.as_str().to_owned())
        };
        AuditEvent {
            counts,
            on_behalf_of_user_id: event.on_behalf_of_user_id.or_else(by_user_id),
            ..event
        }
    }
}

fn decide(
    candidate: &Candidate,
    now: OffsetDateTime,
) -> Result<Result<RevokeOutcome, RefusedInvitation>, ServiceError> {
    Ok(match candidate.state(now)? {
        StateName::Pending => Ok(RevokeOutcome::Revoked),
        StateName::Accepted => Err(Reason::AlreadyAccepted.into()),
        StateName::Declined | StateName::Revoked | StateName::Expired => {
            Ok(RevokeOutcome::Unchanged)
        }
    })
}

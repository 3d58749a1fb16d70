//! `Revoke` and `BulkRevoke`: the organization withdraws one invitation or many, in one transaction.

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::reason::Reason;
use crate::store::invitations::{self, EndReason, InvitationKey};
use crate::store::{audit_events, organizations, planner};

use super::invitation_access::lock_invitation;
use super::selection::{FilterScope, SelectionResults};
use super::{InvitationSelection, RefusedInvitation, ServiceError, UnitOfWork, UseCase};

/// Revokes an invitation. One that was declined, revoked or expired stays as it is.
pub struct Revoke {
    pub organization_id: OrganizationId,
    pub id: Uuid,
    /// Its user is kept on the invitation.
    pub actor: Actor,
}

pub struct BulkRevoke {
    /// Its user is kept on the invitations.
    pub actor: Actor,
    pub organization_id: OrganizationId,
    pub selection: InvitationSelection,
    pub validate_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// It was pending and is revoked.
    Revoked,
    /// It was declined, revoked or expired before.
    Unchanged,
}

impl UseCase for Revoke {
    const NAME: &'static str = "revoke";
    type Output = Invitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Invitation, ServiceError> {
        let subject = lock_invitation(work, &self.organization_id, self.id).await?;
        let now = work.context.now();
        let organization_id = self.organization_id.as_str();
        let outcome = decide(subject.state(now)?).map_err(ServiceError::Refused)?;
        if outcome == RevokeOutcome::Revoked {
            let by_user_id = self.actor.user_id.as_deref();
            let target = (self.id, organization_id.to_owned());
            invitations::end_many(work, &[target], EndReason::Revoked { by_user_id }, now).await?;
            let (context, action) = (work.context, AuditAction::Revoke);
            let event = AuditEvent {
                invitation_id: Some(self.id),
                ..context.audit_event(&self.actor, action, organization_id, now)
            };
            audit_events::insert_many(work, &[event]).await?;
        }
        work.context
            .read_invitation(work, organization_id, self.id)
            .await
    }
}

impl UseCase for BulkRevoke {
    const NAME: &'static str = "bulk_revoke";
    type Output = SelectionResults<Result<RevokeOutcome, RefusedInvitation>>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let now = work.context.now();
        let organization_id = &self.organization_id;
        planner::force_index_order(work).await?;
        organizations::lock_shared(work, organization_id)
            .await?
            .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
        let selection = &self.selection;
        let selected = selection
            .select(work, organization_id, FilterScope::Invitations)
            .await?;
        let candidates = selected.lock(work, organization_id).await?;
        let organization_id = organization_id.as_str();
        let mut targets: Vec<InvitationKey> = Vec::new();
        let mut results = Vec::new();
        let mut counts = AuditCounts::default();
        for resolved in selected.resolve(&candidates) {
            let result = match resolved {
                Ok(candidate) => match decide(candidate.state(now)?) {
                    Ok(RevokeOutcome::Revoked) => {
                        targets.push((candidate.id, organization_id.to_owned()));
                        Ok(RevokeOutcome::Revoked)
                    }
                    other => other.map_err(RefusedInvitation::from),
                },
                Err(refused) => Err(refused),
            };
            *match result {
                Ok(RevokeOutcome::Revoked) => &mut counts.revoked,
                Ok(RevokeOutcome::Unchanged) => &mut counts.unchanged,
                Err(_) => &mut counts.failed,
            } += 1;
            results.push(result);
        }
        if !self.validate_only {
            let by_user_id = self.actor.user_id.as_deref();
            let end = EndReason::Revoked { by_user_id };
            let ended = invitations::end_many(work, &targets, end, now).await?;
            if ended.len() != targets.len() {
                return Err(ServiceError::Conflict);
            }
            let action = AuditAction::BulkRevoke;
            work.record(&self.actor, action, organization_id, counts, now)
                .await?;
        }
        Ok(selected.with(results))
    }
}

const fn decide(state: StateName) -> Result<RevokeOutcome, Reason> {
    match state {
        StateName::Pending => Ok(RevokeOutcome::Revoked),
        StateName::Accepted => Err(Reason::AlreadyAccepted),
        StateName::Declined | StateName::Revoked | StateName::Expired => {
            Ok(RevokeOutcome::Unchanged)
        }
    }
}

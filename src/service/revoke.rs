//! `Revoke` and `BulkRevoke`: the organization withdraws one invitation or many, in one transaction.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{Invitation, InvitationView, StateName};
use crate::domain::reason::Reason;
use crate::store::candidates::Candidate;
use crate::store::invitations::{self, EndReason, InvitationKey};
use crate::store::{audit_events, organizations, planner};

use super::invitation_access::{invitations_by_id, lock_invitation};
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
    pub view: InvitationView,
}

/// An invitation of [`BulkRevoke`] that was not refused, as it is afterwards.
pub struct RevokedInvitation {
    pub outcome: RevokeOutcome,
    pub invitation: Invitation,
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
    type Output = SelectionResults<Result<RevokedInvitation, RefusedInvitation>>;

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
        let decisions: Vec<Decision> = selected
            .resolve(&candidates)
            .into_iter()
            .map(|resolved| decide_candidate(resolved, now))
            .collect::<Result<_, _>>()?;
        if !self.validate_only {
            self.write(work, &decisions, now).await?;
        }
        let results = self.read(work, decisions, now).await?;
        Ok(selected.with(results))
    }
}

impl BulkRevoke {
    async fn write(
        &self,
        work: &mut UnitOfWork<'_>,
        decisions: &[Decision],
        now: OffsetDateTime,
    ) -> Result<(), ServiceError> {
        let organization_id = self.organization_id.as_str();
        let mut targets: Vec<InvitationKey> = Vec::new();
        let mut counts = AuditCounts::default();
        for decision in decisions {
            *match decision {
                Ok((id, RevokeOutcome::Revoked)) => {
                    targets.push((*id, organization_id.to_owned()));
                    &mut counts.revoked
                }
                Ok((_, RevokeOutcome::Unchanged)) => &mut counts.unchanged,
                Err(_) => &mut counts.failed,
            } += 1;
        }
        let by_user_id = self.actor.user_id.as_deref();
        let end = EndReason::Revoked { by_user_id };
        let ended = invitations::end_many(work, &targets, end, now).await?;
        if ended.len() != targets.len() {
            return Err(ServiceError::Conflict);
        }
        let action = AuditAction::BulkRevoke;
        work.record(&self.actor, action, organization_id, counts, now)
            .await?;
        Ok(())
    }

    /// The result of each decision, with the invitation as it is now. A dry run predicts the invitation.
    async fn read(
        &self,
        work: &mut UnitOfWork<'_>,
        decisions: Vec<Decision>,
        now: OffsetDateTime,
    ) -> Result<Vec<Result<RevokedInvitation, RefusedInvitation>>, ServiceError> {
        let ids: Vec<Uuid> = decisions
            .iter()
            .filter_map(|decision| Some(decision.as_ref().ok()?.0))
            .collect();
        let by_user_id = self.actor.user_id.as_deref();
        let organization_id = &self.organization_id;
        let mut found = invitations_by_id(work, organization_id, &ids, self.view, now).await?;
        decisions
            .into_iter()
            .map(|decision| {
                let (id, outcome) = match decision {
                    Ok(decided) => decided,
                    Err(refused) => return Ok(Err(refused)),
                };
                let mut invitation = found.remove(&id).ok_or(ServiceError::Conflict)?;
                if self.validate_only && outcome == RevokeOutcome::Revoked {
                    invitation.revoke(by_user_id, now);
                }
                Ok(Ok(RevokedInvitation {
                    outcome,
                    invitation,
                }))
            })
            .collect()
    }
}

/// What happens to a selected invitation.
type Decision = Result<(Uuid, RevokeOutcome), RefusedInvitation>;

fn decide_candidate(
    resolved: Result<&Candidate, RefusedInvitation>,
    now: OffsetDateTime,
) -> Result<Decision, ServiceError> {
    let candidate = match resolved {
        Ok(candidate) => candidate,
        Err(refused) => return Ok(Err(refused)),
    };
    let outcome = decide(candidate.state(now)?);
    let decision = outcome.map(|outcome| (candidate.id, outcome));
    Ok(decision.map_err(RefusedInvitation::from))
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

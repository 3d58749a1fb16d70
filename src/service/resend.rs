//! `Resend`: a new message for an invitation that is pending or expired, with a new expiry.

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::expiry::Expiry;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;
use crate::domain::reason::Reason;
use crate::store::organizations::StoredOrganization;
use crate::store::{audit_events, candidates, organizations};

use super::ServiceError;
use super::quotas::QuotaUsage;
use super::resend_plan::{self, ResendStep, ResendTerms, rotated_count};
use super::runner::UseCase;
use super::unit_of_work::UnitOfWork;

/// Sends an invitation again.
#[derive(Debug, Clone)]
pub struct Resend {
    pub actor: Actor,
    pub organization_id: OrganizationId,
    pub id: Uuid,
    /// Whether links that were mailed before stop working.
    pub rotate_token: bool,
    /// The new expiry.
    pub expiry: Expiry,
}

impl UseCase for Resend {
    const NAME: &'static str = "resend";
    type Output = Invitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Invitation, ServiceError> {
        let now = work.context.now();
        let organization_id = &self.organization_id;
        let terms = ResendTerms {
            organization_id,
            rotate_token: self.rotate_token,
            expires_at: self
                .expiry
                .resolve(now)
                .map_err(|reason| ServiceError::invalid(self.expiry.field(), reason))?,
            now,
        };
        // Locked before the invitation, as in every call that makes one pending, so that it is not deleted meanwhile.
        let organization = organizations::lock_shared(work, organization_id).await?;
        let locked = candidates::lock_many(work, organization_id, &[self.id]).await?;
        let invitation = locked.first().ok_or(Reason::InvitationNotFound);
        let invitation = invitation.map_err(ServiceError::Refused)?;
        require_active(organization.as_ref())?;
        let steps = resend_plan::plan(work, &terms, vec![Ok(invitation)]).await?;
        let resending = match steps.first() {
            Some(ResendStep::Send { resending, .. }) => *resending,
            Some(ResendStep::Refuse { refusal, exceeded }) => {
                return Err(
                    exceeded.map_or(ServiceError::Refused(refusal.reason), |exceeded| {
                        ServiceError::Exhausted(vec![exceeded])
                    }),
                );
            }
            None => return Err(ServiceError::Refused(Reason::InvitationNotFound)),
        };
        resend_plan::write(work, &terms, &[resending]).await?;
        let event = AuditEvent {
            invitation_id: Some(self.id),
            counts: AuditCounts {
                resent: 1,
                rotated: rotated_count(&[resending]),
                ..AuditCounts::default()
            },
            ..work.context.audit_event(
                &self.actor,
                AuditAction::Resend,
                organization_id.as_str(),
                now,
            )
        };
        audit_events::insert_many(work, &[event]).await?;
        let resent = work
            .context
            .read_invitation(work, organization_id.as_str(), self.id)
            .await?;
        let usage = QuotaUsage::new(steps.iter().filter_map(ResendStep::quota_request));
        let quotas = &work.context.quotas;
        let obstacle = quotas.reserve(work, organization_id, &usage, now);
        match obstacle.await? {
            None => Ok(resent),
            Some(quota) => Err(ServiceError::Exhausted(vec![quotas.exceeded(quota, now)])),
        }
    }
}

fn require_active(organization: Option<&StoredOrganization>) -> Result<(), ServiceError> {
    match organization {
        Some(organization) if organization.is_suspended && !organization.is_deleted => {
            Err(ServiceError::Refused(Reason::OrganizationSuspended))
        }
        Some(organization) if !organization.is_deleted => Ok(()),
        _ => Err(ServiceError::Refused(Reason::OrganizationInactive)),
    }
}

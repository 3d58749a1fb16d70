//! `Revoke`: the organization withdraws an invitation.

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::reason::Reason;
use crate::store::audit_events;
use crate::store::invitations::{self, EndReason};

use super::ServiceError;
use super::invitation_access::lock_invitation;
use super::runner::UseCase;
use super::unit_of_work::UnitOfWork;

/// Revokes an invitation. One that was declined, revoked or expired stays as it is.
pub struct Revoke {
    pub organization_id: OrganizationId,
    pub id: Uuid,
    pub by_user_id: Option<UserId>,
    pub actor: Actor,
}

impl UseCase for Revoke {
    const NAME: &'static str = "revoke";
    type Output = Invitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Invitation, ServiceError> {
        let subject = lock_invitation(work, &self.organization_id, self.id).await?;
        let now = work.context.now();
        let organization_id = self.organization_id.as_str();
        match subject.state(now)? {
            StateName::Accepted => return Err(ServiceError::Refused(Reason::AlreadyAccepted)),
            StateName::Declined | StateName::Revoked | StateName::Expired => {}
            StateName::Pending => {
                let by_user_id = self.by_user_id.as_ref().map(UserId::as_str);
                let target = (self.id, organization_id.to_owned());
                let end = EndReason::Revoked { by_user_id };
                invitations::end_many(work, &[target], end, now).await?;
                let event = work.context.audit_event(
                    &self.actor,
                    AuditAction::Revoke,
                    organization_id,
                    now,
                );
                let event = AuditEvent {
                    invitation_id: Some(self.id),
                    on_behalf_of_user_id: event
                        .on_behalf_of_user_id
                        .or_else(|| by_user_id.map(str::to_owned)),
                    ..event
                };
                audit_events::insert_many(work, &[event]).await?;
            }
        }
        work.context
            .read_invitation(work, organization_id, self.id)
            .await
    }
}

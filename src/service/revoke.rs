//! `Revoke`: the organization withdraws an invitation.

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::reason::Reason;
use crate::store::invitations::{self, End};
use crate::store::{Connection, audit_events};

use super::ServiceError;
use super::context::Context;
use super::invitation_access::lock_invitation;
use super::runner::UseCase;

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

    async fn run(
        &self,
        context: &Context,
        connection: &mut Connection<'_>,
    ) -> Result<Invitation, ServiceError> {
        let subject = lock_invitation(connection, &self.organization_id, self.id).await?;
        let now = context.now();
        let organization_id = self.organization_id.as_str();
        match subject.state(now)? {
            StateName::Accepted => return Err(ServiceError::Refused(Reason::AlreadyAccepted)),
            StateName::Declined | StateName::Revoked | StateName::Expired => {}
            StateName::Pending => {
                let by_user_id = self.by_user_id.as_ref().map(UserId::as_str);
                let target = (self.id, organization_id.to_owned());
                let end = End::Revoked { by_user_id };
                invitations::end_many(connection, &[target], end, now).await?;
                let event =
                    context.audit_event(&self.actor, AuditAction::Revoke, organization_id, now);
                let event = AuditEvent {
                    invitation_id: Some(self.id),
                    on_behalf_of_user_id: event
                        .on_behalf_of_user_id
                        .or_else(|| by_user_id.map(str::to_owned)),
                    ..event
                };
                audit_events::insert_many(connection, &[event]).await?;
            }
        }
        context
            .read_invitation(connection, organization_id, self.id)
            .await
    }
}

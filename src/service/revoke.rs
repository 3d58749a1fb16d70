//! Revoke: the organization takes an invitation back.

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::invitation::{Invitation, StateName};
use crate::domain::reason::Reason;
use crate::store::invitations::{self, End};
use crate::store::{Connection, audit_events};

use super::{Service, ServiceError};

impl Service {
    /// Revokes an invitation; one that ended otherwise stays as it is, one that was accepted is an error.
    pub async fn revoke(
        &self,
        organization_id: OrganizationId,
        id: Uuid,
        by_user_id: Option<UserId>,
        actor: Actor,
    ) -> Result<Invitation, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("revoke", move |connection| {
                let (service, organization_id) = (service.clone(), organization_id.clone());
                let (by_user_id, actor) = (by_user_id.clone(), actor.clone());
                Box::pin(async move {
                    service
                        .revoke_once(
                            connection,
                            &organization_id,
                            id,
                            by_user_id.as_ref(),
                            &actor,
                        )
                        .await
                })
            })
            .await
    }

    async fn revoke_once(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        id: Uuid,
        by_user_id: Option<&UserId>,
        actor: &Actor,
    ) -> Result<Invitation, ServiceError> {
        let subject = self.lock(connection, organization_id, id).await?;
        let now = self.clock.now();
        match subject.state(now)? {
            StateName::Accepted => return Err(ServiceError::Refused(Reason::AlreadyAccepted)),
            StateName::Pending => {
                let end = End::Revoked {
                    by_user_id: by_user_id.map(UserId::as_str),
                };
                invitations::end_many(
                    connection,
                    &[(id, subject.organization_id.clone())],
                    end,
                    now,
                )
                .await?;
                let event = self.event(actor, AuditAction::Revoke, organization_id.as_str(), now);
                let event = AuditEvent {
                    invitation_id: Some(id),
                    on_behalf_of_user_id: event
                        .on_behalf_of_user_id
                        .or_else(|| by_user_id.map(|user| user.as_str().to_owned())),
                    ..event
                };
                audit_events::insert_many(connection, &[event]).await?;
            }
            StateName::Declined | StateName::Revoked | StateName::Expired => {}
        }
        self.read(connection, organization_id.as_str(), id).await
    }
}

//! The switch that stops one organization: nobody is invited, mailed or let in for it until it is resumed.
//!
//! Its mails are held back by delivery and go out afterwards. What ends an invitation goes on.

use time::OffsetDateTime;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts, AuditEvent};
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::{audit_events, suspensions};

use super::{Service, ServiceError};

impl Service {
    /// Stops an organization; tells since when it is.
    pub async fn suspend_organization(
        &self,
        id: OrganizationId,
        actor: Actor,
    ) -> Result<OffsetDateTime, ServiceError> {
        let service = self.clone();
        let suspended_at = self
            .store
            .with_tx("suspend_organization", move |connection| {
                let (service, id, actor) = (service.clone(), id.clone(), actor.clone());
                Box::pin(async move {
                    let now = service.clock.now();
                    let suspended_at = suspensions::suspend(connection, &id, now)
                        .await?
                        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
                    // Suspending again is no act.
                    if suspended_at == now {
                        let action = AuditAction::SuspendOrganization;
                        let event = service.event(&actor, action, id.as_str(), now);
                        audit_events::insert_many(connection, &[event]).await?;
                    }
                    Ok::<_, ServiceError>(suspended_at)
                })
            })
            .await?;
        tracing::warn!("an organization is suspended");
        Ok(suspended_at)
    }

    /// Lets an organization go on, and its mails go out; tells how many.
    pub async fn resume_organization(
        &self,
        id: OrganizationId,
        actor: Actor,
    ) -> Result<u64, ServiceError> {
        let service = self.clone();
        let released = self
            .store
            .with_tx("resume_organization", move |connection| {
                let (service, id, actor) = (service.clone(), id.clone(), actor.clone());
                Box::pin(async move {
                    let was_suspended = suspensions::resume(connection, &id)
                        .await?
                        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
                    if !was_suspended {
                        return Ok::<_, ServiceError>(0);
                    }
                    let now = service.clock.now();
                    let released = suspensions::release(connection, &id, now).await?;
                    let action = AuditAction::ResumeOrganization;
                    let event = AuditEvent {
                        counts: AuditCounts {
                            requeued: released,
                            ..AuditCounts::default()
                        },
                        ..service.event(&actor, action, id.as_str(), now)
                    };
                    audit_events::insert_many(connection, &[event]).await?;
                    Ok(released)
                })
            })
            .await?;
        Ok(released)
    }
}

//! The switch that stops one organization: nobody is invited, mailed or let in for it until it is resumed.
//!
//! Its mails are held back by delivery and go out afterwards. What ends an invitation goes on.

use time::OffsetDateTime;

use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::suspensions;

use super::{Service, ServiceError};

impl Service {
    /// Stops an organization; tells since when it is.
    pub async fn suspend_organization(
        &self,
        id: OrganizationId,
    ) -> Result<OffsetDateTime, ServiceError> {
        let service = self.clone();
        let suspended_at = self
            .store
            .with_tx("suspend_organization", move |connection| {
                let (service, id) = (service.clone(), id.clone());
                Box::pin(async move {
                    let now = service.clock.now();
                    suspensions::suspend(connection, &id, now)
                        .await?
                        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))
                })
            })
            .await?;
        tracing::warn!("an organization is suspended");
        Ok(suspended_at)
    }

    /// Lets an organization go on, and its mails go out; tells how many.
    pub async fn resume_organization(&self, id: OrganizationId) -> Result<u64, ServiceError> {
        let service = self.clone();
        let released = self
            .store
            .with_tx("resume_organization", move |connection| {
                let (service, id) = (service.clone(), id.clone());
                Box::pin(async move {
                    let was_suspended = suspensions::resume(connection, &id)
                        .await?
                        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
                    if !was_suspended {
                        return Ok::<_, ServiceError>(0);
                    }
                    Ok(suspensions::release(connection, &id, service.clock.now()).await?)
                })
            })
            .await?;
        self.mail_queued.notify_one();
        Ok(released)
    }
}

//! Suspending and resuming an organization.
//!
//! A suspended organization sends no invitation and no message, and nobody can accept. Its queued messages wait until it is
//! resumed. Revoking, declining and expiry continue.

use time::OffsetDateTime;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditCounts};
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::{Connection, organizations, suspensions};

use super::{ServiceError, UnitOfWork, UseCase};

/// Suspends an organization. Returns since when it is suspended.
pub struct SuspendOrganization {
    pub organization_id: OrganizationId,
    pub actor: Actor,
}

/// Resumes an organization. Returns how many messages may be sent again.
pub struct ResumeOrganization {
    pub organization_id: OrganizationId,
    pub actor: Actor,
}

impl UseCase for SuspendOrganization {
    const NAME: &'static str = "suspend_organization";
    type Output = OffsetDateTime;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<OffsetDateTime, ServiceError> {
        let (id, now) = (&self.organization_id, work.context.now());
        let suspended_at = suspensions::suspend(work, id, now).await?;
        let Some(suspended_at) = suspended_at else {
            return Err(refusal(work, id).await?);
        };
        // Only the first of several calls is recorded.
        if suspended_at == now {
            let (action, counts) = (AuditAction::SuspendOrganization, AuditCounts::default());
            work.record(&self.actor, action, id.as_str(), counts, now)
                .await?;
        }
        Ok(suspended_at)
    }
}

impl UseCase for ResumeOrganization {
    const NAME: &'static str = "resume_organization";
    type Output = u64;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<u64, ServiceError> {
        let (id, now) = (&self.organization_id, work.context.now());
        match suspensions::resume(work, id).await? {
            None => return Err(refusal(work, id).await?),
            Some(false) => return Ok(0),
            Some(true) => {}
        }
        let released = suspensions::release_mails(work, id, now).await?;
        let action = AuditAction::ResumeOrganization;
        let counts = AuditCounts {
            requeued: released,
            ..AuditCounts::default()
        };
        work.record(&self.actor, action, id.as_str(), counts, now)
            .await?;
        Ok(released)
    }
}

/// Why an organization can be neither suspended nor resumed.
async fn refusal(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
) -> Result<ServiceError, ServiceError> {
    let reason = match organizations::get(connection, id).await? {
        Some(_) => Reason::OrganizationDeleted,
        None => Reason::OrganizationNotFound,
    };
    Ok(ServiceError::Refused(reason))
}

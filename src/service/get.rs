//! `Get`: one invitation of an organization.

use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;

use super::ServiceError;
use super::runner::UseCase;
use super::unit_of_work::UnitOfWork;

/// Reads an invitation.
pub struct GetInvitation {
    pub organization_id: OrganizationId,
    pub id: Uuid,
}

impl UseCase for GetInvitation {
    const NAME: &'static str = "get";
    const IS_TRANSACTION: bool = false;
    type Output = Invitation;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Invitation, ServiceError> {
        work.context
            .read_invitation(work, self.organization_id.as_str(), self.id)
            .await
    }
}

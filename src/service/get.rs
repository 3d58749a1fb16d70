//! `Get`: one invitation of an organization.

use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;
use crate::store::Connection;

use super::ServiceError;
use super::context::Context;
use super::runner::UseCase;

/// Reads an invitation.
pub struct GetInvitation {
    pub organization_id: OrganizationId,
    pub id: Uuid,
}

impl UseCase for GetInvitation {
    const NAME: &'static str = "get";
    const IS_TRANSACTION: bool = false;
    type Output = Invitation;

    async fn run(
        &self,
        context: &Context,
        connection: &mut Connection<'_>,
    ) -> Result<Invitation, ServiceError> {
        context
            .read_invitation(connection, self.organization_id.as_str(), self.id)
            .await
    }
}

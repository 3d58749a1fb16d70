//! Get: one invitation of an organization.

use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;

use super::{Service, ServiceError};

impl Service {
    /// Returns one invitation.
    pub async fn get(
        &self,
        organization_id: OrganizationId,
        id: Uuid,
    ) -> Result<Invitation, ServiceError> {
        let service = self.clone();
        self.store
            .run("get", move |connection| {
                let (service, organization_id) = (service.clone(), organization_id.clone());
                Box::pin(
                    async move { service.read(connection, organization_id.as_str(), id).await },
                )
            })
            .await
    }
}

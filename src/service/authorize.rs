//! Whether a user may act for an organization: asked of the directory at each call, and kept nowhere.

use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::reason::Reason;
use crate::store::memberships;

use super::{Service, ServiceError};

impl Service {
    /// Refuses a user who is no admin member of an organization. Nothing tells an organization that they are no admin of
    /// from one that does not exist.
    pub async fn require_admin(
        &self,
        organization_id: &OrganizationId,
        user_id: &UserId,
    ) -> Result<(), ServiceError> {
        let subject = (organization_id.clone(), user_id.clone());
        self.store
            .run("authorize", move |connection| {
                let (organization_id, user_id) = subject.clone();
                Box::pin(async move {
                    if memberships::is_admin(connection, &organization_id, &user_id).await? {
                        Ok(())
                    } else {
                        Err(ServiceError::Refused(Reason::OrganizationDenied))
                    }
                })
            })
            .await
    }
}

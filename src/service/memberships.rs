//! Reading memberships: one, or an organization's in pages.

use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::membership::Membership;
use crate::domain::reason::Reason;
use crate::store::{memberships, organizations};

use super::{Service, ServiceError};

impl Service {
    /// Returns one membership.
    pub async fn get_membership(
        &self,
        organization_id: OrganizationId,
        user_id: UserId,
    ) -> Result<Membership, ServiceError> {
        self.store
            .run("get_membership", move |connection| {
                let (organization_id, user_id) = (organization_id.clone(), user_id.clone());
                Box::pin(async move {
                    memberships::get(connection, organization_id.as_str(), user_id.as_str())
                        .await?
                        .ok_or(ServiceError::Refused(Reason::MembershipNotFound))
                })
            })
            .await
    }

    /// Returns a page of memberships by user, those after `after` alone, and whether there is another page.
    pub async fn list_memberships(
        &self,
        organization_id: OrganizationId,
        after: String,
        page_size: usize,
    ) -> Result<(Vec<Membership>, bool), ServiceError> {
        self.store
            .run("list_memberships", move |connection| {
                let (organization_id, after) = (organization_id.clone(), after.clone());
                Box::pin(async move {
                    organizations::get(connection, &organization_id)
                        .await?
                        .filter(|stored| !stored.is_deleted)
                        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
                    let limit = i64::try_from(page_size + 1).unwrap_or(i64::MAX);
                    let mut page =
                        memberships::list(connection, &organization_id, &after, limit).await?;
                    let has_more = page.len() > page_size;
                    page.truncate(page_size);
                    Ok((page, has_more))
                })
            })
            .await
    }
}

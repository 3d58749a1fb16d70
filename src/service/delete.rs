//! Deleting organizations, users and memberships: whoever is gone leaves no open invitation behind.

use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::reason::Reason;
use crate::store::invitations::{self, End};
use crate::store::{Connection, memberships, organizations, users};

use super::{Service, ServiceError};

/// What a deletion took with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Pending invitations that were revoked.
    pub revoked_invitations: u64,
    /// Memberships that were deleted.
    pub memberships: u64,
    /// Verified addresses that were deleted.
    pub emails: u64,
}

impl Service {
    /// Deletes an organization, its memberships and its pending invitations.
    pub async fn delete_organization(&self, id: OrganizationId) -> Result<Deleted, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("delete_organization", move |connection| {
                let (service, id) = (service.clone(), id.clone());
                Box::pin(async move {
                    if !organizations::mark_deleted(connection, &id, service.clock.now()).await? {
                        return Err(ServiceError::Refused(Reason::OrganizationNotFound));
                    }
                    let organization_ids = [id.as_str().to_owned()];
                    Ok(Deleted {
                        revoked_invitations: service
                            .revoke_all(connection, &organization_ids, None)
                            .await?,
                        memberships: memberships::delete_of_organization(connection, &id).await?,
                        ..Deleted::default()
                    })
                })
            })
            .await
    }

    /// Deletes a user, their name, addresses and memberships, and the pending invitations they made. Invitations that others
    /// made for their addresses stay: who they are about is a matter of the address, not of the user.
    pub async fn delete_user(&self, id: UserId) -> Result<Deleted, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("delete_user", move |connection| {
                let (service, id) = (service.clone(), id.clone());
                Box::pin(async move {
                    let emails = users::delete(connection, &id)
                        .await?
                        .ok_or(ServiceError::Refused(Reason::UserNotFound))?;
                    // Inviting takes a membership, and losing one revokes: these are all there can be.
                    let organization_ids = memberships::delete_of_user(connection, &id).await?;
                    Ok(Deleted {
                        revoked_invitations: service
                            .revoke_all(connection, &organization_ids, Some(&id))
                            .await?,
                        memberships: u64::try_from(organization_ids.len()).unwrap_or(u64::MAX),
                        emails,
                    })
                })
            })
            .await
    }

    /// Deletes a membership, and the pending invitations its user made in the organization.
    pub async fn delete_membership(
        &self,
        organization_id: OrganizationId,
        user_id: UserId,
    ) -> Result<Deleted, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("delete_membership", move |connection| {
                let (service, organization_id, user_id) =
                    (service.clone(), organization_id.clone(), user_id.clone());
                Box::pin(async move {
                    if !memberships::delete(connection, &organization_id, &user_id).await? {
                        return Err(ServiceError::Refused(Reason::MembershipNotFound));
                    }
                    let organization_ids = [organization_id.as_str().to_owned()];
                    Ok(Deleted {
                        revoked_invitations: service
                            .revoke_all(connection, &organization_ids, Some(&user_id))
                            .await?,
                        memberships: 1,
                        ..Deleted::default()
                    })
                })
            })
            .await
    }

    async fn revoke_all(
        &self,
        connection: &mut Connection,
        organization_ids: &[String],
        inviter: Option<&UserId>,
    ) -> Result<u64, ServiceError> {
        let targets =
            invitations::pending_of(connection, organization_ids, inviter.map(UserId::as_str))
                .await?;
        let end = End::Revoked { by_user_id: None };
        let ended = invitations::end_many(connection, &targets, end, self.clock.now()).await?;
        Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX))
    }
}

//! Reading memberships.

use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::membership::Membership;
use crate::domain::reason::Reason;
use crate::store::memberships;

use super::{ResultPage, ServiceError, UnitOfWork, UseCase};

pub struct GetMembership {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
}

/// Reads a page of the memberships of an organization, ordered by user. The page ends early if their metadata are large.
pub struct ListMemberships {
    pub organization_id: OrganizationId,
    /// The last user of the page before; empty for the first page.
    pub after: String,
    pub page_size: usize,
}

/// Refuses a user who is not a member of an organization with a role that can invite, in the same way for an organization
/// that does not exist.
pub struct RequireInvitingMember {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
}

impl UseCase for GetMembership {
    const NAME: &'static str = "get_membership";
    const IS_TRANSACTION: bool = false;
    type Output = Membership;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Membership, ServiceError> {
        let (organization_id, user_id) = (self.organization_id.as_str(), self.user_id.as_str());
        memberships::get(work, organization_id, user_id)
            .await?
            .ok_or(ServiceError::Refused(Reason::MembershipNotFound))
    }
}

impl UseCase for ListMemberships {
    const NAME: &'static str = "list_memberships";
    const IS_TRANSACTION: bool = false;
    type Output = ResultPage<Membership>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let id = &self.organization_id;
        work.require_organization(id).await?;
        let limit = ResultPage::<Membership>::rows_max(self.page_size);
        let rows = memberships::list(work, id, &self.after, limit).await?;
        let page = ResultPage::new(rows, self.page_size).ending_before(|row| row.is_beyond_bytes);
        Ok(ResultPage {
            items: page.items.into_iter().map(|row| row.membership).collect(),
            has_more: page.has_more,
        })
    }
}

impl UseCase for RequireInvitingMember {
    const NAME: &'static str = "authorize";
    const IS_TRANSACTION: bool = false;
    type Output = ();

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<(), ServiceError> {
        if memberships::can_invite(work, &self.organization_id, &self.user_id).await? {
            Ok(())
        } else {
            Err(ServiceError::Refused(Reason::OrganizationDenied))
        }
    }
}

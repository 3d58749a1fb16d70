//! Reading organizations.

use crate::domain::actor::Access;
use crate::domain::ids::OrganizationId;
use crate::domain::organization_record::OrganizationRecord;
use crate::domain::reason::Reason;
use crate::store::{organizations, planner};

use super::{ResultPage, ServiceError, UnitOfWork, UseCase};

/// Reads an organization, even if it is suspended or deleted.
pub struct GetOrganization {
    pub organization_id: OrganizationId,
}

/// Reads a page of the organizations that a caller may act for, ordered by id. The page ends early if they are large.
pub struct ListOrganizations {
    pub access: Access,
    pub show_deleted: bool,
    /// The last organization of the page before; empty for the first page.
    pub after: String,
    pub page_size: usize,
}

impl UseCase for GetOrganization {
    const NAME: &'static str = "get_organization";
    const IS_TRANSACTION: bool = false;
    type Output = OrganizationRecord;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<OrganizationRecord, ServiceError> {
        organizations::get(work, &self.organization_id)
            .await?
            .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))
    }
}

impl UseCase for ListOrganizations {
    const NAME: &'static str = "list_organizations";
    type Output = ResultPage<OrganizationRecord>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        // One plan for all callers would read every organization to find those of one caller.
        planner::force_custom_plans(work).await?;
        let only: Option<Vec<String>> = match &self.access {
            Access::Every => None,
            Access::Only(ids) => Some(ids.iter().cloned().collect()),
        };
        let limit = ResultPage::<String>::rows_max(self.page_size);
        let (only, after) = (only.as_deref(), &self.after);
        let ids = organizations::list_ids(work, only, self.show_deleted, after, limit).await?;
        let page =
            ResultPage::new(ids, self.page_size).ending_before(|listed| listed.is_beyond_bytes);
        let ids: Vec<String> = page.items.into_iter().map(|listed| listed.id).collect();
        // The rows of organizations stay, so this statement finds every one of them.
        let items = organizations::get_many(work, &ids).await?;
        Ok(ResultPage {
            items,
            has_more: page.has_more,
        })
    }
}

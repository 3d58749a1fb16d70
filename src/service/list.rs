//! `List`: the invitations of an organization in pages, newest first.

use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;
use crate::domain::invitation_filter::InvitationFilter;
use crate::domain::reason::Reason;
use crate::store::listings::{self, ListQuery};
use crate::store::{self, Connection, organizations, stored_invitations};

use super::ServiceError;
use super::context::Context;
use super::result_page::ResultPage;
use super::runner::UseCase;
use super::unit_of_work::UnitOfWork;

/// Reads a page.
pub struct ListInvitations {
    pub organization_id: OrganizationId,
    pub filter: InvitationFilter,
    /// The last id of the page before.
    pub before: Option<Uuid>,
    pub page_size: usize,
}

impl UseCase for ListInvitations {
    const NAME: &'static str = "list";
    const IS_TRANSACTION: bool = false;
    type Output = ResultPage<Invitation>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let (id, filter) = (&self.organization_id, &self.filter);
        let limit = ResultPage::<Uuid>::rows_max(self.page_size);
        let context = work.context;
        let ids = store::planner::read_in_index_order(work, async |connection| {
            list_ids(context, connection, id, filter, self.before, limit).await
        })
        .await?;
        let page = ResultPage::new(ids, self.page_size);
        // The rows of invitations tell whether the organization exists. An empty page needs a statement for that.
        let items = if page.items.is_empty() {
            let stored = organizations::get(work, id).await?;
            stored
                .filter(|stored| !stored.is_deleted)
                .map(|_| Vec::new())
        } else {
            let now = context.now();
            stored_invitations::get_page(work, id.as_str(), &page.items, now).await?
        };
        Ok(ResultPage {
            items: items.ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?,
            has_more: page.has_more,
        })
    }
}

/// The ids of a page. A filter by address also finds erased invitations, by the tag of the address, as long as the key of
/// the tag is loaded.
pub(super) async fn list_ids(
    context: &Context,
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    filter: &InvitationFilter,
    before: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Uuid>, ServiceError> {
    let mut address_ids = None;
    if let Some(email) = &filter.email_normalized {
        let tagger = context.suppression.tagger();
        let tags: Vec<_> = tagger.tags_of_normalized(email).collect();
        let ids = listings::ids_of_address(connection, organization_id, email, &tags);
        address_ids = Some(ids.await?);
    }
    let page = ListQuery {
        organization_id,
        filter,
        address_ids: address_ids.as_deref(),
        before,
        limit,
        now: context.now(),
    };
    Ok(listings::list_ids(connection, page).await?)
}

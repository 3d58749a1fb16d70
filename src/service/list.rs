//! Lists in pages, newest first: invitations and the audit log.
//!
//! Use cases write an audit event in the transaction of what it records, one for each call. A dry run, a repetition and a
//! call that was rolled back write none. Expiry and reports of mail servers are not recorded: no caller caused them.

use uuid::Uuid;

use crate::domain::audit::{AuditFilter, AuditRecord};
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::{Invitation, InvitationFilter, InvitationView};
use crate::domain::reason::Reason;
use crate::store::listings::{self, ListQuery};
use crate::store::{Connection, audit_events, organizations, planner, stored_invitations};

use super::{Context, ServiceError, UnitOfWork, UseCase};

pub struct ResultPage<T> {
    pub items: Vec<T>,
    pub has_more: bool,
}

impl<T> ResultPage<T> {
    /// A page that ends before the first row that is too many.
    pub(super) fn ending_before(self, mut is_beyond: impl FnMut(&T) -> bool) -> Self {
        let row_count = self.items.len();
        let items = self.items.into_iter();
        let items: Vec<T> = items.take_while(|row| !is_beyond(row)).collect();
        Self {
            has_more: self.has_more || items.len() < row_count,
            items,
        }
    }

    /// How many rows to read for a page: one more than its size tells whether there are more.
    pub(super) fn rows_max(page_size: usize) -> i64 {
        i64::try_from(page_size + 1).unwrap_or(i64::MAX)
    }

    pub(super) fn new(mut rows: Vec<T>, page_size: usize) -> Self {
        let has_more = rows.len() > page_size;
        rows.truncate(page_size);
        Self {
            items: rows,
            has_more,
        }
    }
}

/// Reads a page of the invitations of an organization. The page ends early if its invitations are large.
pub struct ListInvitations {
    pub organization_id: OrganizationId,
    pub filter: InvitationFilter,
    /// The last id of the page before.
    pub before: Option<Uuid>,
    pub page_size: usize,
    pub view: InvitationView,
}

impl UseCase for ListInvitations {
    const NAME: &'static str = "list";
    const IS_TRANSACTION: bool = false;
    type Output = ResultPage<Invitation>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        let (id, filter) = (&self.organization_id, &self.filter);
        let limit = ResultPage::<Uuid>::rows_max(self.page_size);
        let context = work.context;
        let ids = planner::read_in_index_order(work, async |connection| {
            let address_ids = address_ids(context, connection, id, filter).await?;
            let query = ListQuery {
                organization_id: id,
                filter,
                address_ids: address_ids.as_deref(),
                before: self.before,
                limit,
                now: context.now(),
            };
            Ok::<_, ServiceError>(listings::list_ids(connection, query).await?)
        })
        .await?;
        let page = ResultPage::new(ids, self.page_size);
        // The rows of invitations tell whether the organization exists. An empty page needs a statement for that.
        let items = if page.items.is_empty() {
            work.require_organization(id).await?;
            Some(Vec::new())
        } else {
            let (view, now) = (self.view, context.now());
            stored_invitations::get_page(work, id.as_str(), &page.items, view, now).await?
        };
        let page = ResultPage {
            items: items.ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?,
            has_more: page.has_more,
        };
        Ok(page.ending_before(|invitation| !invitation.omitted_fields.is_empty()))
    }
}

/// Reads a page of the audit log.
pub struct ListAuditEvents {
    /// `None` for all organizations and for events of none. The events of a deleted organization stay readable.
    pub organization_id: Option<OrganizationId>,
    pub filter: AuditFilter,
    /// The last id of the page before.
    pub before: Option<Uuid>,
    pub page_size: usize,
}

impl UseCase for ListAuditEvents {
    const NAME: &'static str = "list_audit";
    type Output = ResultPage<AuditRecord>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Self::Output, ServiceError> {
        // One plan for all combinations of filters would read the whole log for each page.
        planner::force_custom_plans(work).await?;
        let mut filter = self.filter.clone();
        if let Some(id) = &self.organization_id {
            organizations::get(work, id)
                .await?
                .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
            filter.organization_id = Some(id.as_str().to_owned());
        }
        let limit = ResultPage::<AuditRecord>::rows_max(self.page_size);
        let rows = audit_events::list(work, &filter, self.before, limit).await?;
        Ok(ResultPage::new(rows, self.page_size))
    }
}

/// The ids of the invitations for the address of a filter, or `None` if the filter has no address. Includes erased
/// invitations, which are found by the tag of the address, as long as the key of the tag is loaded.
pub(super) async fn address_ids(
    context: &Context,
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    filter: &InvitationFilter,
) -> Result<Option<Vec<Uuid>>, ServiceError> {
    let Some(email) = &filter.email_normalized else {
        return Ok(None);
    };
    let tagger = context.suppression.tagger();
    let tags: Vec<_> = tagger.tags_of_normalized(email).collect();
    let ids = listings::ids_of_address(connection, organization_id, email, &tags).await?;
    Ok(Some(ids))
}

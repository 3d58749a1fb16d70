//! List: the invitations of an organization in pages, newest first.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;
use crate::domain::reason::Reason;
use crate::store::listings::{self, ListFilter, Page};
use crate::store::{self, Connection, invitation_row, organizations};

use super::{Service, ServiceError};

/// A page to read.
pub struct List {
    /// The organization.
    pub organization_id: OrganizationId,
    /// What it is narrowed to.
    pub filter: ListFilter,
    /// The last id of the page before.
    pub before: Option<Uuid>,
    /// At most so many.
    pub page_size: usize,
}

impl Service {
    /// Returns a page, and whether there is another one.
    pub async fn list(&self, request: List) -> Result<(Vec<Invitation>, bool), ServiceError> {
        let service = self.clone();
        let request = Arc::new(request);
        self.store
            .run("list", move |connection| {
                let (service, request) = (service.clone(), Arc::clone(&request));
                Box::pin(async move { service.list_once(connection, &request).await })
            })
            .await
    }

    async fn list_once(
        &self,
        connection: &mut Connection<'_>,
        request: &List,
    ) -> Result<(Vec<Invitation>, bool), ServiceError> {
        let (organization_id, filter) = (&request.organization_id, &request.filter);
        // One more than asked for tells whether there is another page.
        let limit = i64::try_from(request.page_size + 1).unwrap_or(i64::MAX);
        // One plan for every combination of filters would read the whole organization for each page.
        let mut ids = store::find_pages(connection, async |connection| {
            self.list_ids(connection, organization_id, filter, request.before, limit)
                .await
        })
        .await?;
        let has_more = ids.len() > request.page_size;
        ids.truncate(request.page_size);
        // Each invitation says whether its organization is there; that is asked for itself where there is none.
        let page = if ids.is_empty() {
            let stored = organizations::get(connection, organization_id).await?;
            stored
                .filter(|stored| !stored.is_deleted)
                .map(|_| Vec::new())
        } else {
            let now = self.clock.now();
            invitation_row::get_page(connection, organization_id.as_str(), &ids, now).await?
        };
        let page = page.ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
        Ok((page, has_more))
    }

    /// The ids of a page. An address finds what was erased too, by its tag, while the key of that is in the ring.
    pub(super) async fn list_ids(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
        filter: &ListFilter,
        before: Option<Uuid>,
        limit: i64,
    ) -> Result<Vec<Uuid>, ServiceError> {
        let mut among = None;
        if let Some(email) = &filter.email_normalized {
            let tags: Vec<_> = self.tagger.tags_of_normalized(email).collect();
            let ids = listings::ids_of_address(connection, organization_id, email, &tags);
            among = Some(ids.await?);
        }
        let now = self.clock.now();
        let page = Page {
            organization_id,
            filter,
            among: among.as_deref(),
            before,
            limit,
            now,
        };
        Ok(listings::list_ids(connection, page).await?)
    }
}

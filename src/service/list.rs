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
            .with_tx("list", move |connection| {
                let (service, request) = (service.clone(), Arc::clone(&request));
                Box::pin(async move {
                    // One plan for every combination of filters would read the whole organization for each page.
                    store::plan_pages(connection).await?;
                    organizations::get(connection, &request.organization_id)
                        .await?
                        .filter(|stored| !stored.is_deleted)
                        .ok_or(ServiceError::Refused(Reason::OrganizationNotFound))?;
                    // One more than asked for tells whether there is another page.
                    let limit = i64::try_from(request.page_size + 1).unwrap_or(i64::MAX);
                    let mut ids = service
                        .list_ids(
                            connection,
                            &request.organization_id,
                            &request.filter,
                            request.before,
                            limit,
                        )
                        .await?;
                    let has_more = ids.len() > request.page_size;
                    ids.truncate(request.page_size);
                    store::plan_as_usual(connection).await?;
                    let page = invitation_row::get_many(
                        connection,
                        request.organization_id.as_str(),
                        &ids,
                        service.clock.now(),
                    )
                    .await?;
                    Ok((page, has_more))
                })
            })
            .await
    }
    /// The ids of a page. An address finds what was erased too, by its tag, while the key of that is in the ring.
    pub(super) async fn list_ids(
        &self,
        connection: &mut Connection,
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

//! Which invitations a bulk call is about: a list of ids, or a page of those that match a filter.

use std::collections::HashMap;

use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::domain::invitation::InvitationFilter;
use crate::domain::reason::Reason;
use crate::store::candidates::{self, Candidate};
use crate::store::listings::{self, ListQuery};
use crate::store::{Connection, dead_letters};

use super::list::address_ids;
use super::{ResultPage, ServiceError, UnitOfWork};

/// Which invitations. Not `Debug`, because a filter may hold an address.
pub enum InvitationSelection {
    /// These. `None` stands for an id that is no UUID.
    Ids(Vec<Option<Uuid>>),
    /// Those that a filter finds, newest first.
    Filter {
        filter: InvitationFilter,
        /// The last id of the page before.
        before: Option<Uuid>,
        page_size: usize,
    },
}

/// Which invitations a filter looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FilterScope {
    /// All invitations of the organization.
    Invitations,
    /// Those whose latest email is a dead letter that can be queued again.
    DeadLetters,
}

pub(super) struct SelectedInvitations {
    pub(super) ids: Vec<Option<Uuid>>,
    /// The ids that the filter found. Empty for a list of ids.
    pub(super) found: Vec<Uuid>,
    /// Whether the filter finds more.
    pub(super) has_more: bool,
}

/// The result of each invitation of a selection.
pub struct SelectionResults<T> {
    /// The ids that a filter found. Empty for a list of ids.
    pub found: Vec<Uuid>,
    /// In the order of the ids.
    pub results: Vec<T>,
    /// Whether the filter finds more.
    pub has_more: bool,
}

/// Why one invitation of a bulk call is left as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefusedInvitation {
    pub reason: Reason,
    /// The index of the first item with the same id, for a duplicate.
    pub first_index: Option<usize>,
}

impl From<Reason> for RefusedInvitation {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            first_index: None,
        }
    }
}

impl InvitationSelection {
    pub const fn size_max(&self) -> usize {
        match self {
            Self::Ids(ids) => ids.len(),
            Self::Filter { page_size, .. } => *page_size,
        }
    }

    pub(super) async fn select(
        &self,
        work: &mut UnitOfWork<'_>,
        organization_id: &OrganizationId,
        scope: FilterScope,
    ) -> Result<SelectedInvitations, ServiceError> {
        match self {
            Self::Ids(ids) => Ok(SelectedInvitations {
                ids: ids.clone(),
                found: Vec::new(),
                has_more: false,
            }),
            Self::Filter {
                filter,
                before,
                page_size,
            } => {
                let context = work.context;
                let address_ids = address_ids(context, work, organization_id, filter).await?;
                let query = ListQuery {
                    organization_id,
                    filter,
                    address_ids: address_ids.as_deref(),
                    before: *before,
                    limit: ResultPage::<Uuid>::rows_max(*page_size),
                    now: context.now(),
                };
                let ids = match scope {
                    FilterScope::Invitations => listings::list_ids(work, query).await?,
                    FilterScope::DeadLetters => dead_letters::list(work, query).await?,
                };
                let page = ResultPage::new(ids, *page_size);
                Ok(SelectedInvitations {
                    ids: page.items.iter().copied().map(Some).collect(),
                    found: page.items,
                    has_more: page.has_more,
                })
            }
        }
    }
}

impl SelectedInvitations {
    pub(super) fn with<T>(self, results: Vec<T>) -> SelectionResults<T> {
        SelectionResults {
            found: self.found,
            results,
            has_more: self.has_more,
        }
    }

    /// Locks the invitations, so that their states stay as they are.
    pub(super) async fn lock(
        &self,
        connection: &mut Connection<'_>,
        organization_id: &OrganizationId,
    ) -> Result<HashMap<Uuid, Candidate>, ServiceError> {
        let ids: Vec<Uuid> = self.ids.iter().copied().flatten().collect();
        let locked = candidates::lock_many(connection, organization_id, &ids).await?;
        Ok(locked
            .into_iter()
            .map(|candidate| (candidate.id, candidate))
            .collect())
    }

    /// Each selected id with its invitation, or why it has none.
    pub(super) fn resolve<'a>(
        &self,
        candidates: &'a HashMap<Uuid, Candidate>,
    ) -> Vec<Result<&'a Candidate, RefusedInvitation>> {
        let mut first_of = HashMap::with_capacity(self.ids.len());
        self.ids
            .iter()
            .enumerate()
            .map(|(index, id)| {
                let id = id.ok_or(Reason::FieldInvalid)?;
                let first = *first_of.entry(id).or_insert(index);
                if first != index {
                    return Err(RefusedInvitation {
                        reason: Reason::DuplicateInRequest,
                        first_index: Some(first),
                    });
                }
                Ok(candidates.get(&id).ok_or(Reason::InvitationNotFound)?)
            })
            .collect()
    }
}

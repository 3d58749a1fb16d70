//! What the database knows about the addresses of a batch.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join;

use crate::domain::new_invitation::{Inviter, ItemDraft, NewInvitation};
use crate::domain::reason::Violation;
use crate::domain::suppression::SuppressionReason;
use crate::service::quotas::OrganizationLock;
use crate::service::suppression_list::find_tagged;
use crate::service::{ServiceError, UnitOfWork};
use crate::store::invitations::{self, PendingInvitation};
use crate::store::users::{self, AddressOwner};

use super::batch_terms::{BatchTerms, OnExisting};

/// An item after its fields and its inviter were checked.
pub(super) struct CheckedItem {
    /// The normalized address, if it is valid.
    pub(super) email: Option<String>,
    pub(super) is_mailed: bool,
    pub(super) item: Result<Arc<NewInvitation>, Vec<Violation>>,
}

impl CheckedItem {
    pub(super) fn new(draft: ItemDraft<'_>, inviters: &HashMap<String, Inviter>) -> Self {
        Self {
            email: draft.email().map(|email| email.normalized().to_owned()),
            is_mailed: draft.is_mailed(),
            item: draft.finish(inviters).map(Arc::new),
        }
    }
}

/// The users, suppressions and pending invitations of addresses.
pub(super) struct KnownAddresses {
    pub(super) owners: HashMap<String, AddressOwner>,
    pub(super) suppressed: HashMap<String, SuppressionReason>,
    pub(super) pending: HashMap<String, PendingInvitation>,
}

impl KnownAddresses {
    /// Reads with one statement each whose the addresses are, which are suppressed and which have a pending invitation.
    pub(super) async fn read(
        work: &mut UnitOfWork<'_>,
        terms: &BatchTerms,
        items: &[CheckedItem],
    ) -> Result<Self, ServiceError> {
        let organization_id = &terms.organization_id;
        let emails = distinct(items.iter().filter_map(|item| item.email.as_deref()));
        let context = work.context;
        let owners = users::address_owners(work, organization_id, &emails);
        // The tags are computed while the database works.
        let tags = async { context.suppression.tag(&emails) };
        let (owners, tagged) = join(owners, tags).await;
        let owners = owners?;
        let suppressed = find_tagged(work, organization_id, &tagged, context.now()).await?;
        let emails = if needs_pending(terms, work.lock) {
            emails
        } else {
            // An item that fails for another reason also says whether its address is invited already.
            let is_refused = |item: &&CheckedItem| {
                let is_suppressed = |email: &String| suppressed.contains_key(email);
                item.item.is_err() || item.email.as_ref().is_some_and(is_suppressed)
            };
            let refused = items.iter().filter(is_refused);
            distinct(refused.filter_map(|item| item.email.as_deref()))
        };
        let pending = if emails.is_empty() {
            HashMap::new()
        } else {
            invitations::pending_by_address(work, organization_id, &emails).await?
        };
        Ok(Self {
            owners,
            suppressed,
            pending,
        })
    }
}

/// Whether pending invitations have to be known before anything is written. Otherwise the insert finds them, and most
/// addresses have none.
fn needs_pending(terms: &BatchTerms, lock: OrganizationLock) -> bool {
    let changes_pending = matches!(terms.on_existing, OnExisting::Resend | OnExisting::Replace);
    changes_pending || terms.validate_only || terms.atomic || lock.is_exclusive()
}

/// The values in ascending order, each once.
pub(super) fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut values: Vec<&str> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

//! What the database knows about the addresses of a batch.

use std::collections::HashMap;

use futures::future::join;

use crate::domain::suppression::SuppressionReason;
use crate::service::ServiceError;
use crate::service::organization_lock::OrganizationLock;
use crate::service::suppression_list::find_tagged;
use crate::service::unit_of_work::UnitOfWork;
use crate::store::invitations::{self, PendingInvitation};
use crate::store::users::{self, AddressOwner};

use super::batch_request::{BatchRequest, OnExisting};
use super::checked_item::CheckedItem;

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
        request: &BatchRequest<'_>,
        items: &[CheckedItem],
        lock: OrganizationLock,
    ) -> Result<Self, ServiceError> {
        let organization_id = request.organization_id;
        let emails = distinct(items.iter().filter_map(|item| item.email.as_deref()));
        let context = work.context;
        let owners = users::address_owners(work, organization_id, &emails);
        // The tags are computed while the database works.
        let tags = async { context.suppression.tag(&emails) };
        let (owners, tagged) = join(owners, tags).await;
        let owners = owners?;
        let suppressed = find_tagged(work, organization_id, &tagged, context.now()).await?;
        let emails = if needs_pending(request, lock) {
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
fn needs_pending(request: &BatchRequest<'_>, lock: OrganizationLock) -> bool {
    let changes_pending = matches!(
        request.on_existing,
        OnExisting::Resend | OnExisting::Replace
    );
    changes_pending || request.validate_only || request.atomic || lock.is_exclusive()
}

/// The values in ascending order, each once.
pub(super) fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut values: Vec<&str> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

//! What to do for each item: decided in memory, from the request and from what the database knows.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::invitation::InvitationView;
use crate::domain::new_invitation::{Inviter, ItemDraft, ItemInput, NewInvitation};
use crate::domain::organization::Organization;
use crate::domain::quota::ExceededQuota;
use crate::domain::reason::{Reason, Violation};
use crate::service::{ServiceError, UnitOfWork};
use crate::store::invitations::PendingInvitation;
use crate::store::memberships;

use super::batch_terms::{BatchTerms, OnExisting};
use super::lookup::{CheckedItem, KnownAddresses, distinct};

pub(super) struct Plan {
    pub(super) organization: Organization,
    pub(super) now: OffsetDateTime,
    /// What the results hold of new invitations.
    pub(super) view: InvitationView,
    pub(super) steps: Vec<CreateStep>,
    /// The inviters that the directory knows, by user id.
    pub(super) inviters: HashMap<String, Inviter>,
    /// The user ids of addresses that belong to known users.
    pub(super) owners: HashMap<String, String>,
    /// Invitations of these addresses that expired and are still stored as pending.
    pub(super) expired: Vec<Uuid>,
}

pub(super) enum CreateStep {
    Create(Arc<NewInvitation>),
    Replace(Arc<NewInvitation>, Uuid),
    Resend {
        item: Arc<NewInvitation>,
        id: Uuid,
        /// The number of its latest message, if the number of messages is limited.
        send_seq: Option<i32>,
    },
    Return(Uuid),
    Fail {
        violations: Vec<Violation>,
        first_index: Option<usize>,
        /// The pending invitation, if it is why the item fails.
        pending_id: Option<Uuid>,
        exceeded: Option<ExceededQuota>,
    },
}

impl Plan {
    pub(super) async fn new(
        work: &mut UnitOfWork<'_>,
        terms: &BatchTerms,
        items: &[ItemInput],
        organization: Organization,
    ) -> Result<Self, ServiceError> {
        let now = work.context.now();
        let drafts: Vec<ItemDraft<'_>> = items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                ItemDraft::parse(index, item, &organization, &terms.inviter_user_id, now)
            })
            .collect();
        let inviter_ids = distinct(
            drafts
                .iter()
                .filter_map(|draft| Some(draft.inviter_user_id()?.as_str())),
        );
        let inviters =
            memberships::lock_inviters(work, &terms.organization_id, &inviter_ids).await?;
        let items: Vec<CheckedItem> = drafts
            .into_iter()
            .map(|draft| CheckedItem::new(draft, &inviters))
            .collect();
        let mut known = KnownAddresses::read(work, terms, &items).await?;
        let is_expired = |pending: &PendingInvitation| pending.expires_at <= now;
        let expired = known.pending.values().copied().filter(is_expired);
        let expired = expired.map(|pending| pending.id).collect();
        known.pending.retain(|_, pending| !is_expired(pending));
        Ok(Self {
            organization,
            now,
            view: terms.view_read(),
            steps: steps(items, &known, terms.on_existing),
            inviters,
            owners: known
                .owners
                .into_iter()
                .map(|(email, owner)| (email, owner.user_id))
                .collect(),
            expired,
        })
    }

    /// For an atomic call, every violation of every failing item. Quotas are named only if nothing else is wrong.
    pub(super) fn require_success(&self) -> Result<(), ServiceError> {
        let violations: Vec<Violation> = self
            .steps
            .iter()
            .enumerate()
            .flat_map(|(index, step)| {
                let violations = match step {
                    CreateStep::Fail { violations, .. } => violations.as_slice(),
                    _ => &[],
                };
                violations
                    .iter()
                    .map(move |violation| at_item(index, violation))
            })
            .collect();
        if violations.is_empty() {
            return Ok(());
        }
        let is_quota = |violation: &Violation| violation.reason == Reason::QuotaExceeded;
        Err(if violations.iter().all(is_quota) {
            ServiceError::Exhausted(self.exceeded_quotas())
        } else {
            ServiceError::ItemsFailed(violations)
        })
    }

    fn exceeded_quotas(&self) -> Vec<ExceededQuota> {
        let mut quotas: Vec<ExceededQuota> = Vec::new();
        for step in &self.steps {
            let CreateStep::Fail {
                exceeded: Some(exceeded),
                ..
            } = step
            else {
                continue;
            };
            match quotas
                .iter_mut()
                .find(|known| known.quota == exceeded.quota)
            {
                Some(known) => known.retry_after = known.retry_after.max(exceeded.retry_after),
                None => quotas.push(*exceeded),
            }
        }
        quotas
    }
}

impl CheckedItem {
    fn decide(
        self,
        known: &KnownAddresses,
        first_index: Option<usize>,
        on_existing: OnExisting,
    ) -> CreateStep {
        let email = self.email.as_deref().unwrap_or_default();
        let pending_id = known.pending.get(email).map(|pending| pending.id);
        let conflict = self.conflict(known, first_index, on_existing);
        let item = match (self.item, conflict) {
            (Ok(item), None) => item,
            (item, conflict) => {
                // What is wrong with the item itself comes first. It stays wrong whatever changes around it.
                let mut violations = item.err().unwrap_or_default();
                violations.extend(conflict.map(|reason| Violation::new("email", reason)));
                let is_invited = conflict == Some(Reason::AlreadyInvited);
                return CreateStep::Fail {
                    violations,
                    first_index,
                    pending_id: pending_id.filter(|_| is_invited),
                    exceeded: None,
                };
            }
        };
        match (pending_id, on_existing) {
            (None, _) => CreateStep::Create(item),
            (Some(id), OnExisting::Return | OnExisting::Fail) => CreateStep::Return(id),
            (Some(id), OnExisting::Resend) => CreateStep::Resend {
                item,
                id,
                send_seq: None,
            },
            (Some(id), OnExisting::Replace) => CreateStep::Replace(item, id),
        }
    }

    fn conflict(
        &self,
        known: &KnownAddresses,
        first_index: Option<usize>,
        on_existing: OnExisting,
    ) -> Option<Reason> {
        if first_index.is_some() {
            return Some(Reason::DuplicateInRequest);
        }
        let email = self.email.as_deref().unwrap_or_default();
        if known.owners.get(email).is_some_and(|owner| owner.is_member) {
            return Some(Reason::AlreadyMember);
        }
        let is_pending = known.pending.contains_key(email);
        match on_existing {
            OnExisting::Fail if is_pending => return Some(Reason::AlreadyInvited),
            OnExisting::Return if is_pending => return None,
            _ => {}
        }
        // Suppression comes last, so that callers learn about it only if it is what forbids the invitation: mail of another
        // organization may have caused it.
        let is_mailed = self.is_mailed || (is_pending && on_existing == OnExisting::Resend);
        known
            .suppressed
            .get(email)
            .filter(|reason| reason.stops(is_mailed))
            .map(|_| Reason::EmailSuppressed)
    }
}

pub(super) fn at_item(index: usize, violation: &Violation) -> Violation {
    Violation::new(
        format!("invitations[{index}].{}", violation.field),
        violation.reason,
    )
}

fn steps(
    items: Vec<CheckedItem>,
    known: &KnownAddresses,
    on_existing: OnExisting,
) -> Vec<CreateStep> {
    let first_indexes = first_indexes(&items);
    items
        .into_iter()
        .zip(first_indexes)
        .map(|(item, first_index)| item.decide(known, first_index, on_existing))
        .collect()
}

/// For each item that repeats the address of an earlier one, the index of the first.
fn first_indexes(items: &[CheckedItem]) -> Vec<Option<usize>> {
    let mut first_of: HashMap<&str, usize> = HashMap::with_capacity(items.len());
    items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let first = *first_of.entry(item.email.as_deref()?).or_insert(index);
            (first != index).then_some(first)
        })
        .collect()
}

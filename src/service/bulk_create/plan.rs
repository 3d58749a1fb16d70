//! What has to be done for each item: decided in memory, from what the request says and the database knows.

use std::collections::HashMap;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::new_invitation::{Draft, Inviter, NewInvitation};
use crate::domain::organization::Organization;
use crate::domain::quota::Exceeded;
use crate::domain::reason::{Reason, Violation};
use crate::domain::suppression::SuppressionReason;
use crate::store::invitations::{self, KnownAddress};
use crate::store::{Connection, memberships};

use super::{BulkCreate, OnExisting};
use crate::service::{Service, ServiceError};

/// What to do for one item.
pub(super) enum Step {
    /// Make an invitation.
    Create(NewInvitation),
    /// Revoke the pending one and make another.
    Replace(NewInvitation, Uuid),
    /// Send the pending one again.
    Resend {
        item: NewInvitation,
        id: Uuid,
        /// The number of its latest mail, where it counts how many there were.
        send_seq: Option<i32>,
    },
    /// Return the pending one.
    Return(Uuid),
    /// Nothing, and say why.
    Fail {
        violations: Vec<Violation>,
        first_index: Option<usize>,
        pending_id: Option<Uuid>,
        /// The quota that has no room for it, if that is why.
        exceeded: Option<Exceeded>,
    },
}

/// What to do for a whole request.
pub(super) struct Plan {
    /// The organization.
    pub(super) organization: Organization,
    /// When it was made.
    pub(super) now: OffsetDateTime,
    /// One step for each item.
    pub(super) steps: Vec<Step>,
    /// What the directory knows of the inviters.
    pub(super) inviters: HashMap<String, Inviter>,
    /// Which addresses belong to known users.
    pub(super) owners: HashMap<String, String>,
    /// Invitations of invited addresses whose time ran out and nobody has written that down yet.
    pub(super) stale: Vec<Uuid>,
}

impl Service {
    /// Checks every item and decides. Asks the database once about all inviters, once about all addresses and
    /// once about all that are suppressed.
    pub(super) async fn plan(
        &self,
        connection: &mut Connection,
        request: &BulkCreate,
        organization: &Organization,
    ) -> Result<Plan, ServiceError> {
        let now = self.clock.now();
        let drafts: Vec<Draft> = request
            .items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                Draft::parse(
                    index,
                    item.clone(),
                    organization,
                    &request.inviter_user_id,
                    now,
                )
            })
            .collect();
        let inviter_ids = distinct(
            drafts
                .iter()
                .filter_map(|draft| Some(draft.inviter_user_id()?.as_str())),
        );
        let inviters =
            memberships::inviters(connection, &request.organization_id, &inviter_ids).await?;
        let emails = distinct(
            drafts
                .iter()
                .filter_map(|draft| Some(draft.email()?.normalized())),
        );
        let known =
            invitations::known_addresses(connection, &request.organization_id, &emails).await?;
        let suppressed = self
            .suppressed(connection, &request.organization_id, &emails)
            .await?;

        let stale = known
            .iter()
            .filter(|address| {
                address
                    .pending_expires_at
                    .is_some_and(|expires_at| expires_at <= now)
            })
            .filter_map(|address| address.pending_id)
            .collect();
        let owners = known
            .iter()
            .filter_map(|address| {
                Some((address.email_normalized.clone(), address.user_id.clone()?))
            })
            .collect();
        Ok(Plan {
            organization: organization.clone(),
            now,
            steps: steps(
                drafts,
                &inviters,
                &known,
                &suppressed,
                request.on_existing,
                now,
            ),
            inviters,
            owners,
            stale,
        })
    }
}

impl Plan {
    /// For an atomic call: every violation of every failing item; or the quotas, if nothing else is wrong.
    pub(super) fn require_success(&self) -> Result<(), ServiceError> {
        let violations: Vec<Violation> = self
            .steps
            .iter()
            .enumerate()
            .flat_map(|(index, step)| {
                let violations = match step {
                    Step::Fail { violations, .. } => violations.as_slice(),
                    _ => &[],
                };
                violations
                    .iter()
                    .map(move |violation| at_item(index, violation))
            })
            .collect();
        if violations.is_empty() {
            Ok(())
        } else if violations
            .iter()
            .all(|it| it.reason == Reason::QuotaExceeded)
        {
            Err(ServiceError::Exhausted(self.exceeded()))
        } else {
            Err(ServiceError::ItemsFailed(violations))
        }
    }
}

/// A violation of an item, named by its place in the request.
pub(super) fn at_item(index: usize, violation: &Violation) -> Violation {
    Violation::new(
        format!("invitations[{index}].{}", violation.field),
        violation.reason,
    )
}

/// One step for each item, in the order of the request.
fn steps(
    drafts: Vec<Draft>,
    inviters: &HashMap<String, Inviter>,
    known: &[KnownAddress],
    suppressed: &HashMap<String, SuppressionReason>,
    on_existing: OnExisting,
    now: OffsetDateTime,
) -> Vec<Step> {
    let known: HashMap<&str, &KnownAddress> = known
        .iter()
        .map(|address| (address.email_normalized.as_str(), address))
        .collect();
    let mut first_of: HashMap<String, usize> = HashMap::with_capacity(drafts.len());
    drafts
        .into_iter()
        .enumerate()
        .map(|(index, draft)| {
            let email = draft.email().map(|email| email.normalized().to_owned());
            let address = email
                .as_ref()
                .and_then(|email| known.get(email.as_str()).copied());
            let suppression = email
                .as_ref()
                .and_then(|email| suppressed.get(email).copied());
            let first = email.map_or(index, |email| *first_of.entry(email).or_insert(index));
            let first_index = (first != index).then_some(first);
            decide(
                draft,
                inviters,
                address,
                suppression,
                first_index,
                on_existing,
                now,
            )
        })
        .collect()
}

fn decide(
    draft: Draft,
    inviters: &HashMap<String, Inviter>,
    address: Option<&KnownAddress>,
    suppression: Option<SuppressionReason>,
    first_index: Option<usize>,
    on_existing: OnExisting,
    now: OffsetDateTime,
) -> Step {
    let pending_id = address
        .filter(|address| {
            address
                .pending_expires_at
                .is_some_and(|expires_at| expires_at > now)
        })
        .and_then(|address| address.pending_id);
    let is_mailed =
        draft.is_mailed() || (pending_id.is_some() && on_existing == OnExisting::Resend);
    let conflict = if first_index.is_some() {
        Some(Reason::DuplicateInRequest)
    } else if address.is_some_and(|address| address.is_member) {
        Some(Reason::AlreadyMember)
    } else if pending_id.is_some() && on_existing == OnExisting::Fail {
        Some(Reason::AlreadyInvited)
    } else if pending_id.is_some() && on_existing == OnExisting::Return {
        None
    } else {
        // Last, so that it is told only where it is what stands in the way: others' mails may have brought it about.
        suppression
            .filter(|reason| reason.stops(is_mailed))
            .map(|_| Reason::EmailSuppressed)
    };
    let checked = draft.finish(inviters);
    let item = match (checked, conflict) {
        (Ok(item), None) => item,
        (checked, conflict) => {
            // What is wrong with the item itself comes first: it stays wrong whoever is invited already.
            let mut violations = checked.err().unwrap_or_default();
            violations.extend(conflict.map(|reason| Violation::new("email", reason)));
            let is_invited = conflict == Some(Reason::AlreadyInvited);
            return Step::Fail {
                violations,
                first_index,
                pending_id: pending_id.filter(|_| is_invited),
                exceeded: None,
            };
        }
    };
    match (pending_id, on_existing) {
        (None, _) => Step::Create(item),
        (Some(id), OnExisting::Return | OnExisting::Fail) => Step::Return(id),
        (Some(id), OnExisting::Resend) => Step::Resend {
            item,
            id,
            send_seq: None,
        },
        (Some(id), OnExisting::Replace) => Step::Replace(item, id),
    }
}

fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut values: Vec<String> = values.map(str::to_owned).collect();
    values.sort_unstable();
    values.dedup();
    values
}

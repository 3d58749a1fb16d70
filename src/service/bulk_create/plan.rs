//! What has to be done for each item: decided in memory, from what the request says and the database knows.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::join;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::new_invitation::{Inviter, ItemDraft, NewInvitation};
use crate::domain::organization::Organization;
use crate::domain::quota::ExceededQuota;
use crate::domain::reason::{Reason, Violation};
use crate::domain::suppression::SuppressionReason;
use crate::store::invitations::{self, Pending};
use crate::store::users::{self, Owner};
use crate::store::{Connection, memberships};

use super::{BulkCreate, OnExisting};
use crate::service::quota::Turn;
use crate::service::{Service, ServiceError};

/// What to do for one item.
pub(super) enum Step {
    /// Make an invitation.
    Create(Arc<NewInvitation>),
    /// Revoke the pending one and make another.
    Replace(Arc<NewInvitation>, Uuid),
    /// Send the pending one again.
    Resend {
        item: Arc<NewInvitation>,
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
        exceeded: Option<ExceededQuota>,
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

/// An item whose form was checked, and whose inviter.
struct Checked {
    /// Its address, if it is one.
    email: Option<String>,
    /// Whether the person would be mailed.
    is_mailed: bool,
    item: Result<Arc<NewInvitation>, Vec<Violation>>,
}

/// What the database knows of addresses.
struct Known {
    owners: HashMap<String, Owner>,
    suppressed: HashMap<String, SuppressionReason>,
    pending: HashMap<String, Pending>,
}

impl Service {
    /// Checks every item and decides. Asks the database once about all inviters, once whose addresses they are, once which
    /// are suppressed, and once which are pending, where that is not for the write to find out.
    pub(super) async fn plan(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        organization: &Organization,
        turn: &Turn,
    ) -> Result<Plan, ServiceError> {
        let now = self.clock.now();
        let drafts: Vec<ItemDraft> = request
            .items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                ItemDraft::parse(index, item, organization, &request.inviter_user_id, now)
            })
            .collect();
        let inviter_ids = distinct(
            drafts
                .iter()
                .filter_map(|draft| Some(draft.inviter_user_id()?.as_str())),
        );
        let inviters =
            memberships::inviters(connection, &request.organization_id, &inviter_ids).await?;
        let checked: Vec<Checked> = drafts
            .into_iter()
            .map(|draft| Checked::new(draft, &inviters))
            .collect();
        let mut known = self.know(connection, request, &checked, turn).await?;
        let is_stale = |pending: &Pending| pending.expires_at <= now;
        let stale = known.pending.values().copied().filter(is_stale);
        let stale = stale.map(|pending| pending.id).collect();
        known.pending.retain(|_, pending| !is_stale(pending));
        Ok(Plan {
            organization: organization.clone(),
            now,
            steps: steps(checked, &known, request.on_existing),
            inviters,
            owners: known
                .owners
                .into_iter()
                .map(|(email, owner)| (email, owner.user_id))
                .collect(),
            stale,
        })
    }

    async fn know(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        checked: &[Checked],
        turn: &Turn,
    ) -> Result<Known, ServiceError> {
        let organization_id = &request.organization_id;
        let emails = distinct(checked.iter().filter_map(|one| one.email.as_deref()));
        let asking = users::owners(connection, organization_id, &emails);
        // The database is asked first, and hashes are computed while it answers.
        let (owners, tagged) = join(asking, async { self.tagged(&emails) }).await;
        let owners = owners?;
        let suppressed = self
            .suppressed_among(connection, organization_id, &tagged)
            .await?;
        let looked_for = if request.looks_first(turn) {
            emails
        } else {
            // Where something is in the way already, it matters whether an invitation is in the way too.
            let is_obstructed = |one: &&Checked| {
                let is_suppressed = |email: &String| suppressed.contains_key(email);
                one.item.is_err() || one.email.as_ref().is_some_and(is_suppressed)
            };
            let obstructed = checked.iter().filter(is_obstructed);
            distinct(obstructed.filter_map(|one| one.email.as_deref()))
        };
        let pending = if looked_for.is_empty() {
            HashMap::new()
        } else {
            invitations::pending_for(connection, organization_id, &looked_for).await?
        };
        Ok(Known {
            owners,
            suppressed,
            pending,
        })
    }
}

impl BulkCreate<'_> {
    /// Whether pending invitations are looked for before anything is written. Where they are only returned or refused, the
    /// write finds them, and most addresses have none. A call that works alone was sent here to look.
    fn looks_first(&self, turn: &Turn) -> bool {
        let is_touched = matches!(self.on_existing, OnExisting::Resend | OnExisting::Replace);
        is_touched || self.validate_only || self.atomic || turn.is_alone()
    }
}

impl Checked {
    fn new(draft: ItemDraft, inviters: &HashMap<String, Inviter>) -> Self {
        Self {
            email: draft.email().map(|email| email.normalized().to_owned()),
            is_mailed: draft.is_mailed(),
            item: draft.finish(inviters).map(Arc::new),
        }
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
fn steps(checked: Vec<Checked>, known: &Known, on_existing: OnExisting) -> Vec<Step> {
    let first_indexes = first_indexes(&checked);
    checked
        .into_iter()
        .zip(first_indexes)
        .map(|(one, first_index)| decide(one, known, first_index, on_existing))
        .collect()
}

/// For each item whose address an earlier one has, the place of the first.
fn first_indexes(checked: &[Checked]) -> Vec<Option<usize>> {
    let mut first_of: HashMap<&str, usize> = HashMap::with_capacity(checked.len());
    checked
        .iter()
        .enumerate()
        .map(|(index, one)| {
            let first = *first_of.entry(one.email.as_deref()?).or_insert(index);
            (first != index).then_some(first)
        })
        .collect()
}

fn decide(
    checked: Checked,
    known: &Known,
    first_index: Option<usize>,
    on_existing: OnExisting,
) -> Step {
    let email = checked.email.as_deref().unwrap_or_default();
    let pending_id = known.pending.get(email).map(|pending| pending.id);
    let is_member = known.owners.get(email).is_some_and(|owner| owner.is_member);
    let is_mailed =
        checked.is_mailed || (pending_id.is_some() && on_existing == OnExisting::Resend);
    let conflict = if first_index.is_some() {
        Some(Reason::DuplicateInRequest)
    } else if is_member {
        Some(Reason::AlreadyMember)
    } else if pending_id.is_some() && on_existing == OnExisting::Fail {
        Some(Reason::AlreadyInvited)
    } else if pending_id.is_some() && on_existing == OnExisting::Return {
        None
    } else {
        // Last, so that it is told only where it is what stands in the way: others' mails may have brought it about.
        let suppression = known.suppressed.get(email);
        suppression
            .filter(|reason| reason.stops(is_mailed))
            .map(|_| Reason::EmailSuppressed)
    };
    let item = match (checked.item, conflict) {
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

fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut values: Vec<&str> = values.collect();
    values.sort_unstable();
    values.dedup();
    values
}

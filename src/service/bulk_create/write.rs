//! Writes a plan: one statement for each kind of step, all in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::join;
use uuid::Uuid;

use crate::domain::invitation::Invitation;
use crate::domain::reason::{Reason, Violation};
use crate::domain::token::NONCE_BYTES;
use crate::entropy;
use crate::service::{Context, ServiceError, UnitOfWork};
use crate::store::Connection;
use crate::store::invitations::{
    self, EndReason, InvitationBatch, InvitationKey, InvitationRow, ResendItem,
};

use super::batch_terms::{BatchTerms, OnExisting};
use super::plan::{CreateStep, Plan, at_item};

pub(super) struct WrittenBatch {
    pub(super) batch_id: Uuid,
    /// For each item that created an invitation, the invitation as it is stored.
    pub(super) created: Vec<Option<Invitation>>,
    /// The pending invitations that the insert ran into, by the index of the item: those that were not looked up before,
    /// and those that a concurrent call created since.
    pub(super) existing: HashMap<usize, Uuid>,
}

/// Writes everything that a plan asks for. The id of the batch is older than those of its invitations, so that a list of
/// the batch can end at it.
pub(super) async fn write(
    work: &mut UnitOfWork<'_>,
    terms: &BatchTerms,
    plan: &Plan,
    batch_id: Uuid,
) -> Result<WrittenBatch, ServiceError> {
    end_predecessors(work, terms, plan).await?;
    send_again(work, terms, plan).await?;
    let written = insert(work, terms, plan, batch_id).await?;
    if terms.atomic && !written.existing.is_empty() {
        return Err(written.failed_items());
    }
    Ok(written)
}

/// Ends the invitations that expired and those that are replaced, so that their addresses can be invited again.
async fn end_predecessors(
    connection: &mut Connection<'_>,
    terms: &BatchTerms,
    plan: &Plan,
) -> Result<(), ServiceError> {
    let target = |id: &Uuid| -> InvitationKey { (*id, terms.organization_id.as_str().to_owned()) };
    let expired: Vec<InvitationKey> = plan.expired.iter().map(target).collect();
    if !expired.is_empty() {
        invitations::end_many(connection, &expired, EndReason::Expired, plan.now).await?;
    }
    let replaced: Vec<InvitationKey> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            CreateStep::Replace(_, id) => Some(target(id)),
            _ => None,
        })
        .collect();
    if !replaced.is_empty() {
        let end = EndReason::Revoked { by_user_id: None };
        let ended = invitations::end_many(connection, &replaced, end, plan.now).await?;
        if ended.len() != replaced.len() {
            return Err(ServiceError::Conflict);
        }
    }
    Ok(())
}

async fn send_again(
    work: &mut UnitOfWork<'_>,
    terms: &BatchTerms,
    plan: &Plan,
) -> Result<(), ServiceError> {
    let items: Vec<ResendItem> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            CreateStep::Resend { item, id, send_seq } => Some(ResendItem {
                id: *id,
                expires_at: item.expires_at,
                nonce: None,
                send_seq: *send_seq,
            }),
            _ => None,
        })
        .collect();
    if items.is_empty() {
        return Ok(());
    }
    let (organization_id, key_id) = (&terms.organization_id, work.context.keyring.active());
    let resent = invitations::resend_many(work, organization_id, &items, key_id, plan.now).await?;
    if resent.len() != items.len() {
        return Err(ServiceError::Conflict);
    }
    Ok(())
}

async fn insert(
    work: &mut UnitOfWork<'_>,
    terms: &BatchTerms,
    plan: &Plan,
    batch_id: Uuid,
) -> Result<WrittenBatch, ServiceError> {
    let rows = rows(work.context, plan);
    let mut written = WrittenBatch {
        batch_id,
        created: vec![None; plan.steps.len()],
        existing: HashMap::new(),
    };
    if rows.is_empty() {
        return Ok(written);
    }
    let batch = InvitationBatch {
        organization_id: &terms.organization_id,
        batch_id,
        key_id: work.context.keyring.active(),
        now: plan.now,
    };
    let inserting = invitations::insert_many(work, batch, &rows);
    // The results are built while the database works.
    let building = async {
        for row in &rows {
            written.created[row.item.index] = Some(plan.created(&row.item, row.id, batch_id));
        }
    };
    let (inserted, ()) = join(inserting, building).await;
    let inserted: HashSet<Uuid> = inserted?.into_iter().collect();
    if inserted.len() < rows.len() {
        let refused: Vec<&InvitationRow> = rows
            .iter()
            .filter(|row| !inserted.contains(&row.id))
            .collect();
        written.existing = existing(work, terms, plan, &refused).await?;
        for row in refused {
            written.created[row.item.index] = None;
        }
    }
    Ok(written)
}

/// The rows of new invitations, sorted by address so that concurrent batches do not deadlock. Ids ascend in the order of
/// the request.
fn rows(context: &Context, plan: &Plan) -> Vec<InvitationRow> {
    let items: Vec<_> = plan
        .steps
        .iter()
        .filter_map(|step| match step {
            CreateStep::Create(item) | CreateStep::Replace(item, _) => Some(item),
            _ => None,
        })
        .collect();
    let mut random = vec![0; items.len() * NONCE_BYTES];
    entropy::fill(&mut random);
    let (nonces, _) = random.as_chunks::<NONCE_BYTES>();
    let mut rows: Vec<InvitationRow> = items
        .into_iter()
        .zip(nonces)
        .map(|(item, nonce)| InvitationRow {
            id: context.ids.next(plan.now),
            nonce: *nonce,
            item: Arc::clone(item),
        })
        .collect();
    rows.sort_unstable_by(|one, other| {
        let (one, other) = (&one.item.email, &other.item.email);
        one.normalized().cmp(other.normalized())
    });
    rows
}

async fn existing(
    work: &mut UnitOfWork<'_>,
    terms: &BatchTerms,
    plan: &Plan,
    refused: &[&InvitationRow],
) -> Result<HashMap<usize, Uuid>, ServiceError> {
    // They would have to be sent again or replaced, which is decided only for invitations that were looked up.
    if matches!(terms.on_existing, OnExisting::Resend | OnExisting::Replace) {
        return Err(ServiceError::Conflict);
    }
    let emails: Vec<&str> = refused
        .iter()
        .map(|row| row.item.email.normalized())
        .collect();
    let pending = invitations::pending_by_address(work, &terms.organization_id, &emails).await?;
    refused
        .iter()
        .map(|row| {
            let pending = pending
                .get(row.item.email.normalized())
                .filter(|pending| pending.expires_at > plan.now)
                // It expired or ended. To end it now would lock rows out of their order, so another run looks it up first.
                .ok_or_else(|| work.lock.run_again())?;
            Ok((row.item.index, pending.id))
        })
        .collect()
}

impl WrittenBatch {
    fn failed_items(&self) -> ServiceError {
        let mut indexes: Vec<usize> = self.existing.keys().copied().collect();
        indexes.sort_unstable();
        let violation = Violation::new("email", Reason::AlreadyInvited);
        let violations = indexes.into_iter().map(|index| at_item(index, &violation));
        ServiceError::ItemsFailed(violations.collect())
    }
}

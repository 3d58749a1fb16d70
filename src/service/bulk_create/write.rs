//! Carrying a plan out: one statement for each kind of step, all in the caller's transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::join;
use uuid::Uuid;

use crate::domain::invitation::Invitation;
use crate::domain::reason::{Reason, Violation};
use crate::entropy;
use crate::store::Connection;
use crate::store::invitations::{self, BatchRow, End, InvitationRow, Resending, Target};

use super::plan::{Plan, Step};
use super::{Batch, BulkCreate, OnExisting};
use crate::domain::token::NONCE_BYTES;
use crate::service::quota::Turn;
use crate::service::{Service, ServiceError};

/// What writing came to, beside the plan.
pub(super) struct Written {
    /// The call.
    pub(super) batch_id: Uuid,
    /// At the place of each item that made one, the new invitation as it stands in the database.
    pub(super) fresh: Vec<Option<Invitation>>,
    /// Pending invitations that were not looked for, or that another call made between our look and our write, by the
    /// place of the item.
    pub(super) overtaken: HashMap<usize, Uuid>,
}

impl Service {
    /// Writes everything a plan asks for and answers. The batch's id was drawn before those of its invitations: a list of
    /// the batch ends where it begins.
    pub(super) async fn write(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        plan: &Plan,
        batch_id: Uuid,
        turn: &Turn,
    ) -> Result<Batch, ServiceError> {
        self.end_predecessors(connection, request, plan).await?;
        self.send_again(connection, request, plan).await?;
        let written = self
            .insert(connection, request, plan, batch_id, turn)
            .await?;
        if request.atomic && !written.overtaken.is_empty() {
            return Err(overtaken_items(&written));
        }
        self.answer(connection, request, plan, written).await
    }

    /// Makes room: writes down what has expired, and revokes what is to be replaced.
    async fn end_predecessors(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        plan: &Plan,
    ) -> Result<(), ServiceError> {
        let target = |id: Uuid| -> Target { (id, request.organization_id.as_str().to_owned()) };
        if !plan.stale.is_empty() {
            let stale: Vec<Target> = plan.stale.iter().copied().map(target).collect();
            invitations::end_many(connection, &stale, End::Expired, plan.now).await?;
        }
        let replaced: Vec<Target> = plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Replace(_, id) => Some(target(*id)),
                _ => None,
            })
            .collect();
        if !replaced.is_empty() {
            let end = End::Revoked { by_user_id: None };
            let ended = invitations::end_many(connection, &replaced, end, plan.now).await?;
            if ended.len() != replaced.len() {
                return Err(ServiceError::Raced);
            }
        }
        Ok(())
    }

    async fn send_again(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        plan: &Plan,
    ) -> Result<(), ServiceError> {
        let items: Vec<Resending> = plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Resend { item, id, send_seq } => Some(Resending {
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
        let key_id = self.keyring.active();
        let resent = invitations::resend_many(
            connection,
            &request.organization_id,
            &items,
            key_id,
            plan.now,
        )
        .await?;
        if resent.len() == items.len() {
            Ok(())
        } else {
            Err(ServiceError::Raced)
        }
    }

    async fn insert(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        plan: &Plan,
        batch_id: Uuid,
        turn: &Turn,
    ) -> Result<Written, ServiceError> {
        let batch = BatchRow {
            organization_id: &request.organization_id,
            batch_id,
            key_id: self.keyring.active(),
            now: plan.now,
        };
        let rows = self.rows(plan);
        let mut overtaken = HashMap::new();
        if rows.is_empty() {
            return Ok(Written {
                batch_id,
                fresh: nothing_made(plan),
                overtaken,
            });
        }
        let inserting = invitations::insert_many(connection, batch, &rows);
        // The statement is on its way first, and answers are made while the database works.
        let (inserted, mut fresh) = join(inserting, async { made(plan, &rows, batch_id) }).await;
        let inserted = inserted?;
        if inserted.len() < rows.len() {
            let inserted: HashSet<Uuid> = inserted.into_iter().collect();
            let losers: Vec<&InvitationRow> = rows
                .iter()
                .filter(|row| !inserted.contains(&row.id))
                .collect();
            overtaken = self
                .overtakers(connection, request, plan, turn, &losers)
                .await?;
            for place in &mut fresh {
                place.take_if(|invitation| !inserted.contains(&invitation.id));
            }
        }
        Ok(Written {
            batch_id,
            fresh,
            overtaken,
        })
    }

    /// The rows of new invitations, sorted by address, ids ascending in the order of the request.
    fn rows(&self, plan: &Plan) -> Vec<InvitationRow> {
        let items: Vec<_> = plan
            .steps
            .iter()
            .filter_map(|step| match step {
                Step::Create(item) | Step::Replace(item, _) => Some(item),
                _ => None,
            })
            .collect();
        let mut chance = vec![0; items.len() * NONCE_BYTES];
        entropy::fill(&mut chance);
        let (nonces, _) = chance.as_chunks::<NONCE_BYTES>();
        let mut rows: Vec<InvitationRow> = items
            .into_iter()
            .zip(nonces)
            .map(|(item, nonce)| InvitationRow {
                id: self.ids.next(plan.now),
                nonce: *nonce,
                item: Arc::clone(item),
            })
            .collect();
        rows.sort_unstable_by(|one, other| {
            one.item
                .email
                .normalized()
                .cmp(other.item.email.normalized())
        });
        rows
    }

    /// What is pending for addresses that were not looked for, or that another call invited between our look and our
    /// write.
    async fn overtakers(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        plan: &Plan,
        turn: &Turn,
        losers: &[&InvitationRow],
    ) -> Result<HashMap<usize, Uuid>, ServiceError> {
        // What to do with them was decided for what we saw; where that was more than returning them, look again.
        if matches!(
            request.on_existing,
            OnExisting::Resend | OnExisting::Replace
        ) {
            return Err(ServiceError::Raced);
        }
        let emails: Vec<&str> = losers
            .iter()
            .map(|row| row.item.email.normalized())
            .collect();
        let pending =
            invitations::pending_for(connection, &request.organization_id, &emails).await?;
        losers
            .iter()
            .map(|row| {
                let live = pending
                    .get(row.item.email.normalized())
                    .filter(|pending| pending.expires_at > plan.now);
                // Its time ran out, or it was made and ended within the same moment. To end it now would be to lock rows
                // out of their order.
                let live = live.ok_or_else(|| turn.alone_next())?;
                Ok((row.item.index, live.id))
            })
            .collect()
    }
}

/// The invitations that rows become, if all of them are written.
fn made(plan: &Plan, rows: &[InvitationRow], batch_id: Uuid) -> Vec<Option<Invitation>> {
    let mut made = nothing_made(plan);
    for row in rows {
        made[row.item.index] = Some(plan.fresh(&row.item, row.id, batch_id));
    }
    made
}

fn nothing_made(plan: &Plan) -> Vec<Option<Invitation>> {
    plan.steps.iter().map(|_| None).collect()
}

fn overtaken_items(written: &Written) -> ServiceError {
    let mut indexes: Vec<usize> = written.overtaken.keys().copied().collect();
    indexes.sort_unstable();
    let violation = Violation::new("email", Reason::AlreadyInvited);
    ServiceError::ItemsFailed(
        indexes
            .into_iter()
            .map(|index| super::plan::at_item(index, &violation))
            .collect(),
    )
}

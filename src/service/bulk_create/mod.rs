//! BulkCreate: many invitations into one organization, in one transaction, with one result each.
//!
//! The number of statements is the same for one item and for ten thousand: the request is checked in memory
//! (`plan`), the database is asked once about all inviters and at most thrice about addresses (whose they are, which of
//! them are suppressed, which are pending), and everything is written by one statement for each kind of outcome (`write`).

mod answer;
mod plan;
mod quota;
mod stream;
mod write;

pub(super) use answer::shorten;
use plan::Plan;
pub use stream::{Chunk, ITEM_HASH_BYTES, OpenStream, StreamHeader};

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::audit::{AuditAction, AuditEvent};
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::Invitation;
use crate::domain::new_invitation::ItemInput;
use crate::domain::quota::ExceededQuota;
use crate::domain::reason::Violation;
use crate::store::batches::{self, Done};
use crate::store::idempotency_keys::{self, RequestKey};
use crate::store::{self, Connection, audit_events};

use super::audit::counts_of;
use super::quota::Turn;
use super::snapshot::{self, StoredResults};
use super::{Service, ServiceError};

/// What to do with an address that has a pending invitation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExisting {
    /// The item fails.
    #[default]
    Fail,
    /// The pending one is returned.
    Return,
    /// The pending one is sent again.
    Resend,
    /// The pending one is revoked and a new one made.
    Replace,
}

/// A request. Not `Debug`: it holds addresses and notes.
pub struct BulkCreate<'a> {
    /// Who asks; request ids are their caller's.
    pub actor: Actor,
    /// Makes the call safe to repeat.
    pub request_id: Option<Uuid>,
    /// SHA-256 of everything that was asked, without the request id and `validate_only`.
    pub request_hash: [u8; 32],
    /// The organization.
    pub organization_id: OrganizationId,
    /// Who invites, for items that name nobody.
    pub inviter_user_id: String,
    /// The items.
    pub items: Cow<'a, [ItemInput]>,
    /// What to do with addresses that are invited already.
    pub on_existing: OnExisting,
    /// Whether one failing item fails the call.
    pub atomic: bool,
    /// Whether to answer as the call would, and do nothing.
    pub validate_only: bool,
    /// Whether to return links.
    pub return_link: bool,
}

/// What became of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A new invitation was made.
    Created,
    /// The pending one was returned.
    Existing,
    /// The pending one was sent again.
    Resent,
    /// A new one took the place of the pending one.
    Replaced,
    /// Nothing was done.
    Failed,
}

/// The result of one item. Not `Debug`: it may hold an address and a link.
#[derive(Clone)]
pub struct ItemResult {
    /// What became of it.
    pub outcome: Outcome,
    /// The invitation, for every outcome but a failure that has none.
    pub invitation: Option<Invitation>,
    /// Why it failed: every violation, the most important first.
    pub violations: Vec<Violation>,
    /// For a duplicate, the place of the first one.
    pub first_index: Option<usize>,
    /// The quota that has no room for it, if that is why.
    pub exceeded: Option<ExceededQuota>,
    /// The link, if it was asked for.
    pub link: Option<String>,
}

/// The answer.
pub struct Batch {
    /// The call; nil if it was a dry run.
    pub id: Uuid,
    /// One for each item, in the order of the request.
    pub results: Vec<ItemResult>,
}

/// The answer as it is kept for repetitions.
#[derive(Serialize, Deserialize)]
struct StoredBatch {
    id: Uuid,
    results: StoredResults,
}

impl Service {
    /// Makes invitations. See the protocol for what a caller sees.
    pub async fn bulk_create(&self, request: BulkCreate<'static>) -> Result<Batch, ServiceError> {
        let service = self.clone();
        let request = Arc::new(request);
        let shared = Arc::clone(&request);
        let turn = Turn::default();
        let batch = self
            .store
            .with_tx("bulk_create", move |connection| {
                let (service, request) = (service.clone(), Arc::clone(&shared));
                let turn = turn.clone();
                Box::pin(async move { service.bulk_create_once(connection, &request, &turn).await })
            })
            .await?;
        Ok(batch)
    }

    async fn bulk_create_once(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        turn: &Turn,
    ) -> Result<Batch, ServiceError> {
        let key = request.key();
        if let Some(key) = &key
            && let Some(batch) = self.replay(connection, request, key).await?
        {
            return Ok(batch);
        }
        let batch_id = self.ids.next(self.clock.now());
        let (plan, batch) = self.make(connection, request, batch_id, turn).await?;
        if request.validate_only {
            return Ok(batch);
        }
        if let Some(key) = key {
            let response = snapshot::encode(&StoredBatch {
                id: batch.id,
                results: StoredResults::new(&batch.results),
            })?;
            idempotency_keys::set_response(connection, &key, &response).await?;
        }
        self.take_quotas(connection, request, &plan, &batch, turn)
            .await?;
        Ok(batch)
    }

    /// Makes invitations of a batch, or tells what would come of it. What follows before the commit is for the caller: to
    /// remember the answer, and to take from the quotas, in this order.
    async fn make(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        batch_id: Uuid,
        turn: &Turn,
    ) -> Result<(Plan, Batch), ServiceError> {
        store::plan_afresh(connection).await?;
        // A dry run takes nothing, so it need not wait for anybody.
        let most = if request.validate_only {
            0
        } else {
            request.items.len()
        };
        let organization = self
            .hold(connection, &request.organization_id, turn, most)
            .await?;
        let mut plan = self.plan(connection, request, &organization, turn).await?;
        self.keep_quotas(connection, request, &mut plan, turn)
            .await?;
        if request.atomic {
            plan.require_success()?;
        }
        if request.validate_only {
            let batch = self.foretell(connection, request, &plan).await?;
            return Ok((plan, batch));
        }
        let batch = self
            .write(connection, request, &plan, batch_id, turn)
            .await?;
        let event = self.made(request, &plan, &batch);
        audit_events::insert_many(connection, &[event]).await?;
        batches::add(connection, batch.done(&request.organization_id, plan.now)).await?;
        Ok((plan, batch))
    }

    /// What is written down of a call. Only an inviter whom the directory knows is named: anything may stand in an item.
    fn made(&self, request: &BulkCreate<'_>, plan: &Plan, batch: &Batch) -> AuditEvent {
        let organization_id = request.organization_id.as_str();
        let action = AuditAction::BulkCreate;
        let event = self.event(&request.actor, action, organization_id, plan.now);
        let mut inviters = plan.inviters.keys();
        let inviter = plan
            .inviters
            .get_key_value(&request.inviter_user_id)
            .map(|(id, _)| id)
            .or_else(|| inviters.next().filter(|_| inviters.next().is_none()));
        AuditEvent {
            on_behalf_of_user_id: event.on_behalf_of_user_id.or_else(|| inviter.cloned()),
            batch_id: Some(batch.id),
            request_id: request.request_id,
            counts: counts_of(&batch.results),
            ..event
        }
    }

    /// The answer of an earlier call with this request id, or `None` if this is the first.
    async fn replay(
        &self,
        connection: &mut Connection<'_>,
        request: &BulkCreate<'_>,
        key: &RequestKey,
    ) -> Result<Option<Batch>, ServiceError> {
        let earlier = self
            .recall(
                connection,
                key,
                &request.request_hash,
                request.validate_only,
            )
            .await?;
        let Some(response) = earlier else {
            return Ok(None);
        };
        let stored: StoredBatch = snapshot::decode(&response)?;
        let results =
            stored
                .results
                .restore(connection, &request.organization_id, self.clock.now());
        let mut batch = Batch {
            id: stored.id,
            results: results.await?,
        };
        shorten(&mut batch.results);
        if request.return_link {
            self.add_links(connection, &request.organization_id, &mut batch.results)
                .await?;
        }
        Ok(Some(batch))
    }
}

impl BulkCreate<'_> {
    fn key(&self) -> Option<RequestKey> {
        self.request_id.map(|request_id| RequestKey {
            organization_id: self.organization_id.as_str().to_owned(),
            caller: self.actor.caller.clone(),
            method: "BulkCreate",
            request_id,
        })
    }
}

impl Batch {
    fn done<'a>(&self, organization_id: &'a OrganizationId, now: OffsetDateTime) -> Done<'a> {
        let is_failed = |result: &&ItemResult| result.outcome == Outcome::Failed;
        Done {
            organization_id,
            batch_id: self.id,
            items: self.results.len(),
            failed: self.results.iter().filter(is_failed).count(),
            now,
        }
    }
}

impl ItemResult {
    pub(super) fn failed(violations: Vec<Violation>) -> Self {
        Self {
            outcome: Outcome::Failed,
            invitation: None,
            violations,
            first_index: None,
            exceeded: None,
            link: None,
        }
    }

    pub(super) fn done(outcome: Outcome, invitation: Invitation) -> Self {
        Self {
            outcome,
            invitation: Some(invitation),
            violations: Vec::new(),
            first_index: None,
            exceeded: None,
            link: None,
        }
    }
}

//! A call of `BulkCreate`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::new_invitation::ItemInput;
use crate::service::ServiceError;
use crate::service::completion::StoredResponse;
use crate::service::idempotency::IdempotencyKey;
use crate::service::links::add_links;
use crate::service::organization_lock::OrganizationLock;
use crate::service::runner::{EscalatingUseCase, Service};
use crate::service::stored_results::{self, StoredResults};
use crate::service::unit_of_work::UnitOfWork;

use super::batch_request::{BatchRequest, OnExisting};
use super::new_batch::NewBatch;
use super::response::CreatedBatch;

/// Creates invitations. Not `Debug`, because it holds addresses and notes.
pub struct BulkCreate {
    /// The caller. A request id belongs to its caller.
    pub actor: Actor,
    /// Makes the call safe to repeat.
    pub request_id: Option<Uuid>,
    /// SHA-256 of the request without the request id and `validate_only`.
    pub request_hash: [u8; 32],
    pub organization_id: OrganizationId,
    /// The inviter of items that name none.
    pub inviter_user_id: String,
    pub items: Vec<ItemInput>,
    pub on_existing: OnExisting,
    /// Whether one failing item fails the call.
    pub atomic: bool,
    /// Whether to write and send nothing.
    pub validate_only: bool,
    pub return_link: bool,
}

/// The response as it is stored for repetitions.
#[derive(Serialize, Deserialize)]
struct StoredBatch {
    id: Uuid,
    results: StoredResults,
}

impl Service {
    /// Creates invitations.
    pub async fn bulk_create(&self, request: BulkCreate) -> Result<CreatedBatch, ServiceError> {
        self.run_escalating(Arc::new(request)).await
    }
}

impl EscalatingUseCase for BulkCreate {
    const NAME: &'static str = "bulk_create";
    type Output = CreatedBatch;

    async fn run(
        &self,
        lock: OrganizationLock,
        work: &mut UnitOfWork<'_>,
    ) -> Result<CreatedBatch, ServiceError> {
        let key = self.idempotency_key();
        if let Some(key) = &key
            && let Some(response) = key.load_response(work, self.validate_only).await?
        {
            return self.restore(work, &response).await;
        }
        let request = self.batch_request();
        let batch_id = work.context.ids.next(work.context.now());
        let new = NewBatch::create(work, &request, batch_id, lock).await?;
        if self.validate_only {
            return Ok(new.batch);
        }
        let response = key.map(|key| new.batch.stored(key)).transpose()?;
        new.complete(work, &request, response, lock).await
    }
}

impl BulkCreate {
    fn idempotency_key(&self) -> Option<IdempotencyKey> {
        let (id, actor) = (&self.organization_id, &self.actor);
        self.request_id.map(|request_id| {
            IdempotencyKey::new("BulkCreate", id, actor, request_id, self.request_hash)
        })
    }

    fn batch_request(&self) -> BatchRequest<'_> {
        BatchRequest {
            actor: &self.actor,
            request_id: self.request_id,
            organization_id: &self.organization_id,
            inviter_user_id: &self.inviter_user_id,
            items: &self.items,
            on_existing: self.on_existing,
            atomic: self.atomic,
            validate_only: self.validate_only,
            return_link: self.return_link,
        }
    }

    /// The response of an earlier call.
    async fn restore(
        &self,
        work: &mut UnitOfWork<'_>,
        response: &[u8],
    ) -> Result<CreatedBatch, ServiceError> {
        let organization_id = &self.organization_id;
        let stored: StoredBatch = stored_results::decode(response)?;
        let results = stored.results;
        let results = results.restore(work, organization_id);
        let mut results = results.await?;
        if self.return_link {
            add_links(work, organization_id, &mut results).await?;
        }
        Ok(CreatedBatch {
            id: stored.id,
            results,
        })
    }
}

impl CreatedBatch {
    fn stored(&self, key: IdempotencyKey) -> Result<StoredResponse, ServiceError> {
        let response = stored_results::encode(&StoredBatch {
            id: self.id,
            results: StoredResults::new(&self.results),
        })?;
        Ok(StoredResponse::Call { key, response })
    }
}

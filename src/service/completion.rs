//! The end of a bulk call: the response is stored, then the quotas are reserved.
//!
//! The order matters. The row of the organization's quota is locked from the reservation to the commit, so nothing may run
//! between the two (ADR 20).

use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::ids::OrganizationId;
use crate::store::stream_chunks::{self, StoredChunk};

use super::ServiceError;
use super::idempotency::IdempotencyKey;
use super::organization_lock::OrganizationLock;
use super::quotas::QuotaUsage;
use super::unit_of_work::UnitOfWork;

/// What is stored for a repetition of the call.
pub(super) enum StoredResponse {
    /// The response of a unary call.
    Call {
        key: IdempotencyKey,
        response: Vec<u8>,
    },
    /// The results of a chunk of a stream.
    Chunk { batch_id: Uuid, chunk: StoredChunk },
}

/// The last statements of a bulk call.
pub(super) struct Completion<'a> {
    pub(super) organization_id: &'a OrganizationId,
    pub(super) response: Option<StoredResponse>,
    pub(super) usage: QuotaUsage,
    pub(super) now: OffsetDateTime,
}

impl Completion<'_> {
    /// Stores and reserves. If a quota has no room, the call has to run again under the exclusive lock.
    pub(super) async fn run(
        &self,
        work: &mut UnitOfWork<'_>,
        lock: OrganizationLock,
    ) -> Result<(), ServiceError> {
        let organization_id = self.organization_id;
        match &self.response {
            None => {}
            Some(StoredResponse::Call { key, response }) => {
                key.store_response(work, response).await?;
            }
            Some(StoredResponse::Chunk { batch_id, chunk }) => {
                stream_chunks::insert(work, organization_id, *batch_id, chunk, self.now).await?;
            }
        }
        let reserved = work
            .context
            .quotas
            .reserve(work, organization_id, &self.usage, self.now);
        match reserved.await? {
            None => Ok(()),
            Some(_) => Err(lock.run_again()),
        }
    }
}

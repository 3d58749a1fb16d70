//! Idempotency keys: the first call with a `request_id` does the work, later calls get its response.
//!
//! A bulk call ends with two steps: its response is stored, then its quotas are reserved. The order matters. The row of the
//! organization's quota is locked from the reservation to the commit, so nothing may run between the two (ADR 20).

use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::store::Connection;
use crate::store::idempotency_keys::{self, RequestKey};
use crate::store::stream_chunks::{self, StoredChunk};

use super::quotas::QuotaUsage;
use super::{ServiceError, UnitOfWork};

/// How long a response is kept.
pub(super) const REQUEST_ID_TTL: Duration = Duration::hours(24);

/// The idempotency key of a call: its `request_id` within an organization, a caller and a method.
pub(super) struct IdempotencyKey {
    key: RequestKey,
    request_hash: [u8; 32],
}

impl IdempotencyKey {
    pub(super) fn new(
        method: &'static str,
        organization_id: &OrganizationId,
        actor: &Actor,
        request_id: Uuid,
        request_hash: [u8; 32],
    ) -> Self {
        Self {
            key: RequestKey {
                organization_id: organization_id.as_str().to_owned(),
                caller: actor.caller.clone(),
                method,
                request_id,
            },
            request_hash,
        }
    }

    /// The key of a call whose actor has the `request_id`, or `None` if the call has none.
    pub(super) fn of_actor(
        method: &'static str,
        organization_id: &OrganizationId,
        actor: &Actor,
        request_hash: [u8; 32],
    ) -> Option<Self> {
        let request_id = actor.request_id?;
        let key = Self::new(method, organization_id, actor, request_id, request_hash);
        Some(key)
    }

    /// The response of an earlier call with this key, or `None` for the first call, which then holds the key: a concurrent
    /// call with the same key blocks here until this transaction ends. A dry run holds nothing.
    ///
    /// # Errors
    ///
    /// `REQUEST_ID_REUSED` if the earlier request was another one.
    pub(super) async fn load_response(
        &self,
        work: &mut UnitOfWork<'_>,
        is_dry_run: bool,
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        let now = work.context.now();
        let forget_before = now - REQUEST_ID_TTL;
        let hash = &self.request_hash;
        if !is_dry_run && idempotency_keys::claim(work, &self.key, hash, now, forget_before).await?
        {
            return Ok(None);
        }
        let Some(stored) = idempotency_keys::get(work, &self.key, forget_before).await? else {
            // The earlier call was deleted between the two statements, unless this is a dry run.
            return if is_dry_run {
                Ok(None)
            } else {
                Err(ServiceError::Conflict)
            };
        };
        if stored.request_hash != self.request_hash {
            return Err(ServiceError::Refused(Reason::RequestIdReused));
        }
        stored.response.map(Some).ok_or(ServiceError::Corrupt(
            "a committed request id has no response",
        ))
    }

    pub(super) async fn store_response(
        &self,
        connection: &mut Connection<'_>,
        response: &[u8],
    ) -> Result<(), ServiceError> {
        Ok(idempotency_keys::set_response(connection, &self.key, response).await?)
    }

    /// Waits until no other transaction holds the key. Returns the stored response.
    pub(super) async fn lock(
        &self,
        connection: &mut Connection<'_>,
    ) -> Result<Option<Vec<u8>>, ServiceError> {
        let stored = idempotency_keys::lock(connection, &self.key).await?;
        Ok(stored.and_then(|stored| stored.response))
    }
}

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

/// Stores and reserves, as the last statements of a bulk call. If a quota has no room, the call has to run again under the
/// exclusive lock.
pub(super) async fn complete(
    work: &mut UnitOfWork<'_>,
    organization_id: &OrganizationId,
    response: Option<StoredResponse>,
    usage: &QuotaUsage,
    now: OffsetDateTime,
) -> Result<(), ServiceError> {
    match response {
        None => {}
        Some(StoredResponse::Call { key, response }) => key.store_response(work, &response).await?,
        Some(StoredResponse::Chunk { batch_id, chunk }) => {
            stream_chunks::insert(work, organization_id, batch_id, &chunk, now).await?;
        }
    }
    let quotas = &work.context.quotas;
    match quotas.reserve(work, organization_id, usage, now).await? {
        None => Ok(()),
        Some(_) => Err(work.lock.run_again()),
    }
}

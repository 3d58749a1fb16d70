//! `BulkCreateStream`: invitations chunk by chunk, each chunk in a transaction of its own.
//!
//! A stream with a request id may be sent again. Its key names its batch, and each chunk leaves what it was answered. A
//! chunk holds the key while it works, so that twins of a stream take turns, and answers what is done from what was left,
//! wherever chunks begin and end now. Knows nothing of how items come and how results go.

use std::borrow::Cow;
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::new_invitation::ItemInput;
use crate::domain::reason::Reason;
use crate::store::Connection;
use crate::store::batches::{self, Done};
use crate::store::idempotency_keys::{self, RequestKey};
use crate::store::stream_chunks::{self, StoredChunk};

use super::{Batch, BulkCreate, ItemResult, OnExisting, shorten};
use crate::service::quota::Turn;
use crate::service::snapshot::{self, StoredResults};
use crate::service::{Service, ServiceError};

/// Bytes of the hash of an item: enough to notice another item at its place, which is a mistake and no attack.
pub const ITEM_HASH_BYTES: usize = 8;

const UNREADABLE: ServiceError = ServiceError::Corrupt("the chunks of a stream cannot be read");

/// What is the same for all items of a stream.
pub struct StreamHeader {
    /// Who asks; request ids are their caller's.
    pub actor: Actor,
    /// Makes the stream safe to send again.
    pub request_id: Option<Uuid>,
    /// SHA-256 of the header without the request id, `validate_only` and `first_index`.
    pub header_hash: [u8; 32],
    /// The organization.
    pub organization_id: OrganizationId,
    /// Who invites, for items that name nobody.
    pub inviter_user_id: String,
    /// What to do with addresses that are invited already.
    pub on_existing: OnExisting,
    /// Whether to answer as the stream would, and do nothing.
    pub validate_only: bool,
    /// Whether to return links.
    pub return_link: bool,
    /// The place of the first item that follows.
    pub first_index: usize,
}

/// A stream that has begun.
pub struct OpenStream {
    /// What was said at its beginning.
    pub header: Arc<StreamHeader>,
    /// The place after the last item that was done before.
    pub next_index: usize,
    /// Nil for a dry run of what was never done.
    batch_id: Uuid,
}

/// Items that are done together. Not `Debug`: it holds addresses and notes.
pub struct Chunk {
    /// The place of the first item in the stream.
    pub first_index: usize,
    /// The items; at least one.
    pub items: Vec<ItemInput>,
    /// [`ITEM_HASH_BYTES`] of each item, if the stream has a request id.
    pub item_hashes: Vec<u8>,
}

impl Service {
    /// Begins a stream, or finds the one that the request id is of.
    pub async fn open_stream(&self, header: StreamHeader) -> Result<OpenStream, ServiceError> {
        let service = self.clone();
        let header = Arc::new(header);
        let shared = Arc::clone(&header);
        let turn = Turn::default();
        let (batch_id, next_index) = self
            .store
            .with_tx("open_stream", move |connection| {
                let (service, header) = (service.clone(), Arc::clone(&shared));
                let turn = turn.clone();
                Box::pin(async move { service.open_once(connection, &header, &turn).await })
            })
            .await?;
        Ok(OpenStream {
            header,
            next_index,
            batch_id,
        })
    }

    /// Makes the invitations of a chunk: one result for each item, in order. What was done before is answered as it was;
    /// places of first ones count over the whole stream.
    pub async fn create_chunk(
        &self,
        stream: &Arc<OpenStream>,
        chunk: Chunk,
    ) -> Result<Vec<ItemResult>, ServiceError> {
        let (service, shared) = (self.clone(), Arc::clone(stream));
        let chunk = Arc::new(chunk);
        let turn = Turn::default();
        let results = self
            .store
            .with_tx("bulk_create_stream", move |connection| {
                let (service, stream) = (service.clone(), Arc::clone(&shared));
                let (chunk, turn) = (Arc::clone(&chunk), turn.clone());
                Box::pin(async move {
                    service
                        .create_chunk_once(connection, &stream, &chunk, &turn)
                        .await
                })
            })
            .await?;
        Ok(results)
    }

    async fn open_once(
        &self,
        connection: &mut Connection<'_>,
        header: &StreamHeader,
        turn: &Turn,
    ) -> Result<(Uuid, usize), ServiceError> {
        let organization_id = &header.organization_id;
        let key = header.key();
        let earlier = match &key {
            Some(key) => {
                let hash = &header.header_hash;
                self.recall(connection, key, hash, header.validate_only)
                    .await?
            }
            None => None,
        };
        let (batch_id, next_index) = match &earlier {
            Some(response) => {
                let batch_id = Uuid::from_slice(response).map_err(|_| UNREADABLE)?;
                let done = stream_chunks::next_index(connection, organization_id, batch_id).await?;
                (batch_id, index(done)?)
            }
            None => (Uuid::nil(), 0),
        };
        if header.first_index > next_index {
            let field = "header.first_index";
            return Err(ServiceError::invalid(field, Reason::FieldInvalid));
        }
        if earlier.is_some() {
            return Ok((batch_id, next_index));
        }
        self.hold(connection, organization_id, turn, 0).await?;
        if header.validate_only {
            return Ok((batch_id, 0));
        }
        let now = self.clock.now();
        let batch_id = self.ids.next(now);
        // There from now on, so that whoever is told the id can ask for it and watch it.
        let nothing = Done {
            organization_id,
            batch_id,
            items: 0,
            failed: 0,
            now,
        };
        batches::add(connection, nothing).await?;
        if let Some(key) = &key {
            idempotency_keys::set_response(connection, key, batch_id.as_bytes()).await?;
        }
        Ok((batch_id, 0))
    }

    async fn create_chunk_once(
        &self,
        connection: &mut Connection<'_>,
        stream: &OpenStream,
        chunk: &Chunk,
        turn: &Turn,
    ) -> Result<Vec<ItemResult>, ServiceError> {
        let header = &stream.header;
        let done = self.take_turn(connection, stream, chunk).await?;
        let known = done
            .saturating_sub(chunk.first_index)
            .min(chunk.items.len());
        let mut results = if known > 0 {
            self.replay_chunk(connection, stream, chunk, known).await?
        } else {
            Vec::new()
        };
        if known == chunk.items.len() {
            return Ok(results);
        }
        let request = header.request(&chunk.items[known..]);
        let made = self.make(connection, &request, stream.batch_id, turn).await;
        let (plan, mut batch) = made?;
        let first_index = chunk.first_index + known;
        for result in &mut batch.results {
            result.first_index = result.first_index.map(|place| place + first_index);
        }
        if !header.validate_only {
            if header.request_id.is_some() {
                let hashes = &chunk.item_hashes[known * ITEM_HASH_BYTES..];
                let stored = stored(first_index, hashes, &batch)?;
                let organization_id = &header.organization_id;
                stream_chunks::insert(connection, organization_id, batch.id, &stored, plan.now)
                    .await?;
            }
            self.take_quotas(connection, &request, &plan, &batch, turn)
                .await?;
        }
        results.append(&mut batch.results);
        Ok(results)
    }

    /// Waits until no twin of the stream is at work; returns the place after the last item that is done.
    async fn take_turn(
        &self,
        connection: &mut Connection<'_>,
        stream: &OpenStream,
        chunk: &Chunk,
    ) -> Result<usize, ServiceError> {
        let header = &stream.header;
        let Some(key) = header.key() else {
            return Ok(chunk.first_index);
        };
        // A dry run holds nothing, and one of what was never done knows nothing.
        if header.validate_only && stream.batch_id.is_nil() {
            return Ok(chunk.first_index);
        }
        if !header.validate_only {
            let held = idempotency_keys::lock(connection, &key).await?;
            let response = held.and_then(|held| held.response);
            if response.as_deref() != Some(stream.batch_id.as_bytes()) {
                // Forgotten after a day, and perhaps used anew since.
                return Err(ServiceError::Raced);
            }
        }
        // Not by the statement above, which sees the table as it was before it waited.
        let organization_id = &header.organization_id;
        let done = stream_chunks::next_index(connection, organization_id, stream.batch_id).await?;
        let done = index(done)?;
        if done < chunk.first_index && !header.validate_only {
            return Err(UNREADABLE);
        }
        Ok(done)
    }

    /// The first `known` results of a chunk, as they were given before.
    async fn replay_chunk(
        &self,
        connection: &mut Connection<'_>,
        stream: &OpenStream,
        chunk: &Chunk,
        known: usize,
    ) -> Result<Vec<ItemResult>, ServiceError> {
        let header = &stream.header;
        let organization_id = &header.organization_id;
        let (first, end) = (chunk.first_index, chunk.first_index + known);
        let rows = stream_chunks::overlapping(
            connection,
            organization_id,
            stream.batch_id,
            number(first)?,
            number(end)?,
        );
        let mut results = StoredResults::default();
        let mut next = first;
        for row in rows.await? {
            let (row_first, row_next) = (index(row.first_index)?, index(row.next_index)?);
            let skipped = next.checked_sub(row_first).ok_or(UNREADABLE)?;
            let upto = row_next.min(end);
            let part = skipped..upto.checked_sub(row_first).ok_or(UNREADABLE)?;
            let hashes = |from: usize, to: usize| from * ITEM_HASH_BYTES..to * ITEM_HASH_BYTES;
            let before = row.item_hashes.get(hashes(part.start, part.end));
            let now = chunk.item_hashes.get(hashes(next - first, upto - first));
            if before != now {
                return Err(ServiceError::Refused(Reason::RequestIdReused));
            }
            results.append(snapshot::decode(&row.response)?, part)?;
            next = upto;
        }
        if next != end {
            return Err(UNREADABLE);
        }
        let mut results = results
            .restore(connection, organization_id, self.clock.now())
            .await?;
        shorten(&mut results);
        if header.return_link {
            self.add_links(connection, organization_id, &mut results)
                .await?;
        }
        Ok(results)
    }
}

impl OpenStream {
    /// The batch; `None` in a dry run.
    #[must_use]
    pub fn batch_id(&self) -> Option<Uuid> {
        (!self.header.validate_only).then_some(self.batch_id)
    }
}

impl StreamHeader {
    fn key(&self) -> Option<RequestKey> {
        self.request_id.map(|request_id| RequestKey {
            organization_id: self.organization_id.as_str().to_owned(),
            caller: self.actor.caller.clone(),
            method: "BulkCreateStream",
            request_id,
        })
    }

    /// The request that items would be by themselves.
    fn request<'a>(&self, items: &'a [ItemInput]) -> BulkCreate<'a> {
        BulkCreate {
            actor: self.actor.clone(),
            request_id: self.request_id,
            request_hash: self.header_hash,
            organization_id: self.organization_id.clone(),
            inviter_user_id: self.inviter_user_id.clone(),
            items: Cow::Borrowed(items),
            on_existing: self.on_existing,
            atomic: false,
            validate_only: self.validate_only,
            return_link: self.return_link,
        }
    }
}

/// What is kept of a chunk.
fn stored(first_index: usize, hashes: &[u8], batch: &Batch) -> Result<StoredChunk, ServiceError> {
    Ok(StoredChunk {
        first_index: number(first_index)?,
        next_index: number(first_index + batch.results.len())?,
        item_hashes: hashes.to_vec(),
        response: snapshot::encode(&StoredResults::new(&batch.results))?,
    })
}

fn index(number: i64) -> Result<usize, ServiceError> {
    usize::try_from(number).map_err(|_| UNREADABLE)
}

fn number(index: usize) -> Result<i64, ServiceError> {
    i64::try_from(index).map_err(|_| UNREADABLE)
}

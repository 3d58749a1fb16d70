//! `BulkCreateStream`: invitations in chunks, each chunk in a transaction of its own.
//!
//! A stream with a request id can be sent again. Its idempotency key stores the id of its batch, and each chunk stores its
//! results. A chunk locks the key, so that concurrent streams with one request id alternate, and takes the results of items
//! that were done before from the stored chunks, even if chunks begin and end at other items now.

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::new_invitation::ItemInput;
use crate::domain::reason::Reason;
use crate::service::idempotency::{IdempotencyKey, StoredResponse};
use crate::service::invitation_access::add_links;
use crate::service::stored_results::{self, StoredResults};
use crate::service::{ItemResult, ServiceError, UnitOfWork, UseCase};
use crate::store::Connection;
use crate::store::batches::{self, ProcessedItems};
use crate::store::stream_chunks::{self, StoredChunk};

use super::batch_terms::BatchTerms;
use super::new_batch::NewBatch;

/// Bytes of the hash of an item. The hash detects mistakes, so it may be short.
pub const ITEM_HASH_BYTES: usize = 8;

const UNREADABLE: ServiceError = ServiceError::Corrupt("the chunks of a stream cannot be read");

pub struct StreamHeader {
    pub terms: BatchTerms,
    pub first_index: usize,
}

/// A stream that has begun.
pub struct OpenStream {
    pub header: Arc<StreamHeader>,
    /// The index after the last item that was done before.
    pub next_index: usize,
    /// Nil for a dry run of a stream that was never sent.
    batch_id: Uuid,
}

/// Consecutive items of a stream. Not `Debug`, because it holds addresses and notes.
pub struct Chunk {
    pub first_index: usize,
    /// At least one.
    pub items: Vec<ItemInput>,
    /// [`ITEM_HASH_BYTES`] for each item, if the stream has a request id.
    pub item_hashes: Vec<u8>,
}

/// Opens a stream, or finds the one that the request id belongs to.
pub struct OpenBatch(pub Arc<StreamHeader>);

/// Creates the invitations of a chunk. Returns one result for each item, in order. Items that were done before have the
/// results they had then. Indexes count from the beginning of the stream.
pub struct CreateChunk {
    pub stream: Arc<OpenStream>,
    pub chunk: Chunk,
}

impl UseCase for OpenBatch {
    const NAME: &'static str = "open_stream";
    type Output = OpenStream;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<OpenStream, ServiceError> {
        let header = &self.0;
        let open = |batch_id, next_index| OpenStream {
            header: Arc::clone(header),
            next_index,
            batch_id,
        };
        let terms = &header.terms;
        let organization_id = &terms.organization_id;
        let key = header.idempotency_key();
        let earlier = match &key {
            Some(key) => key.load_response(work, terms.validate_only).await?,
            None => None,
        };
        let (batch_id, next_index) = match &earlier {
            Some(response) => {
                let batch_id = Uuid::from_slice(response).map_err(|_| UNREADABLE)?;
                let next = stream_chunks::next_index(work, organization_id, batch_id).await?;
                (batch_id, index(next)?)
            }
            None => (Uuid::nil(), 0),
        };
        if header.first_index > next_index {
            let field = "header.first_index";
            return Err(ServiceError::invalid(field, Reason::FieldInvalid));
        }
        if earlier.is_some() {
            return Ok(open(batch_id, next_index));
        }
        let (context, lock, now) = (work.context, work.lock, work.context.now());
        let quotas = &context.quotas;
        quotas
            .lock_organization(work, lock, organization_id, 0, now)
            .await?;
        if terms.validate_only {
            return Ok(open(batch_id, 0));
        }
        let batch_id = work.context.ids.next(now);
        // The row exists from now on, so that callers can read and watch the batch by its id.
        let empty = ProcessedItems {
            organization_id,
            batch_id,
            items: 0,
            failed: 0,
            now,
        };
        batches::add_items(work, empty).await?;
        if let Some(key) = &key {
            key.store_response(work, batch_id.as_bytes()).await?;
        }
        Ok(open(batch_id, 0))
    }
}

impl UseCase for CreateChunk {
    const NAME: &'static str = "bulk_create_stream";
    type Output = Vec<ItemResult>;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Vec<ItemResult>, ServiceError> {
        let (stream, chunk) = (&self.stream, &self.chunk);
        let terms = &stream.header.terms;
        let next_index = self.lock_stream(work).await?;
        let done = next_index
            .saturating_sub(chunk.first_index)
            .min(chunk.items.len());
        let mut results = self.restore(work, done).await?;
        if done == chunk.items.len() {
            return Ok(results);
        }
        let items = &chunk.items[done..];
        let mut new = NewBatch::create(work, terms, items, stream.batch_id).await?;
        let first_index = chunk.first_index + done;
        for result in &mut new.batch.results {
            result.first_index = result.first_index.map(|index| index + first_index);
        }
        let mut batch = if terms.validate_only {
            new.batch
        } else {
            let response = self.stored(first_index, &new.batch.results)?;
            new.complete(work, terms, response).await?
        };
        results.append(&mut batch.results);
        Ok(results)
    }
}

impl CreateChunk {
    /// Waits until no other stream with the request id works. Returns the index after the last item that is done.
    async fn lock_stream(&self, connection: &mut Connection<'_>) -> Result<usize, ServiceError> {
        let (stream, first_index) = (&self.stream, self.chunk.first_index);
        let terms = &stream.header.terms;
        let Some(key) = stream.header.idempotency_key() else {
            return Ok(first_index);
        };
        // A dry run locks nothing, and a stream that was never sent has no items that are done.
        if terms.validate_only && stream.batch_id.is_nil() {
            return Ok(first_index);
        }
        if !terms.validate_only {
            let response = key.lock(connection).await?;
            if response.as_deref() != Some(stream.batch_id.as_bytes()) {
                // The key was deleted after a day, and may have been used again since.
                return Err(ServiceError::Conflict);
            }
        }
        // A separate statement, because the one above sees the table as it was before it waited for the lock.
        let (id, batch_id) = (&terms.organization_id, stream.batch_id);
        let next_index = index(stream_chunks::next_index(connection, id, batch_id).await?)?;
        if next_index < first_index && !terms.validate_only {
            return Err(UNREADABLE);
        }
        Ok(next_index)
    }

    /// The first results of the chunk as they were returned before, from the stored chunks.
    async fn restore(
        &self,
        work: &mut UnitOfWork<'_>,
        count: usize,
    ) -> Result<Vec<ItemResult>, ServiceError> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let (terms, batch_id) = (&self.stream.header.terms, self.stream.batch_id);
        let organization_id = &terms.organization_id;
        let first = self.chunk.first_index;
        let range = (number(first)?, number(first + count)?);
        let rows = stream_chunks::overlapping(work, organization_id, batch_id, range.0, range.1);
        let results = self.restored(rows.await?, count)?;
        let view = terms.view_read();
        let mut results = results.restore(work, organization_id, view).await?;
        if terms.return_link {
            add_links(work, organization_id, &mut results).await?;
        }
        Ok(results)
    }

    /// The results of the first items, gathered from stored chunks that begin and end at other items.
    fn restored(
        &self,
        rows: Vec<StoredChunk>,
        count: usize,
    ) -> Result<StoredResults, ServiceError> {
        let (first, end) = (self.chunk.first_index, self.chunk.first_index + count);
        let hashes = |from: usize, to: usize| from * ITEM_HASH_BYTES..to * ITEM_HASH_BYTES;
        let mut results = StoredResults::default();
        let mut next = first;
        for row in rows {
            let (row_first, row_next) = (index(row.first_index)?, index(row.next_index)?);
            let skipped = next.checked_sub(row_first).ok_or(UNREADABLE)?;
            let row_end = row_next.min(end);
            let part = skipped..row_end.checked_sub(row_first).ok_or(UNREADABLE)?;
            let stored = row.item_hashes.get(hashes(part.start, part.end));
            let sent = self
                .chunk
                .item_hashes
                .get(hashes(next - first, row_end - first));
            if stored != sent {
                return Err(ServiceError::Refused(Reason::RequestIdReused));
            }
            results.append(stored_results::decode(&row.response)?, part)?;
            next = row_end;
        }
        if next != end {
            return Err(UNREADABLE);
        }
        Ok(results)
    }

    fn stored(
        &self,
        first_index: usize,
        results: &[ItemResult],
    ) -> Result<Option<StoredResponse>, ServiceError> {
        if self.stream.header.terms.request_id.is_none() {
            return Ok(None);
        }
        let done = first_index - self.chunk.first_index;
        let chunk = StoredChunk {
            first_index: number(first_index)?,
            next_index: number(first_index + results.len())?,
            item_hashes: self.chunk.item_hashes[done * ITEM_HASH_BYTES..].to_vec(),
            response: stored_results::encode(&StoredResults::new(results))?,
        };
        let batch_id = self.stream.batch_id;
        Ok(Some(StoredResponse::Chunk { batch_id, chunk }))
    }
}

impl OpenStream {
    /// The id of the batch. `None` for a dry run.
    pub fn batch_id(&self) -> Option<Uuid> {
        (!self.header.terms.validate_only).then_some(self.batch_id)
    }
}

impl StreamHeader {
    fn idempotency_key(&self) -> Option<IdempotencyKey> {
        self.terms.idempotency_key("BulkCreateStream")
    }
}

fn index(number: i64) -> Result<usize, ServiceError> {
    usize::try_from(number).map_err(|_| UNREADABLE)
}

fn number(index: usize) -> Result<i64, ServiceError> {
    i64::try_from(index).map_err(|_| UNREADABLE)
}

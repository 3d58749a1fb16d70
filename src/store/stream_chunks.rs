//! The `stream_chunks` table: what the chunks of a stream were answered, for whoever sends it again.
//!
//! Chunks of a batch follow each other without a gap, because whoever adds one holds the stream's key. Knows nothing of
//! what an answer looks like.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::ids::OrganizationId;

/// A chunk that was done.
pub struct StoredChunk {
    /// The place of its first item.
    pub first_index: i64,
    /// The place after its last item.
    pub next_index: i64,
    /// The hashes of its items.
    pub item_hashes: Vec<u8>,
    /// What was answered.
    pub response: Vec<u8>,
}

/// The place after the last item of a batch that is done; 0 if there is none.
pub async fn next_index(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    batch_id: Uuid,
) -> Result<i64, StoreError> {
    let next_index = sqlx::query_scalar!(
        "-- store::stream_chunks::next_index
        SELECT next_index
          FROM stream_chunks
         WHERE organization_id = $1 AND batch_id = $2
         ORDER BY organization_id DESC, batch_id DESC, first_index DESC
         LIMIT 1",
        organization_id.as_str(),
        batch_id,
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(next_index.unwrap_or(0))
}

/// The chunks that hold items from `first_index` on and before `next_index`, in order.
pub async fn overlapping(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    batch_id: Uuid,
    first_index: i64,
    next_index: i64,
) -> Result<Vec<StoredChunk>, StoreError> {
    let chunks = sqlx::query_as!(
        StoredChunk,
        "-- store::stream_chunks::overlapping
        SELECT first_index, next_index, item_hashes, response
          FROM stream_chunks
         WHERE organization_id = $1 AND batch_id = $2 AND first_index < $4
           AND first_index >= (SELECT max(first_index)
                                 FROM stream_chunks
                                WHERE organization_id = $1 AND batch_id = $2 AND first_index <= $3)
         ORDER BY first_index",
        organization_id.as_str(),
        batch_id,
        first_index,
        next_index,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(chunks)
}

/// Keeps what a chunk was answered.
pub async fn insert(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    batch_id: Uuid,
    chunk: &StoredChunk,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- store::stream_chunks::insert
        INSERT INTO stream_chunks (batch_id, first_index, next_index, created_at, organization_id, item_hashes, response)
        VALUES ($1, $2, $3, $4, $5, $6, $7)",
        batch_id,
        chunk.first_index,
        chunk.next_index,
        now,
        organization_id.as_str(),
        chunk.item_hashes,
        chunk.response,
    )
    .execute(connection.driver())
    .await?;
    Ok(())
}

/// Forgets chunks that were done before a time, at most `limit`; returns how many.
pub async fn forget(
    connection: &mut Connection<'_>,
    forget_before: OffsetDateTime,
    limit: i64,
) -> Result<u64, StoreError> {
    let forgotten = sqlx::query!(
        "-- store::stream_chunks::forget
        DELETE FROM stream_chunks
         WHERE (organization_id, batch_id, first_index) IN (
               SELECT organization_id, batch_id, first_index
                 FROM stream_chunks
                WHERE created_at <= $1
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
        forget_before,
        limit,
    )
    .execute(connection.driver())
    .await?;
    Ok(forgotten.rows_affected())
}

//! The `stream_chunks` table: stored responses to the chunks of a stream, for clients that send the stream again.
//! The chunks of a batch have no gaps, because a writer must have locked the idempotency key of the stream.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Result};
use crate::domain::ids::OrganizationId;

pub struct StoredChunk {
    /// The index of the first item in the stream.
    pub first_index: i64,
    /// The index after the last item.
    pub next_index: i64,
    /// A hash of 8 bytes for each item.
    pub item_hashes: Vec<u8>,
    pub response: Vec<u8>,
}

/// Returns the index after the last processed item of a batch, 0 if there is none.
pub async fn next_index(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    batch_id: Uuid,
) -> Result<i64> {
    let query = sqlx::query_scalar!(
        "-- store::stream_chunks::next_index
        SELECT next_index
          FROM stream_chunks
         WHERE organization_id = $1 AND batch_id = $2
         ORDER BY organization_id DESC, batch_id DESC, first_index DESC
         LIMIT 1",
        organization_id.as_str(),
        batch_id,
    );
    Ok(connection.fetch_optional(query).await?.unwrap_or(0))
}

/// Returns the chunks that overlap the items from `first_index` to before `next_index`, in order.
pub async fn overlapping(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    batch_id: Uuid,
    first_index: i64,
    next_index: i64,
) -> Result<Vec<StoredChunk>> {
    let query = sqlx::query_as!(
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
    );
    connection.fetch_all(query).await
}

pub async fn insert(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    batch_id: Uuid,
    chunk: &StoredChunk,
    now: OffsetDateTime,
) -> Result<()> {
    let query = sqlx::query!(
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
    );
    connection.execute(query).await?;
    Ok(())
}

/// Deletes chunks that were processed by a time, and returns how many.
pub async fn purge(
    connection: &mut Connection<'_>,
    processed_by: OffsetDateTime,
    limit: i64,
) -> Result<u64> {
    let query = sqlx::query!(
        "-- store::stream_chunks::purge
        DELETE FROM stream_chunks
         WHERE (organization_id, batch_id, first_index) IN (
               SELECT organization_id, batch_id, first_index
                 FROM stream_chunks
                WHERE created_at <= $1
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
        processed_by,
        limit,
    );
    connection.execute(query).await
}

//! The `idempotency_keys` table: requests that may be repeated, and their responses.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Result};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    pub organization_id: String,
    pub caller: String,
    pub method: &'static str,
    pub request_id: Uuid,
}

pub struct StoredRequest {
    /// SHA-256 of the request.
    pub request_hash: Vec<u8>,
    pub response: Option<Vec<u8>>,
}

/// Claims a key, or returns `false` if another request claimed it after `expired_by`. Waits for a concurrent request.
pub async fn claim(
    connection: &mut Connection<'_>,
    key: &RequestKey,
    request_hash: &[u8],
    now: OffsetDateTime,
    expired_by: OffsetDateTime,
) -> Result<bool> {
    let query = sqlx::query!(
        "-- store::idempotency_keys::claim
        INSERT INTO idempotency_keys (organization_id, caller, method, request_id, request_hash, created_at)
        VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (organization_id, caller, method, request_id) DO UPDATE
           SET request_hash = excluded.request_hash, created_at = excluded.created_at, response = NULL
         WHERE idempotency_keys.created_at <= $7",
        key.organization_id,
        key.caller,
        key.method,
        key.request_id,
        request_hash,
        now,
        expired_by,
    );
    Ok(connection.execute(query).await? == 1)
}

/// Returns the request that claimed a key after `expired_by`.
pub async fn get(
    connection: &mut Connection<'_>,
    key: &RequestKey,
    expired_by: OffsetDateTime,
) -> Result<Option<StoredRequest>> {
    let query = sqlx::query_as!(
        StoredRequest,
        "-- store::idempotency_keys::get
        SELECT request_hash, response
          FROM idempotency_keys
         WHERE organization_id = $1 AND caller = $2 AND method = $3 AND request_id = $4 AND created_at > $5",
        key.organization_id,
        key.caller,
        key.method,
        key.request_id,
        expired_by,
    );
    connection.fetch_optional(query).await
}

/// Returns a request that is processed in many transactions, and locks its key until this transaction ends.
pub async fn lock(
    connection: &mut Connection<'_>,
    key: &RequestKey,
) -> Result<Option<StoredRequest>> {
    let query = sqlx::query_as!(
        StoredRequest,
        "-- store::idempotency_keys::lock
        SELECT request_hash, response
          FROM idempotency_keys
         WHERE organization_id = $1 AND caller = $2 AND method = $3 AND request_id = $4
           FOR NO KEY UPDATE",
        key.organization_id,
        key.caller,
        key.method,
        key.request_id,
    );
    connection.fetch_optional(query).await
}

/// Stores the response under a key that this transaction claimed.
pub async fn set_response(
    connection: &mut Connection<'_>,
    key: &RequestKey,
    response: &[u8],
) -> Result<()> {
    let query = sqlx::query!(
        "-- store::idempotency_keys::set_response
        UPDATE idempotency_keys SET response = $5
         WHERE organization_id = $1 AND caller = $2 AND method = $3 AND request_id = $4",
        key.organization_id,
        key.caller,
        key.method,
        key.request_id,
        response,
    );
    connection.execute(query).await?;
    Ok(())
}

/// Deletes requests that were made by a time, and returns how many.
pub async fn purge(
    connection: &mut Connection<'_>,
    expired_by: OffsetDateTime,
    limit: i64,
) -> Result<u64> {
    let query = sqlx::query!(
        "-- store::idempotency_keys::purge
        DELETE FROM idempotency_keys
         WHERE (organization_id, caller, method, request_id) IN (
               SELECT organization_id, caller, method, request_id
                 FROM idempotency_keys
                WHERE created_at <= $1
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
        expired_by,
        limit,
    );
    connection.execute(query).await
}

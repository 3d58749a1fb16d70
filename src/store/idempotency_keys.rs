//! The `idempotency_keys` table: calls that may be repeated, and what they were answered.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;

/// Whose call it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    /// The organization.
    pub organization_id: String,
    /// The name of the caller.
    pub caller: String,
    /// Which call.
    pub method: &'static str,
    /// The caller's id for it.
    pub request_id: Uuid,
}

/// A call that was made before.
pub struct StoredRequest {
    /// SHA-256 of what was asked.
    pub request_hash: Vec<u8>,
    /// What was answered.
    pub response: Option<Vec<u8>>,
}

/// Claims a key for this transaction; `false` if a younger call holds it. Waits for a call that is in flight: when it
/// commits the key is taken, when it rolls back the key is ours.
pub async fn claim(
    connection: &mut Connection<'_>,
    key: &RequestKey,
    request_hash: &[u8],
    now: OffsetDateTime,
    forget_before: OffsetDateTime,
) -> Result<bool, StoreError> {
    let claimed = sqlx::query!(
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
        forget_before,
    )
    .execute(connection.driver())
    .await?;
    Ok(claimed.rows_affected() == 1)
}

/// What is known of an earlier call under this key.
pub async fn get(
    connection: &mut Connection<'_>,
    key: &RequestKey,
    forget_before: OffsetDateTime,
) -> Result<Option<StoredRequest>, StoreError> {
    let stored = sqlx::query_as!(
        StoredRequest,
        "-- store::idempotency_keys::get
        SELECT request_hash, response
          FROM idempotency_keys
         WHERE organization_id = $1 AND caller = $2 AND method = $3 AND request_id = $4 AND created_at > $5",
        key.organization_id,
        key.caller,
        key.method,
        key.request_id,
        forget_before,
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(stored)
}

/// Holds the key of a call that goes on in many transactions, so that twins of it take turns; returns what is kept under it.
pub async fn lock(
    connection: &mut Connection<'_>,
    key: &RequestKey,
) -> Result<Option<StoredRequest>, StoreError> {
    let stored = sqlx::query_as!(
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
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(stored)
}

/// Keeps the answer of a call whose key this transaction claimed.
pub async fn set_response(
    connection: &mut Connection<'_>,
    key: &RequestKey,
    response: &[u8],
) -> Result<(), StoreError> {
    sqlx::query!(
        "-- store::idempotency_keys::set_response
        UPDATE idempotency_keys SET response = $5
         WHERE organization_id = $1 AND caller = $2 AND method = $3 AND request_id = $4",
        key.organization_id,
        key.caller,
        key.method,
        key.request_id,
        response,
    )
    .execute(connection.driver())
    .await?;
    Ok(())
}

/// Forgets calls that were made before a time, at most `limit`; returns how many.
pub async fn forget(
    connection: &mut Connection<'_>,
    forget_before: OffsetDateTime,
    limit: i64,
) -> Result<u64, StoreError> {
    let forgotten = sqlx::query!(
        "-- store::idempotency_keys::forget
        DELETE FROM idempotency_keys
         WHERE (organization_id, caller, method, request_id) IN (
               SELECT organization_id, caller, method, request_id
                 FROM idempotency_keys
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

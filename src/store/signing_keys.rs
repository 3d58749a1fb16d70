//! The `signing_keys` table: which keys were ever loaded.

use super::Connection;
use time::OffsetDateTime;

use super::StoreError;

/// A key that was loaded once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    /// Its id in the keys file.
    pub key_id: i16,
    /// Derived from it one way.
    pub check_value: Vec<u8>,
}

/// Records keys that are not known yet.
pub async fn insert_new(
    connection: &mut Connection<'_>,
    keys: &[SigningKeyRow],
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let ids: Vec<i16> = keys.iter().map(|key| key.key_id).collect();
    let check_values: Vec<Vec<u8>> = keys.iter().map(|key| key.check_value.clone()).collect();
    sqlx::query!(
        "-- store::signing_keys::insert_new
        INSERT INTO signing_keys (key_id, check_value, created_at)
        SELECT key_id, check_value, $3 FROM UNNEST($1::smallint[], $2::bytea[]) AS t (key_id, check_value)
            ON CONFLICT DO NOTHING",
        &ids,
        &check_values,
        now,
    )
    .execute(connection.driver())
    .await?;
    Ok(())
}

/// Every key that was ever loaded.
pub async fn list(connection: &mut Connection<'_>) -> Result<Vec<SigningKeyRow>, StoreError> {
    let keys = sqlx::query_as!(
        SigningKeyRow,
        "-- store::signing_keys::list
        SELECT key_id, check_value FROM signing_keys ORDER BY key_id",
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(keys)
}

/// Whether a link that may still be followed was made with a key.
pub async fn is_needed(
    connection: &mut Connection<'_>,
    key_id: i16,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let is_needed = sqlx::query_scalar!(
        r#"-- store::signing_keys::is_needed
        SELECT EXISTS (
               SELECT FROM invitations
                WHERE key_id = $1 AND state = 'pending' AND expires_at > $2) AS "is_needed!""#,
        key_id,
        now,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(is_needed)
}

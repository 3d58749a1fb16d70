//! The `signing_keys` table: every key that was ever loaded.

use time::OffsetDateTime;

use super::{Connection, Result, column};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    /// The id in the keys file.
    pub key_id: i16,
    /// A one-way derivation of the key, which tells whether the key is still the same.
    pub check_value: Vec<u8>,
}

/// Inserts the keys whose ids are new, and returns how many there were.
pub async fn insert_new(
    connection: &mut Connection<'_>,
    keys: &[SigningKeyRow],
    now: OffsetDateTime,
) -> Result<usize> {
    let query = sqlx::query!(
        "-- store::signing_keys::insert_new
        INSERT INTO signing_keys (key_id, check_value, created_at)
        SELECT key_id, check_value, $3 FROM UNNEST($1::smallint[], $2::bytea[]) AS t (key_id, check_value)
            ON CONFLICT DO NOTHING",
        &column(keys, |key| key.key_id),
        &column(keys, |key| key.check_value.as_slice()) as &[&[u8]],
        now,
    );
    let inserted = connection.execute(query).await?;
    Ok(usize::try_from(inserted).unwrap_or(usize::MAX))
}

pub async fn list(connection: &mut Connection<'_>) -> Result<Vec<SigningKeyRow>> {
    let query = sqlx::query_as!(
        SigningKeyRow,
        "-- store::signing_keys::list
        SELECT key_id, check_value FROM signing_keys ORDER BY key_id",
    );
    connection.fetch_all(query).await
}

/// Whether a valid link was made with a key.
pub async fn is_needed(
    connection: &mut Connection<'_>,
    key_id: i16,
    now: OffsetDateTime,
) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"-- store::signing_keys::is_needed
        SELECT EXISTS (
               SELECT FROM invitations
                WHERE key_id = $1 AND state = 'pending' AND expires_at > $2) AS "is_needed!""#,
        key_id,
        now,
    );
    connection.fetch_one(query).await
}

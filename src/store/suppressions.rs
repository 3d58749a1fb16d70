//! The `suppressions` table: the suppression list. It stores addresses as keyed hashes.

use time::OffsetDateTime;

use super::columns::column;
use super::{Connection, StoreError};
use crate::domain::address_tag::{AddressTag, TAG_BYTES};
use crate::domain::ids::OrganizationId;
use crate::domain::suppression::SuppressionKey;
use crate::domain::suppression::{Suppression, SuppressionReason};

/// A suppression to upsert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionRow {
    /// Empty to suppress the address for all organizations.
    pub organization_id: String,
    pub tag: AddressTag,
    pub reason: SuppressionReason,
    /// `None` if the suppression does not expire.
    pub expires_at: Option<OffsetDateTime>,
}

/// A suppression that was inserted or replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpsertedSuppression {
    pub tag: [u8; TAG_BYTES],
    /// Whether the address was suppressed before.
    pub was_suppressed: bool,
}

/// Inserts suppressions, or replaces those that are not stronger. Returns the ones that were written. No two rows may
/// have the same organization and tag. The rows are locked in the order of their keys, so that overlapping calls do not
/// deadlock.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    rows: &[SuppressionRow],
    now: OffsetDateTime,
) -> Result<Vec<UpsertedSuppression>, StoreError> {
    let mut sorted: Vec<&SuppressionRow> = rows.iter().collect();
    sorted.sort_unstable_by_key(|row| (&row.organization_id, row.tag.bytes));
    let rows = sqlx::query!(
        r#"-- store::suppressions::upsert_many
        WITH written AS (
            INSERT INTO suppressions AS s (created_at, organization_id, address_tag, key_id, reason, expires_at)
            SELECT $1, organization_id, address_tag, key_id, reason, expires_at
              FROM UNNEST($2::text[], $3::bytea[], $4::smallint[], $5::text[], $6::timestamptz[])
                   AS t (organization_id, address_tag, key_id, reason, expires_at)
                ON CONFLICT (organization_id, address_tag) DO UPDATE
               SET created_at = excluded.created_at, reason = excluded.reason, expires_at = excluded.expires_at
             WHERE (coalesce(excluded.expires_at, 'infinity'), array_position($7::text[], excluded.reason))
                   >= (coalesce(s.expires_at, 'infinity'), array_position($7::text[], s.reason))
            RETURNING s.organization_id, s.address_tag
        )
        SELECT address_tag,
               -- Reads the table as it was before this statement.
               EXISTS (SELECT FROM suppressions s
                        WHERE s.organization_id = written.organization_id AND s.address_tag = written.address_tag
                          AND (s.expires_at IS NULL OR s.expires_at > $1)) AS "was_suppressed!"
          FROM written"#,
        now,
        &column(&sorted, |row| row.organization_id.as_str()) as &[&str],
        &column(&sorted, |row| row.tag.bytes.as_slice()) as &[&[u8]],
        &column(&sorted, |row| i16::from(row.tag.key_id)),
        &column(&sorted, |row| row.reason.as_str()) as &[&str],
        &column(&sorted, |row| row.expires_at) as &[Option<OffsetDateTime>],
        &weakest_first() as &[&str],
    )
    .fetch_all(connection.driver())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(UpsertedSuppression {
                tag: bytes(&row.address_tag)?,
                was_suppressed: row.was_suppressed,
            })
        })
        .collect()
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressedAddress {
    /// The organization in the request.
    pub organization_id: String,
    pub tag: [u8; TAG_BYTES],
    /// The strongest reason, for this organization or for all.
    pub reason: SuppressionReason,
}

/// Returns the reasons why addresses are suppressed for an organization, with their tags. A tag may be returned several
/// times. Pass every tag of an address: a suppression may be older than the current key.
pub async fn reasons(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    tags: &[&[u8]],
    now: OffsetDateTime,
) -> Result<Vec<([u8; TAG_BYTES], SuppressionReason)>, StoreError> {
    let rows = sqlx::query!(
        "-- store::suppressions::reasons
        SELECT address_tag, reason
          FROM suppressions
         WHERE address_tag = ANY ((SELECT $2::bytea[])::bytea[]) AND organization_id IN ($1, '')
           AND (expires_at IS NULL OR expires_at > $3)",
        organization_id.as_str(),
        tags as &[&[u8]],
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    rows.into_iter()
        .map(|row| Ok((bytes(&row.address_tag)?, reason(&row.reason)?)))
        .collect()
}

/// Returns which of the (organization, address) pairs are suppressed now. Pass every tag of an address: a suppression
/// may be older than the current key. For many addresses, call
/// [`force_custom_plans`](super::planner::force_custom_plans) first.
pub async fn find(
    connection: &mut Connection<'_>,
    requested: &[(&str, AddressTag)],
    now: OffsetDateTime,
) -> Result<Vec<SuppressedAddress>, StoreError> {
    let rows = sqlx::query!(
        r#"-- store::suppressions::find
        SELECT requested.organization_id AS "organization_id!", requested.address_tag AS "address_tag!",
               strongest.reason AS "reason!"
          FROM UNNEST($1::text[], $2::bytea[]) AS requested (organization_id, address_tag)
         CROSS JOIN LATERAL (
               SELECT s.reason
                 FROM suppressions s
                WHERE s.organization_id = ANY (ARRAY[requested.organization_id COLLATE "C", ''])
                  AND s.address_tag = requested.address_tag
                  AND (s.expires_at IS NULL OR s.expires_at > $3)
                ORDER BY array_position($4::text[], s.reason) DESC
                LIMIT 1) AS strongest"#,
        &column(requested, |(id, _)| *id) as &[&str],
        &column(requested, |(_, tag)| tag.bytes.as_slice()) as &[&[u8]],
        now,
        &weakest_first() as &[&str],
    )
    .fetch_all(connection.driver())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(SuppressedAddress {
                organization_id: row.organization_id,
                tag: bytes(&row.address_tag)?,
                reason: reason(&row.reason)?,
            })
        })
        .collect()
}

#[derive(Default)]
pub struct SuppressionFilter {
    pub organization_id: Option<String>,
    /// The tags of an address.
    pub tags: Option<Vec<AddressTag>>,
    pub reason: Option<SuppressionReason>,
}

/// Returns the suppressions that have not expired and whose key is greater than `after`, by their key, at most `limit`.
pub async fn list(
    connection: &mut Connection<'_>,
    filter: &SuppressionFilter,
    after: Option<&SuppressionKey>,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<Suppression>, StoreError> {
    let tags = filter.tags.as_deref();
    let tags = tags.map(|tags| column(tags, |tag| tag.bytes.as_slice()));
    let rows = sqlx::query!(
        "-- store::suppressions::list
        SELECT organization_id, address_tag, reason, created_at, expires_at
          FROM suppressions
         WHERE ($1::text IS NULL OR organization_id = $1)
           AND ($2::bytea[] IS NULL OR address_tag = ANY($2))
           AND ($3::text IS NULL OR reason = $3)
           AND (organization_id, address_tag) > ($4, $5)
           AND (expires_at IS NULL OR expires_at > $6)
         ORDER BY organization_id, address_tag
         LIMIT $7",
        filter.organization_id.as_deref(),
        tags.as_deref() as Option<&[&[u8]]>,
        filter.reason.map(SuppressionReason::as_str),
        after.map_or("", |key| key.organization_id.as_str()),
        after.map_or(&[][..], |key| key.tag.as_slice()),
        now,
        limit,
    )
    .fetch_all(connection.driver())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Suppression {
                organization_id: row.organization_id,
                tag: bytes(&row.address_tag)?,
                reason: reason(&row.reason)?,
                created_at: row.created_at,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// Deletes the suppressions of addresses for an organization, or those for all organizations if `organization_id` is
/// empty. Returns the tags of addresses that were suppressed. Locks rows in the order of [`upsert_many`].
pub async fn delete_many(
    connection: &mut Connection<'_>,
    organization_id: &str,
    tags: &[AddressTag],
    now: OffsetDateTime,
) -> Result<Vec<[u8; TAG_BYTES]>, StoreError> {
    let rows = sqlx::query!(
        r#"-- store::suppressions::delete_many
        WITH target AS (
            SELECT address_tag
              FROM suppressions
             WHERE organization_id = $1 AND address_tag = ANY($2)
             ORDER BY address_tag
               FOR UPDATE
        )
        DELETE FROM suppressions AS s
         USING target
         WHERE s.organization_id = $1 AND s.address_tag = target.address_tag
        RETURNING s.address_tag, (s.expires_at IS NULL OR s.expires_at > $3) AS "was_suppressed!""#,
        organization_id,
        &column(tags, |tag| tag.bytes.as_slice()) as &[&[u8]],
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    rows.iter()
        .filter(|row| row.was_suppressed)
        .map(|row| bytes(&row.address_tag))
        .collect()
}

/// Deletes suppressions that have expired, at most `limit`, and returns how many.
pub async fn purge(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    limit: i64,
) -> Result<u64, StoreError> {
    let purged = sqlx::query!(
        "-- store::suppressions::purge
        DELETE FROM suppressions
         WHERE (organization_id, address_tag) IN (
               SELECT organization_id, address_tag
                 FROM suppressions
                WHERE expires_at <= $1
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
        now,
        limit,
    )
    .execute(connection.driver())
    .await?;
    Ok(purged.rows_affected())
}

/// Whether the tag of a suppression that has not expired was derived with a key.
pub async fn is_key_needed(
    connection: &mut Connection<'_>,
    key_id: i16,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar!(
        r#"-- store::suppressions::is_key_needed
        SELECT EXISTS (
               SELECT FROM suppressions
                WHERE key_id = $1 AND (expires_at IS NULL OR expires_at > $2)) AS "is_needed!""#,
        key_id,
        now,
    )
    .fetch_one(connection.driver())
    .await?)
}

/// The names of the reasons, from the weakest to the strongest.
fn weakest_first() -> [&'static str; 5] {
    SuppressionReason::ALL.map(SuppressionReason::as_str)
}

fn bytes(stored: &[u8]) -> Result<[u8; TAG_BYTES], StoreError> {
    stored
        .try_into()
        .map_err(|_| StoreError::Inconsistent("suppressions.address_tag"))
}

fn reason(stored: &str) -> Result<SuppressionReason, StoreError> {
    SuppressionReason::from_name(stored).ok_or(StoreError::Inconsistent("suppressions.reason"))
}

//! The `suppressions` table: the suppression list. It stores addresses as keyed hashes.

use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type};
use time::OffsetDateTime;

use super::{Connection, Result, StoreError, column};
use crate::domain::address_tag::{AddressTag, TAG_BYTES};
use crate::domain::ids::OrganizationId;
use crate::domain::suppression::{Suppression, SuppressionKey, SuppressionReason};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionRow {
    /// Empty to suppress the address for all organizations.
    pub organization_id: String,
    pub tag: AddressTag,
    pub reason: SuppressionReason,
    /// `None` if the suppression does not expire.
    pub expires_at: Option<OffsetDateTime>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpsertedSuppression {
    pub tag: [u8; TAG_BYTES],
    pub was_suppressed: bool,
}

/// Inserts suppressions, or replaces those that are not stronger. Returns what was written. The keys must be distinct.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    rows: &[SuppressionRow],
    now: OffsetDateTime,
) -> Result<Vec<UpsertedSuppression>> {
    let mut sorted: Vec<&SuppressionRow> = rows.iter().collect();
    sorted.sort_unstable_by_key(|row| (&row.organization_id, row.tag.bytes));
    let query = sqlx::query_as!(
        UpsertedSuppression,
        r#"-- store::suppressions::upsert_many
        WITH written AS (
            INSERT INTO suppressions AS s (created_at, organization_id, address_tag, key_id, reason, expires_at)
            SELECT $1, * FROM UNNEST($2::text[], $3::bytea[], $4::smallint[], $5::text[], $6::timestamptz[])
                ON CONFLICT (organization_id, address_tag) DO UPDATE
               SET created_at = excluded.created_at, reason = excluded.reason, expires_at = excluded.expires_at
             WHERE (coalesce(excluded.expires_at, 'infinity'), array_position($7::text[], excluded.reason))
                   >= (coalesce(s.expires_at, 'infinity'), array_position($7::text[], s.reason))
            RETURNING s.organization_id, s.address_tag
        )
        SELECT address_tag AS "tag: [u8; TAG_BYTES]",
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
    );
    connection.fetch_all(query).await
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
) -> Result<Vec<([u8; TAG_BYTES], SuppressionReason)>> {
    let query = sqlx::query!(
        r#"-- store::suppressions::reasons
        SELECT address_tag AS "tag: [u8; TAG_BYTES]", reason AS "reason: SuppressionReason"
          FROM suppressions
         WHERE address_tag = ANY ((SELECT $2::bytea[])::bytea[]) AND organization_id IN ($1, '')
           AND (expires_at IS NULL OR expires_at > $3)"#,
        organization_id.as_str(),
        tags as &[&[u8]],
        now,
    )
    .map(|row| (row.tag, row.reason));
    connection.fetch_all(query).await
}

/// Returns which of the (organization, address) pairs are suppressed now. Pass every tag of an address: a suppression
/// may be older than the current key. For many addresses, call
/// [`force_custom_plans`](super::planner::force_custom_plans) first.
pub async fn find(
    connection: &mut Connection<'_>,
    requested: &[(&str, AddressTag)],
    now: OffsetDateTime,
) -> Result<Vec<SuppressedAddress>> {
    let query = sqlx::query_as!(
        SuppressedAddress,
        r#"-- store::suppressions::find
        SELECT requested.organization_id AS "organization_id!", requested.address_tag AS "tag!: [u8; TAG_BYTES]",
               strongest.reason AS "reason!: SuppressionReason"
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
    );
    connection.fetch_all(query).await
}

#[derive(Default)]
pub struct SuppressionFilter {
    pub organization_id: Option<String>,
    pub tags: Option<Vec<AddressTag>>,
    pub reason: Option<SuppressionReason>,
}

/// Returns the suppressions that have not expired and whose key is greater than `after`, by their key.
pub async fn list(
    connection: &mut Connection<'_>,
    filter: &SuppressionFilter,
    after: Option<&SuppressionKey>,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<Suppression>> {
    let tags = filter.tags.as_deref();
    let tags = tags.map(|tags| column(tags, |tag| tag.bytes.as_slice()));
    let query = sqlx::query_as!(
        Suppression,
        r#"-- store::suppressions::list
        SELECT organization_id, address_tag AS "tag: [u8; TAG_BYTES]", reason AS "reason: SuppressionReason",
               created_at, expires_at
          FROM suppressions
         WHERE ($1::text IS NULL OR organization_id = $1)
           AND ($2::bytea[] IS NULL OR address_tag = ANY($2))
           AND ($3::text IS NULL OR reason = $3)
           AND (organization_id, address_tag) > ($4, $5)
           AND (expires_at IS NULL OR expires_at > $6)
         ORDER BY organization_id, address_tag
         LIMIT $7"#,
        filter.organization_id.as_deref(),
        tags.as_deref() as Option<&[&[u8]]>,
        filter.reason.map(SuppressionReason::as_str),
        after.map_or("", |key| key.organization_id.as_str()),
        after.map_or(&[][..], |key| key.tag.as_slice()),
        now,
        limit,
    );
    connection.fetch_all(query).await
}

/// Deletes the suppressions of addresses for an organization, or those for all organizations if `organization_id` is
/// empty. Returns the tags of addresses that were suppressed.
pub async fn delete_many(
    connection: &mut Connection<'_>,
    organization_id: &str,
    tags: &[AddressTag],
    now: OffsetDateTime,
) -> Result<Vec<[u8; TAG_BYTES]>> {
    let query = sqlx::query!(
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
        RETURNING s.address_tag AS "tag: [u8; TAG_BYTES]", (s.expires_at IS NULL OR s.expires_at > $3) AS "was_suppressed!""#,
        organization_id,
        &column(tags, |tag| tag.bytes.as_slice()) as &[&[u8]],
        now,
    );
    let rows: Vec<_> = connection.fetch_all(query).await?;
    let suppressed = rows.into_iter().filter(|row| row.was_suppressed);
    Ok(suppressed.map(|row| row.tag).collect())
}

/// Deletes suppressions that have expired, and returns how many.
pub async fn purge(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    limit: i64,
) -> Result<u64> {
    let query = sqlx::query!(
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
    );
    connection.execute(query).await
}

/// Whether the tag of a suppression that has not expired was derived with a key.
pub async fn is_key_needed(
    connection: &mut Connection<'_>,
    key_id: i16,
    now: OffsetDateTime,
) -> Result<bool> {
    let query = sqlx::query_scalar!(
        r#"-- store::suppressions::is_key_needed
        SELECT EXISTS (
               SELECT FROM suppressions
                WHERE key_id = $1 AND (expires_at IS NULL OR expires_at > $2)) AS "is_needed!""#,
        key_id,
        now,
    );
    connection.fetch_one(query).await
}

/// The names of the reasons, from the weakest to the strongest.
fn weakest_first() -> [&'static str; 5] {
    SuppressionReason::ALL.map(SuppressionReason::as_str)
}

impl Decode<'_, Postgres> for SuppressionReason {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let name = <&str as Decode<Postgres>>::decode(value)?;
        Ok(Self::from_name(name).ok_or(StoreError::Inconsistent("suppressions.reason"))?)
    }
}

impl Type<Postgres> for SuppressionReason {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

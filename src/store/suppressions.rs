//! The `suppressions` table: which addresses get no mail, as keyed hashes. It names nobody.

use super::Connection;
use time::OffsetDateTime;

use super::StoreError;
use crate::domain::address_tag::{AddressTag, TAG_BYTES};
use crate::domain::ids::OrganizationId;
use crate::domain::suppression::{Suppression, SuppressionReason};

/// A suppression to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionRow {
    /// The organization whose invitations it stops; empty for those of all.
    pub organization_id: String,
    /// What stands for the address.
    pub tag: AddressTag,
    /// Why.
    pub reason: SuppressionReason,
    /// When it ends by itself; `None` for never.
    pub expires_at: Option<OffsetDateTime>,
}

/// A suppression that was written. One that is missing among these lost against a stronger one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// What stands for the address.
    pub tag: [u8; TAG_BYTES],
    /// Whether the address was suppressed already.
    pub was_suppressed: bool,
}

/// Adds suppressions, in one statement over arrays; one that is there stays if it is the stronger. No two rows may be
/// of one organization and tag.
///
/// Sorts the rows by their key: two calls that overlap would otherwise lock each other's rows in opposite order.
pub async fn upsert_many(
    connection: &mut Connection<'_>,
    rows: &[SuppressionRow],
    now: OffsetDateTime,
) -> Result<Vec<Written>, StoreError> {
    let mut sorted: Vec<&SuppressionRow> = rows.iter().collect();
    sorted.sort_unstable_by_key(|row| (&row.organization_id, row.tag.bytes));
    let organization_ids: Vec<&str> = sorted
        .iter()
        .map(|row| row.organization_id.as_str())
        .collect();
    let tags: Vec<&[u8]> = sorted.iter().map(|row| row.tag.bytes.as_slice()).collect();
    let key_ids: Vec<i16> = sorted.iter().map(|row| i16::from(row.tag.key_id)).collect();
    let reasons: Vec<&str> = sorted.iter().map(|row| row.reason.as_str()).collect();
    let expiries: Vec<Option<OffsetDateTime>> = sorted.iter().map(|row| row.expires_at).collect();
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
               -- As it was before this statement.
               EXISTS (SELECT FROM suppressions s
                        WHERE s.organization_id = written.organization_id AND s.address_tag = written.address_tag
                          AND (s.expires_at IS NULL OR s.expires_at > $1)) AS "was_suppressed!"
          FROM written"#,
        now,
        &organization_ids as &[&str],
        &tags as &[&[u8]],
        &key_ids,
        &reasons as &[&str],
        &expiries as &[Option<OffsetDateTime>],
        &weakest_first() as &[&str],
    )
    .fetch_all(connection.driver())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Written {
                tag: bytes(&row.address_tag)?,
                was_suppressed: row.was_suppressed,
            })
        })
        .collect()
}

/// An address that is suppressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppressed {
    /// The organization it was asked for.
    pub organization_id: String,
    /// What stands for the address.
    pub tag: [u8; TAG_BYTES],
    /// The strongest reason there is, for this organization or for all.
    pub reason: SuppressionReason,
}

/// Why those of an organization's addresses are suppressed that are: each reason there is, by tag, the same tag maybe more
/// than once. Ask with every tag an address has. The array comes out of a subquery as in `users::owners`.
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

/// Those of the addresses that are suppressed now, each asked for with the organization that would invite it, in one
/// statement. Ask with every tag an address has: its suppression may be older than the key that signs.
///
/// Each one is looked up by itself, as in `invitations::pending_for`. Where many are asked for, do it in a
/// transaction that is planned afresh.
pub async fn find(
    connection: &mut Connection<'_>,
    asked: &[(&str, AddressTag)],
    now: OffsetDateTime,
) -> Result<Vec<Suppressed>, StoreError> {
    let organization_ids: Vec<&str> = asked.iter().map(|(id, _)| *id).collect();
    let tags: Vec<&[u8]> = asked.iter().map(|(_, tag)| tag.bytes.as_slice()).collect();
    let rows = sqlx::query!(
        r#"-- store::suppressions::find
        SELECT asked.organization_id AS "organization_id!", asked.address_tag AS "address_tag!",
               found.reason AS "reason!"
          FROM UNNEST($1::text[], $2::bytea[]) AS asked (organization_id, address_tag)
         CROSS JOIN LATERAL (
               SELECT s.reason
                 FROM suppressions s
                WHERE s.organization_id = ANY (ARRAY[asked.organization_id COLLATE "C", ''])
                  AND s.address_tag = asked.address_tag
                  AND (s.expires_at IS NULL OR s.expires_at > $3)
                ORDER BY array_position($4::text[], s.reason) DESC
                LIMIT 1) AS found"#,
        &organization_ids as &[&str],
        &tags as &[&[u8]],
        now,
        &weakest_first() as &[&str],
    )
    .fetch_all(connection.driver())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Suppressed {
                organization_id: row.organization_id,
                tag: bytes(&row.address_tag)?,
                reason: reason(&row.reason)?,
            })
        })
        .collect()
}

/// What a list of suppressions is narrowed to.
#[derive(Default)]
pub struct SuppressionFilter {
    /// Only those of this organization.
    pub organization_id: Option<String>,
    /// Only those of an address with one of these tags.
    pub tags: Option<Vec<AddressTag>>,
    /// Only those for this reason.
    pub reason: Option<SuppressionReason>,
}

/// A place in the list: the key of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionKey {
    /// The organization, or empty.
    pub organization_id: String,
    /// What stands for the address.
    pub tag: [u8; TAG_BYTES],
}

/// The suppressions that hold now by organization and tag, those after `after` alone, at most `limit`.
pub async fn list(
    connection: &mut Connection<'_>,
    filter: &SuppressionFilter,
    after: Option<&SuppressionKey>,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<Suppression>, StoreError> {
    let tags: Option<Vec<&[u8]>> = filter
        .tags
        .as_ref()
        .map(|tags| tags.iter().map(|tag| tag.bytes.as_slice()).collect());
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

/// Takes addresses off the list of an organization, or off that of all if it is empty; returns the tags of those that
/// were suppressed. Locks in the order of [`upsert_many`].
pub async fn delete_many(
    connection: &mut Connection<'_>,
    organization_id: &str,
    tags: &[AddressTag],
    now: OffsetDateTime,
) -> Result<Vec<[u8; TAG_BYTES]>, StoreError> {
    let tags: Vec<&[u8]> = tags.iter().map(|tag| tag.bytes.as_slice()).collect();
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
        &tags as &[&[u8]],
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    rows.iter()
        .filter(|row| row.was_suppressed)
        .map(|row| bytes(&row.address_tag))
        .collect()
}

/// Deletes suppressions that have ended, at most `limit`; returns how many.
pub async fn purge_expired(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    limit: i64,
) -> Result<u64, StoreError> {
    let purged = sqlx::query!(
        "-- store::suppressions::purge_expired
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

/// Whether a suppression that holds was made with a key.
pub async fn is_key_needed(
    connection: &mut Connection<'_>,
    key_id: i16,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let is_needed = sqlx::query_scalar!(
        r#"-- store::suppressions::is_key_needed
        SELECT EXISTS (
               SELECT FROM suppressions
                WHERE key_id = $1 AND (expires_at IS NULL OR expires_at > $2)) AS "is_needed!""#,
        key_id,
        now,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(is_needed)
}

/// The names of the reasons as the statements compare them.
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

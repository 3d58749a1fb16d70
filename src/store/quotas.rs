//! The `organization_quotas` and `address_quotas` tables, and the counts that other quotas depend on.
//!
//! A transaction reserves quota as its last step: first for addresses, in the order of their hashes, then for the
//! organization. After the row of the organization it takes no further lock. So transactions wait for each other only
//! briefly and cannot deadlock. If a reservation fails, the transaction must be rolled back.

use std::collections::{HashMap, HashSet};

use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::{Connection, Result};
use crate::domain::ids::OrganizationId;
use crate::domain::quota::RecentMails;

/// Reserves one email for each address whose quota is not exhausted, and returns their hashes. `hashes` must be sorted.
pub async fn reserve_addresses(
    connection: &mut Connection<'_>,
    day: Date,
    hashes: &[i64],
    limit: u32,
) -> Result<HashSet<i64>> {
    debug_assert!(hashes.is_sorted(), "unsorted batches deadlock");
    let query = sqlx::query_scalar!(
        "-- store::quotas::reserve_addresses
        INSERT INTO address_quotas AS q (address_hash, day, used)
        SELECT address_hash, $1, 1 FROM UNNEST($2::bigint[]) AS t (address_hash)
            ON CONFLICT (day, address_hash) DO UPDATE SET used = q.used + 1 WHERE q.used < $3
        RETURNING address_hash",
        day,
        hashes,
        i32::try_from(limit).unwrap_or(i32::MAX),
    );
    connection.fetch_all(query).await
}

/// Returns the hashes of addresses whose quota is exhausted.
pub async fn exhausted_addresses(
    connection: &mut Connection<'_>,
    day: Date,
    hashes: &[i64],
    limit: u32,
) -> Result<HashSet<i64>> {
    let query = sqlx::query_scalar!(
        r#"-- store::quotas::exhausted_addresses
        SELECT requested.address_hash AS "address_hash!"
          FROM UNNEST($2::bigint[]) AS requested (address_hash)
         CROSS JOIN LATERAL (
               SELECT used FROM address_quotas WHERE day = $1 AND address_hash = requested.address_hash LIMIT 1) AS q
         WHERE q.used >= $3"#,
        day,
        hashes,
        i32::try_from(limit).unwrap_or(i32::MAX),
    );
    connection.fetch_all(query).await
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaReservation {
    /// An upper bound of how many invitations are pending. `None` if they were not counted on this day yet.
    pub pending_at_most: Option<i64>,
}

/// Reserves `count` invitations of an organization, `new_pending` of which were not pending before. Returns `None` if
/// the quota has no room for all of them. Other reservations of the organization wait until the transaction ends.
pub async fn reserve_organization(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    day: Date,
    (count, new_pending): (i64, i64),
    limit: Option<u32>,
) -> Result<Option<QuotaReservation>> {
    let query = sqlx::query_as!(
        QuotaReservation,
        "-- store::quotas::reserve_organization
        INSERT INTO organization_quotas AS q (organization_id, day, used)
        SELECT $1, $2, $3 WHERE $3 <= $4::bigint
            ON CONFLICT (organization_id, day) DO UPDATE
           SET used = q.used + excluded.used, pending_at_most = q.pending_at_most + $5
         WHERE q.used + excluded.used <= $4
        RETURNING pending_at_most",
        organization_id.as_str(),
        day,
        count,
        limit.map_or(i64::MAX, i64::from),
        new_pending,
    );
    connection.fetch_optional(query).await
}

/// Counts the pending invitations of an organization and stores the count, so that later calls need not count. Returns
/// `false` if there are more than `limit`. Must follow [`reserve_organization`] as a statement of its own, so that it
/// sees everything that was committed before the organization's row was locked.
pub async fn recount_pending(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    day: Date,
    now: OffsetDateTime,
    limit: u32,
) -> Result<bool> {
    let query = sqlx::query!(
        "-- store::quotas::recount_pending
        WITH pending AS (
            SELECT
              FROM invitations
             WHERE organization_id = $1 AND state = 'pending' AND expires_at > $3
             ORDER BY organization_id, email_normalized
             LIMIT $4::bigint + 1
        ), counted AS (
            SELECT count(*) AS count FROM pending
        )
        UPDATE organization_quotas AS q SET pending_at_most = counted.count
          FROM counted
         WHERE q.organization_id = $1 AND q.day = $2 AND counted.count <= $4",
        organization_id.as_str(),
        day,
        now,
        i64::from(limit),
    );
    Ok(connection.execute(query).await? == 1)
}

pub async fn used_by_organization(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    day: Date,
) -> Result<i64> {
    let query = sqlx::query_scalar!(
        "-- store::quotas::used_by_organization
        SELECT used FROM organization_quotas WHERE organization_id = $1 AND day = $2",
        organization_id.as_str(),
        day,
    );
    Ok(connection.fetch_optional(query).await?.unwrap_or_default())
}

/// Counts the invitations of an organization that can be accepted now, up to `most`.
pub async fn count_pending(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    now: OffsetDateTime,
    most: i64,
) -> Result<i64> {
    let query = sqlx::query_scalar!(
        r#"-- store::quotas::count_pending
        SELECT count(*) AS "count!"
          FROM (SELECT
                  FROM invitations
                 WHERE organization_id = $1 AND state = 'pending' AND expires_at > $2
                 ORDER BY organization_id, email_normalized
                 LIMIT $3) AS pending"#,
        organization_id.as_str(),
        now,
        most,
    );
    connection.fetch_one(query).await
}

pub struct MailHistory {
    pub recent: RecentMails,
    /// The number of the latest email, 0 if there was none.
    pub send_seq: i32,
}

/// Returns the emails of invitations by their ids. First emails and reminders do not count as resends.
pub async fn mail_history(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    ids: &[Uuid],
    resent_since: OffsetDateTime,
) -> Result<HashMap<Uuid, MailHistory>> {
    let query = sqlx::query!(
        r#"-- store::quotas::mail_history
        SELECT i.id AS "id!", i.send_seq AS "send_seq!", i.queued_at AS "queued_at?",
               ARRAY(SELECT o.created_at
                       FROM outbox o
                      WHERE o.invitation_id = i.id AND o.send_seq > 1 AND o.organization_id = $1
                        AND o.kind = 'invitation' AND o.created_at > $3
                      ORDER BY o.created_at DESC) AS "resent_at!"
          FROM UNNEST($2::uuid[]) AS requested (id)
         CROSS JOIN LATERAL (
               SELECT id, send_seq, queued_at
                 FROM invitations
                WHERE id = requested.id AND organization_id = $1
                LIMIT 1) AS i"#,
        organization_id.as_str(),
        ids,
        resent_since,
    )
    .map(|row| {
        let recent = RecentMails {
            last_queued_at: row.queued_at,
            resent_at: row.resent_at,
        };
        let send_seq = row.send_seq;
        (row.id, MailHistory { recent, send_seq })
    });
    connection.fetch_all(query).await
}

/// Deletes the quotas of days before `before`, at most `limit` of each table, and returns how many.
pub async fn purge(connection: &mut Connection<'_>, before: Date, limit: i64) -> Result<u64> {
    let query = sqlx::query_scalar!(
        r#"-- store::quotas::purge
        WITH organizations AS (
            DELETE FROM organization_quotas
             WHERE (organization_id, day) IN (
                   SELECT organization_id, day FROM organization_quotas
                    WHERE day < $1 ORDER BY day LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        ), addresses AS (
            DELETE FROM address_quotas
             WHERE (day, address_hash) IN (
                   SELECT day, address_hash FROM address_quotas
                    WHERE day < $1 ORDER BY day, address_hash LIMIT $2 FOR UPDATE SKIP LOCKED)
            RETURNING 1
        )
        SELECT (SELECT count(*) FROM organizations) + (SELECT count(*) FROM addresses) AS "count!""#,
        before,
        limit,
    );
    Ok(connection.fetch_one(query).await?.unsigned_abs())
}

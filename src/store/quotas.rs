//! The `organization_quotas` and `address_quotas` tables: what was taken of quotas, and what is looked at to tell what is
//! left.
//!
//! Taking is conditional and comes last in a transaction: first the addresses, in the order of their hashes, then the
//! organization. Whoever holds a row of the second needs no other lock any more, so nobody waits long and nobody in a
//! circle. A transaction that took is either committed or takes nothing.

use std::collections::{HashMap, HashSet};

use super::Connection;
use time::{Date, OffsetDateTime};
use uuid::Uuid;

use super::StoreError;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::RecentMails;

/// Counts mails to addresses, each hash once and sorted; returns the hashes that there was room for.
pub async fn take_addresses(
    connection: &mut Connection<'_>,
    day: Date,
    hashes: &[i64],
    limit: u32,
) -> Result<HashSet<i64>, StoreError> {
    debug_assert!(hashes.is_sorted(), "unsorted batches deadlock");
    let taken = sqlx::query_scalar!(
        "-- store::quotas::take_addresses
        INSERT INTO address_quotas AS q (address_hash, day, used)
        SELECT address_hash, $1, 1 FROM UNNEST($2::bigint[]) AS t (address_hash)
            ON CONFLICT (day, address_hash) DO UPDATE SET used = q.used + 1 WHERE q.used < $3
        RETURNING address_hash",
        day,
        hashes,
        i32::try_from(limit).unwrap_or(i32::MAX),
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(taken.into_iter().collect())
}

/// Those of the hashes that have no room for another mail.
pub async fn full_addresses(
    connection: &mut Connection<'_>,
    day: Date,
    hashes: &[i64],
    limit: u32,
) -> Result<HashSet<i64>, StoreError> {
    let full = sqlx::query_scalar!(
        r#"-- store::quotas::full_addresses
        SELECT asked.address_hash AS "address_hash!"
          FROM UNNEST($2::bigint[]) AS asked (address_hash)
         CROSS JOIN LATERAL (
               SELECT used FROM address_quotas WHERE day = $1 AND address_hash = asked.address_hash LIMIT 1) AS q
         WHERE q.used >= $3"#,
        day,
        hashes,
        i32::try_from(limit).unwrap_or(i32::MAX),
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(full.into_iter().collect())
}

/// What an organization has after it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// How many of its invitations are pending, or fewer; `None` if they were not counted on this day yet.
    pub pending_at_most: Option<i64>,
}

/// Counts invitations of an organization, if there is room for all of them, and keeps others of the organization from
/// counting until the transaction ends; `None` if there is not. `new_pending` of them were not pending before.
pub async fn take_organization(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    day: Date,
    (count, new_pending): (i64, i64),
    limit: Option<u32>,
) -> Result<Option<Taken>, StoreError> {
    let taken = sqlx::query_as!(
        Taken,
        "-- store::quotas::take_organization
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
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(taken)
}

/// Counts the pending invitations of an organization that has just taken, and writes down how many there are, for later
/// calls not to count; `false` if there are more than the limit.
///
/// A statement of its own, so that it sees what was committed before the organization's row was held.
pub async fn confirm_pending(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    day: Date,
    now: OffsetDateTime,
    limit: u32,
) -> Result<bool, StoreError> {
    let confirmed = sqlx::query!(
        "-- store::quotas::confirm_pending
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
    )
    .execute(connection.driver())
    .await?;
    Ok(confirmed.rows_affected() == 1)
}

/// How many invitations an organization has counted on a day.
pub async fn used_by_organization(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    day: Date,
) -> Result<i64, StoreError> {
    let used = sqlx::query_scalar!(
        "-- store::quotas::used_by_organization
        SELECT used FROM organization_quotas WHERE organization_id = $1 AND day = $2",
        organization_id.as_str(),
        day,
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(used.unwrap_or_default())
}

/// How many invitations of an organization can be accepted now, counted up to `most`.
///
/// The order is that of the index which holds one entry for each of them: nothing else is to be read, whatever a planner
/// guesses.
pub async fn count_pending(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    now: OffsetDateTime,
    most: i64,
) -> Result<i64, StoreError> {
    let count = sqlx::query_scalar!(
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
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(count)
}

/// What was mailed of one invitation, and which of its mails is the latest.
pub struct MailedInvitation {
    /// Its mails that count against another one.
    pub recent: RecentMails,
    /// The number of its latest mail, 0 if there was none.
    pub send_seq: i32,
}

/// What was mailed of invitations, by their ids. The first mail of an invitation is no resend, nor is a reminder.
pub async fn mailed(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    ids: &[Uuid],
    resent_since: OffsetDateTime,
) -> Result<HashMap<Uuid, MailedInvitation>, StoreError> {
    let rows = sqlx::query!(
        r#"-- store::quotas::mailed
        SELECT i.id AS "id!", i.send_seq AS "send_seq!", i.queued_at AS "queued_at?",
               ARRAY(SELECT o.created_at
                       FROM outbox o
                      WHERE o.invitation_id = i.id AND o.send_seq > 1 AND o.organization_id = $1
                        AND o.kind = 'invitation' AND o.created_at > $3
                      ORDER BY o.created_at DESC) AS "resent_at!"
          FROM UNNEST($2::uuid[]) AS asked (id)
         CROSS JOIN LATERAL (
               SELECT id, send_seq, queued_at
                 FROM invitations
                WHERE id = asked.id AND organization_id = $1
                LIMIT 1) AS i"#,
        organization_id.as_str(),
        ids,
        resent_since,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let recent = RecentMails {
                last_queued_at: row.queued_at,
                resent_at: row.resent_at,
            };
            let send_seq = row.send_seq;
            (row.id, MailedInvitation { recent, send_seq })
        })
        .collect())
}

/// Forgets what was taken before a day, at most `limit` rows of each table; returns how many.
pub async fn forget(
    connection: &mut Connection<'_>,
    before: Date,
    limit: i64,
) -> Result<u64, StoreError> {
    let forgotten = sqlx::query_scalar!(
        r#"-- store::quotas::forget
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
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(u64::try_from(forgotten).unwrap_or_default())
}

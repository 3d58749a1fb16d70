//! The `mail_batches` table: calls that carry many mails to a provider at once.
//!
//! A batch is written down before the call and its composition never changes, so that the call can be repeated as it
//! was: with the same key and the same bytes. A mail in a batch is leased to the batch, and the batch to a worker.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use super::outbox::{ClaimedMail, KeyColumns, Lease, MailKey};
use super::settlements::{self, Settled};

/// A batch that somebody left behind, claimed anew.
#[derive(Debug, Clone)]
pub struct LeftBatch {
    /// Its id, the idempotency key of the call.
    pub id: Uuid,
    /// When it was put together.
    pub created_at: OffsetDateTime,
    /// How often it was tried, this time included.
    pub attempts: i32,
    /// Its mails with their leases, in the order of the call.
    pub mails: Vec<(ClaimedMail, Uuid)>,
}

/// Writes down a batch of mails that are held under these leases, in this order. Returns the places in `held` of those
/// that are in it: a mail whose lease was lost is not.
pub async fn form(
    connection: &mut Connection<'_>,
    id: Uuid,
    lane: &str,
    held: &[(MailKey, Uuid)],
    lease: Lease,
    now: OffsetDateTime,
) -> Result<Vec<usize>, StoreError> {
    let keys = KeyColumns::of(held.iter().map(|(key, _)| key));
    let tokens: Vec<Uuid> = held.iter().map(|(_, token)| *token).collect();
    let mut places = sqlx::query_scalar!(
        r#"-- store::mail_batches::form
        WITH joined AS (
            UPDATE outbox AS o
               SET batch_id = $5, batch_index = held.place - 1, lease_until = 'infinity'
              FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::uuid[]) WITH ORDINALITY
                   AS held (invitation_id, send_seq, organization_id, lease_token, place)
             WHERE o.invitation_id = held.invitation_id AND o.send_seq = held.send_seq
               AND o.organization_id = held.organization_id COLLATE "C"
               AND o.lease_token = held.lease_token AND o.state = 'sending' AND o.batch_id IS NULL
            RETURNING o.batch_index
        ), made AS (
            INSERT INTO mail_batches
                   (id, lane, created_at, next_attempt_at, lease_token, lease_until, attempts)
            SELECT $5, $6, $9, $9, $7, $8, 1 WHERE EXISTS (SELECT FROM joined)
        )
        SELECT batch_index AS "place!" FROM joined"#,
        &keys.invitation_ids,
        &keys.send_seqs,
        &keys.organization_ids as &[&str],
        &tokens,
        id,
        lane,
        lease.token,
        lease.until,
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    places.sort_unstable();
    Ok(places
        .into_iter()
        .filter_map(|place| usize::try_from(place).ok())
        .collect())
}

/// Claims a batch of a lane that is due and that nobody holds.
pub async fn claim(
    connection: &mut Connection<'_>,
    lane: &str,
    lease: Lease,
    now: OffsetDateTime,
) -> Result<Option<LeftBatch>, StoreError> {
    let claimed = sqlx::query!(
        "-- store::mail_batches::claim
        UPDATE mail_batches
           SET lease_token = $2, lease_until = $3, attempts = attempts + 1
         WHERE id = (SELECT id
                       FROM mail_batches
                      WHERE lane = $1 AND next_attempt_at <= $4 AND lease_until <= $4
                      ORDER BY next_attempt_at
                      LIMIT 1
                        FOR UPDATE SKIP LOCKED)
        RETURNING id, created_at, attempts",
        lane,
        lease.token,
        lease.until,
        now,
    )
    .fetch_optional(connection.driver())
    .await?;
    let Some(batch) = claimed else {
        return Ok(None);
    };
    let mails = sqlx::query!(
        r#"-- store::mail_batches::mails
        SELECT invitation_id, send_seq, organization_id, kind, attempts, created_at,
               coalesce(requeued_at, created_at) AS "owed_since!", lease_token AS "lease_token!"
          FROM outbox
         WHERE batch_id = $1
         ORDER BY batch_index"#,
        batch.id,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(Some(LeftBatch {
        id: batch.id,
        created_at: batch.created_at,
        attempts: batch.attempts,
        mails: mails
            .into_iter()
            .map(|row| {
                let mail = ClaimedMail {
                    key: MailKey {
                        invitation_id: row.invitation_id,
                        send_seq: row.send_seq,
                        organization_id: row.organization_id,
                    },
                    is_reminder: row.kind == "reminder",
                    attempts: row.attempts,
                    created_at: row.created_at,
                    owed_since: row.owed_since,
                };
                (mail, row.lease_token)
            })
            .collect(),
    }))
}

/// Extends the lease of a batch; `false` if it was lost.
pub async fn extend_lease(
    connection: &mut Connection<'_>,
    id: Uuid,
    lease: Lease,
) -> Result<bool, StoreError> {
    let extended = sqlx::query!(
        "-- store::mail_batches::extend_lease
        UPDATE mail_batches SET lease_until = $3 WHERE id = $1 AND lease_token = $2",
        id,
        lease.token,
        lease.until,
    )
    .execute(connection.driver())
    .await?;
    Ok(extended.rows_affected() == 1)
}

/// Keeps a batch whose outcome is unknown, to be repeated at a time; `false` if its lease was lost.
pub async fn postpone(
    connection: &mut Connection<'_>,
    id: Uuid,
    lease_token: Uuid,
    next_attempt_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let postponed = sqlx::query!(
        "-- store::mail_batches::postpone
        UPDATE mail_batches SET next_attempt_at = $3, lease_until = $4 WHERE id = $1 AND lease_token = $2",
        id,
        lease_token,
        next_attempt_at,
        now,
    )
    .execute(connection.driver())
    .await?;
    Ok(postponed.rows_affected() == 1)
}

/// Ends a batch with what became of its mails; `false` if its lease was lost, and then nothing changes. For use inside a
/// transaction.
pub async fn settle(
    connection: &mut Connection<'_>,
    id: Uuid,
    lease_token: Uuid,
    settled: &[Settled],
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    if !delete(connection, id, lease_token).await? {
        return Ok(false);
    }
    settlements::settle_many(connection, settled, now).await?;
    Ok(true)
}

/// Takes a batch apart without settling its mails: they are held under their own leases again, until `until`. `false` if
/// the lease was lost, and then nothing changes. For use inside a transaction.
pub async fn take_apart(
    connection: &mut Connection<'_>,
    id: Uuid,
    lease_token: Uuid,
    until: OffsetDateTime,
) -> Result<bool, StoreError> {
    if !delete(connection, id, lease_token).await? {
        return Ok(false);
    }
    sqlx::query!(
        "-- store::mail_batches::take_apart
        UPDATE outbox SET batch_id = NULL, batch_index = NULL, lease_until = $2 WHERE batch_id = $1",
        id,
        until,
    )
    .execute(connection.driver())
    .await?;
    Ok(true)
}

/// Queues the mails of batches again that were put together before a time and that nobody holds: their lane is gone, or
/// its provider has forgotten the call. Returns how many batches.
pub async fn requeue_abandoned(
    connection: &mut Connection<'_>,
    created_before: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<u64, StoreError> {
    let abandoned = sqlx::query_scalar!(
        r#"-- store::mail_batches::requeue_abandoned
        WITH abandoned AS (
            DELETE FROM mail_batches WHERE created_at < $1 AND lease_until < $2 RETURNING id
        ), queued AS (
            UPDATE outbox
               SET state = 'queued', batch_id = NULL, batch_index = NULL, lease_token = NULL, lease_until = NULL
             WHERE batch_id IN (SELECT id FROM abandoned)
        )
        SELECT count(*) AS "count!" FROM abandoned"#,
        created_before,
        now,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(abandoned.unsigned_abs())
}

async fn delete(
    connection: &mut Connection<'_>,
    id: Uuid,
    lease_token: Uuid,
) -> Result<bool, StoreError> {
    let deleted = sqlx::query!(
        "-- store::mail_batches::delete
        DELETE FROM mail_batches WHERE id = $1 AND lease_token = $2",
        id,
        lease_token,
    )
    .execute(connection.driver())
    .await?;
    Ok(deleted.rows_affected() == 1)
}

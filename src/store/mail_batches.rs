//! The `mail_batches` table: calls that pass many emails to a provider at once.
//!
//! A batch is committed before the call and never changes, so that the call can be repeated with the same bytes and the
//! same idempotency key. The emails of a batch are leased to the batch, and the batch is leased to a worker.

use time::OffsetDateTime;
use uuid::Uuid;

use super::outbox::{ClaimedMail, Lease, MailKey};
use super::settlements::{self, SettledMail};
use super::{Connection, Result, column};

/// A batch whose worker crashed or does not know the outcome of the call, claimed by another worker.
#[derive(Debug, Clone)]
pub struct AbandonedBatch {
    /// The idempotency key of the call.
    pub id: Uuid,
    pub created_at: OffsetDateTime,
    /// Includes this attempt.
    pub attempts: i32,
    /// The emails with their lease tokens, in the order of the call.
    pub mails: Vec<(ClaimedMail, Uuid)>,
}

/// Creates a batch of leased emails in this order. Returns the indexes of those whose lease was not lost.
pub async fn create(
    connection: &mut Connection<'_>,
    id: Uuid,
    lane: &str,
    mails: &[(MailKey, Uuid)],
    lease: Lease,
    now: OffsetDateTime,
) -> Result<Vec<usize>> {
    let query = sqlx::query_scalar!(
        r#"-- store::mail_batches::create
        WITH member AS (
            UPDATE outbox AS o
               SET batch_id = $5, batch_index = lease.number - 1, lease_until = 'infinity'
              FROM UNNEST($1::uuid[], $2::integer[], $3::text[], $4::uuid[]) WITH ORDINALITY
                   AS lease (invitation_id, send_seq, organization_id, lease_token, number)
             WHERE o.invitation_id = lease.invitation_id AND o.send_seq = lease.send_seq
               AND o.organization_id = lease.organization_id COLLATE "C"
               AND o.lease_token = lease.lease_token AND o.state = 'sending' AND o.batch_id IS NULL
            RETURNING o.batch_index
        ), batch AS (
            INSERT INTO mail_batches
                   (id, lane, created_at, next_attempt_at, lease_token, lease_until, attempts)
            SELECT $5, $6, $9, $9, $7, $8, 1 WHERE EXISTS (SELECT FROM member)
        )
        SELECT batch_index AS "batch_index!" FROM member"#,
        &column(mails, |(key, _)| key.invitation_id),
        &column(mails, |(key, _)| key.send_seq),
        &column(mails, |(key, _)| key.organization_id.as_str()) as &[&str],
        &column(mails, |(_, token)| *token),
        id,
        lane,
        lease.token,
        lease.until,
        now,
    );
    let mut indexes: Vec<i32> = connection.fetch_all(query).await?;
    indexes.sort_unstable();
    Ok(indexes
        .into_iter()
        .filter_map(|index| usize::try_from(index).ok())
        .collect())
}

/// Claims the batch of a lane that has been due for longest and is not leased.
pub async fn claim(
    connection: &mut Connection<'_>,
    lane: &str,
    lease: Lease,
    now: OffsetDateTime,
) -> Result<Option<AbandonedBatch>> {
    let query = sqlx::query!(
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
    );
    let Some(batch) = connection.fetch_optional(query).await? else {
        return Ok(None);
    };
    let query = sqlx::query!(
        r#"-- store::mail_batches::mails
        SELECT invitation_id, send_seq, organization_id, kind, attempts, created_at,
               coalesce(requeued_at, created_at) AS "retrying_since!", lease_token AS "lease_token!"
          FROM outbox
         WHERE batch_id = $1
         ORDER BY batch_index"#,
        batch.id,
    )
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
            retrying_since: row.retrying_since,
        };
        (mail, row.lease_token)
    });
    Ok(Some(AbandonedBatch {
        id: batch.id,
        created_at: batch.created_at,
        attempts: batch.attempts,
        mails: connection.fetch_all(query).await?,
    }))
}

/// Extends the lease of a batch. Returns `false` if the lease was lost.
pub async fn extend_lease(connection: &mut Connection<'_>, id: Uuid, lease: Lease) -> Result<bool> {
    let query = sqlx::query!(
        "-- store::mail_batches::extend_lease
        UPDATE mail_batches SET lease_until = $3 WHERE id = $1 AND lease_token = $2",
        id,
        lease.token,
        lease.until,
    );
    Ok(connection.execute(query).await? == 1)
}

/// Releases the lease of a batch whose call has to be repeated at a time. Returns `false` if the lease was lost.
pub async fn reschedule(
    connection: &mut Connection<'_>,
    id: Uuid,
    lease_token: Uuid,
    next_attempt_at: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<bool> {
    let query = sqlx::query!(
        "-- store::mail_batches::reschedule
        UPDATE mail_batches SET next_attempt_at = $3, lease_until = $4 WHERE id = $1 AND lease_token = $2",
        id,
        lease_token,
        next_attempt_at,
        now,
    );
    Ok(connection.execute(query).await? == 1)
}

/// Deletes a batch and settles its emails, or returns `false` if the lease was lost. Must run inside a transaction.
pub async fn settle(
    connection: &mut Connection<'_>,
    id: Uuid,
    lease_token: Uuid,
    mails: &[SettledMail],
    now: OffsetDateTime,
) -> Result<bool> {
    if !delete(connection, id, lease_token).await? {
        return Ok(false);
    }
    settlements::settle_many(connection, mails, now).await?;
    Ok(true)
}

/// Does what [`settle`] does, but the emails keep leases of their own until `until` instead of being settled.
pub async fn dissolve(
    connection: &mut Connection<'_>,
    id: Uuid,
    lease_token: Uuid,
    until: OffsetDateTime,
) -> Result<bool> {
    if !delete(connection, id, lease_token).await? {
        return Ok(false);
    }
    let query = sqlx::query!(
        "-- store::mail_batches::dissolve
        UPDATE outbox SET batch_id = NULL, batch_index = NULL, lease_until = $2 WHERE batch_id = $1",
        id,
        until,
    );
    connection.execute(query).await?;
    Ok(true)
}

/// Deletes batches that were created before a time and are not leased, requeues their emails, and returns how many
/// batches there were. The lane of such a batch was removed, or its provider no longer remembers the idempotency key.
pub async fn requeue_abandoned(
    connection: &mut Connection<'_>,
    created_before: OffsetDateTime,
    now: OffsetDateTime,
) -> Result<u64> {
    let query = sqlx::query_scalar!(
        r#"-- store::mail_batches::requeue_abandoned
        WITH abandoned AS (
            DELETE FROM mail_batches WHERE created_at < $1 AND lease_until < $2 RETURNING id
        ), requeued AS (
            UPDATE outbox
               SET state = 'queued', batch_id = NULL, batch_index = NULL, lease_token = NULL, lease_until = NULL
             WHERE batch_id IN (SELECT id FROM abandoned)
        )
        SELECT count(*) AS "count!" FROM abandoned"#,
        created_before,
        now,
    );
    Ok(connection.fetch_one(query).await?.unsigned_abs())
}

async fn delete(connection: &mut Connection<'_>, id: Uuid, lease_token: Uuid) -> Result<bool> {
    let query = sqlx::query!(
        "-- store::mail_batches::delete
        DELETE FROM mail_batches WHERE id = $1 AND lease_token = $2",
        id,
        lease_token,
    );
    Ok(connection.execute(query).await? == 1)
}

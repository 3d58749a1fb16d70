//! Organizations that the operator stopped: `suspended_at` of `organizations`, and their mails that wait meanwhile.

use super::Connection;
use time::OffsetDateTime;

use super::StoreError;
use crate::domain::ids::OrganizationId;

/// Marks an organization as suspended and tells since when it is; `None` if it is not known. Does not wait for the calls
/// that hold it: a flood of them must not keep it from being stopped. Whatever they still make is not mailed.
pub async fn suspend(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>, StoreError> {
    let suspended_at = sqlx::query_scalar!(
        r#"-- store::suspensions::suspend
        UPDATE organizations SET suspended_at = coalesce(suspended_at, $2) WHERE id = $1
        RETURNING suspended_at AS "suspended_at!""#,
        id.as_str(),
        now,
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(suspended_at)
}

/// Marks an organization as not suspended and tells whether it was; `None` if it is not known.
pub async fn resume(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
) -> Result<Option<bool>, StoreError> {
    let was_suspended = sqlx::query_scalar!(
        r#"-- store::suspensions::resume
        WITH held AS (SELECT id, suspended_at FROM organizations WHERE id = $1 FOR UPDATE)
        UPDATE organizations AS o SET suspended_at = NULL
          FROM held WHERE o.id = held.id
        RETURNING held.suspended_at IS NOT NULL AS "was_suspended!""#,
        id.as_str(),
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(was_suspended)
}

/// Puts off the queued mails of organizations that are due, oldest first, at most `limit`; returns how many. What
/// others hold is passed over.
pub async fn put_off(
    connection: &mut Connection<'_>,
    organization_ids: &[String],
    now: OffsetDateTime,
    until: OffsetDateTime,
    limit: i64,
) -> Result<u64, StoreError> {
    let put_off = sqlx::query!(
        "-- store::suspensions::put_off
        UPDATE outbox AS o SET next_attempt_at = $3
         WHERE (invitation_id, send_seq, organization_id) IN (
               SELECT invitation_id, send_seq, organization_id
                 FROM outbox
                WHERE state = 'queued' AND next_attempt_at <= $2 AND organization_id = ANY($1)
                ORDER BY next_attempt_at, invitation_id
                LIMIT $4
                  FOR UPDATE SKIP LOCKED)",
        organization_ids,
        now,
        until,
        limit,
    )
    .execute(connection.driver())
    .await?;
    Ok(put_off.rows_affected())
}

/// Makes the queued mails of an organization due now, as if they had been queued now: the time in which it was
/// suspended is not counted as time in which they were tried. Returns how many.
///
/// Goes by the pending invitations, which an index finds; the mails of others are to be canceled anyway. Locks as every
/// statement that locks many.
pub async fn release(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
    now: OffsetDateTime,
) -> Result<u64, StoreError> {
    let released = sqlx::query_scalar!(
        r#"-- store::suspensions::release
        WITH target AS (
            SELECT i.id, i.send_seq, 'queued' AS waiting
              FROM invitations i
             WHERE i.organization_id = $1 AND i.state = 'pending' AND i.next_attempt_at IS NOT NULL
             ORDER BY i.organization_id, i.email_normalized
               FOR NO KEY UPDATE OF i
        ), released AS (
            UPDATE outbox AS o SET next_attempt_at = $2, requeued_at = $2
              FROM target
             WHERE o.invitation_id = target.id AND o.send_seq = target.send_seq AND o.organization_id = $1
               AND o.state = target.waiting
            RETURNING o.invitation_id
        ), told AS (
            UPDATE invitations AS i SET next_attempt_at = $2
              FROM released
             WHERE i.id = released.invitation_id AND i.organization_id = $1
        )
        SELECT count(*) AS "count!" FROM released"#,
        id.as_str(),
        now,
    )
    .fetch_one(connection.driver())
    .await?;
    connection.notifications().add_mail(id.as_str());
    Ok(u64::try_from(released).unwrap_or_default())
}

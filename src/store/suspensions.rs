//! Suspensions: `suspended_at` of the `organizations` table, and the emails of suspended organizations.

use time::OffsetDateTime;

use super::{Connection, Result};
use crate::domain::ids::OrganizationId;

/// Suspends an organization, and returns since when it is suspended, or `None` if it does not exist or is deleted.
/// It does not wait for calls that hold the shared lock and could delay it. Invitations of such calls are not mailed.
pub async fn suspend(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
    now: OffsetDateTime,
) -> Result<Option<OffsetDateTime>> {
    let query = sqlx::query_scalar!(
        r#"-- store::suspensions::suspend
        UPDATE organizations SET suspended_at = coalesce(suspended_at, $2)
         WHERE id = $1 AND deleted_at IS NULL
        RETURNING suspended_at AS "suspended_at!""#,
        id.as_str(),
        now,
    );
    connection.fetch_optional(query).await
}

/// Ends the suspension of an organization, and returns whether it was suspended, or `None` if it does not exist or is
/// deleted.
pub async fn resume(connection: &mut Connection<'_>, id: &OrganizationId) -> Result<Option<bool>> {
    let query = sqlx::query_scalar!(
        r#"-- store::suspensions::resume
        WITH before AS (SELECT id, suspended_at FROM organizations WHERE id = $1 AND deleted_at IS NULL FOR UPDATE)
        UPDATE organizations AS o SET suspended_at = NULL
          FROM before WHERE o.id = before.id
        RETURNING before.suspended_at IS NOT NULL AS "was_suspended!""#,
        id.as_str(),
    );
    connection.fetch_optional(query).await
}

/// Postpones queued emails of organizations that are due, oldest first, and returns how many. Skips locked rows.
pub async fn postpone_mails(
    connection: &mut Connection<'_>,
    organization_ids: &[String],
    now: OffsetDateTime,
    until: OffsetDateTime,
    limit: i64,
) -> Result<u64> {
    let query = sqlx::query!(
        "-- store::suspensions::postpone_mails
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
    );
    connection.execute(query).await
}

/// Makes the queued emails of an organization due now, and returns how many. They count as queued now, so that the time
/// of the suspension does not count against their retries.
/// Only emails of pending invitations become due. Any other email would be canceled anyway.
pub async fn release_mails(
    connection: &mut Connection<'_>,
    id: &OrganizationId,
    now: OffsetDateTime,
) -> Result<u64> {
    let query = sqlx::query_scalar!(
        r#"-- store::suspensions::release_mails
        WITH target AS (
            SELECT i.id, i.send_seq, 'queued' AS queued_state
              FROM invitations i
             WHERE i.organization_id = $1 AND i.state = 'pending' AND i.next_attempt_at IS NOT NULL
             ORDER BY i.organization_id, i.email_normalized
               FOR NO KEY UPDATE OF i
        ), released AS (
            UPDATE outbox AS o SET next_attempt_at = $2, requeued_at = $2
              FROM target
             WHERE o.invitation_id = target.id AND o.send_seq = target.send_seq AND o.organization_id = $1
               AND o.state = target.queued_state
            RETURNING o.invitation_id
        ), updated AS (
            UPDATE invitations AS i SET next_attempt_at = $2
              FROM released
             WHERE i.id = released.invitation_id AND i.organization_id = $1
        )
        SELECT count(*) AS "count!" FROM released"#,
        id.as_str(),
        now,
    );
    let released = connection.fetch_one(query).await?;
    connection.notifications.add_mail(id.as_str());
    Ok(released.unsigned_abs())
}

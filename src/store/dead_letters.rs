//! Mails of the `outbox` table that were given up, and their second chance.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::ids::OrganizationId;

/// The invitations of an organization whose latest mail was given up and that still wait for their person, oldest
/// first, at most `limit`.
pub async fn find(
    connection: &mut PgConnection,
    organization_id: &OrganizationId,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "-- store::dead_letters::find
        SELECT o.invitation_id
          FROM outbox o
          JOIN invitations i
            ON i.id = o.invitation_id AND i.organization_id = o.organization_id AND i.send_seq = o.send_seq
         WHERE o.state = 'dead' AND o.organization_id = $1
           AND i.state = 'pending' AND i.expires_at > $2 AND i.delivery_state = 'failed'
         ORDER BY o.invitation_id
         LIMIT $3",
        organization_id.as_str(),
        now,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids)
}

/// Queues again those of the invitations' latest mails that were given up, and tells the invitations, in one statement;
/// returns the ids. The mails stay the same mails: what a mail is made from does not change, only its attempts begin
/// anew. The invitations must be locked by this transaction and wait for their person.
pub async fn requeue_many(
    connection: &mut PgConnection,
    organization_id: &OrganizationId,
    invitation_ids: &[Uuid],
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, StoreError> {
    let requeued = sqlx::query_scalar!(
        "-- store::dead_letters::requeue_many
        WITH requeued AS (
            UPDATE outbox AS o
               SET state = 'queued', attempts = 0, next_attempt_at = $3, requeued_at = $3
              FROM invitations i
             WHERE i.id = ANY($2) AND i.organization_id = $1 AND i.state = 'pending' AND i.delivery_state = 'failed'
               AND o.invitation_id = i.id AND o.organization_id = $1 AND o.send_seq = i.send_seq AND o.state = 'dead'
            RETURNING o.invitation_id
        ), told AS (
            UPDATE invitations AS i
               SET delivery_state = 'queued', delivery_attempts = 0, next_attempt_at = $3, updated_at = $3
              FROM requeued
             WHERE i.id = requeued.invitation_id AND i.organization_id = $1
        )
        SELECT invitation_id FROM requeued",
        organization_id.as_str(),
        invitation_ids,
        now,
    )
    .fetch_all(connection)
    .await?;
    Ok(requeued)
}

//! Dead letters: emails in the `outbox` table that were given up.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Result, query_with_events};
use crate::domain::ids::OrganizationId;

/// Returns invitations that can still be accepted and whose latest email is a dead letter, oldest first.
pub async fn list(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "-- store::dead_letters::list
        SELECT o.invitation_id
          FROM outbox o
         CROSS JOIN LATERAL (
               SELECT state, expires_at, send_seq, delivery_state
                 FROM invitations
                WHERE id = o.invitation_id AND organization_id = o.organization_id
                LIMIT 1) AS i
         WHERE o.state = 'dead'
           AND (o.organization_id, o.invitation_id) >= ($1, $4)
           AND (o.organization_id, o.invitation_id) <= ($1, $5)
           AND i.state = 'pending' AND i.expires_at > $2 AND i.delivery_state = 'failed' AND i.send_seq = o.send_seq
         ORDER BY o.organization_id, o.invitation_id
         LIMIT $3",
        organization_id.as_str(),
        now,
        limit,
        Uuid::nil(),
        Uuid::max(),
    );
    connection.fetch_all(query).await
}

/// Requeues those of the invitations' latest emails that are dead letters, with 0 attempts, and returns the ids of the
/// invitations. The transaction must have locked the invitations and checked that they can still be accepted.
pub async fn requeue_many(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    invitation_ids: &[Uuid],
    now: OffsetDateTime,
) -> Result<Vec<Uuid>> {
    let query = query_with_events!(query_scalar!(
        "-- store::dead_letters::requeue_many
        WITH latest AS MATERIALIZED (
            SELECT requested.id, i.send_seq
              FROM UNNEST($2::uuid[]) AS requested (id)
             CROSS JOIN LATERAL (
                   SELECT send_seq, delivery_state
                     FROM invitations
                    WHERE id = requested.id AND organization_id = $1
                    LIMIT 1) AS i
             WHERE i.delivery_state = 'failed'
        ), requeued AS (
            UPDATE outbox AS o
               SET state = 'queued', attempts = 0, next_attempt_at = $3, requeued_at = $3
              FROM latest
             WHERE o.invitation_id = latest.id AND o.send_seq = latest.send_seq AND o.organization_id = $1
               AND o.state = 'dead'
            RETURNING o.invitation_id
        ), changed AS (
            UPDATE invitations AS i
               SET delivery_state = 'queued', delivery_attempts = 0, next_attempt_at = $3, updated_at = $3
              FROM requeued
             WHERE i.id = requeued.invitation_id AND i.organization_id = $1
            RETURNING i.id, i.organization_id, i.batch_id, i.updated_at, 'requeued' AS event_type,
                      i.state AS old_state, 'failed' AS old_delivery_state, i.state AS new_state,
                      i.delivery_state AS new_delivery_state
        )" + EVENTS
            + "
        SELECT invitation_id FROM requeued",
        organization_id.as_str(),
        invitation_ids,
        now,
    ));
    let requeued = connection.fetch_all(query).await?;
    connection.notifications.add_mail(organization_id.as_str());
    Ok(requeued)
}

//! Mails of the `outbox` table that were given up, and their second chance.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::ids::OrganizationId;

/// The invitations of an organization whose latest mail was given up and that still wait for their person, oldest
/// first, at most `limit`. Each is looked up by itself, and the range names the index: as a join by equality this would
/// be planned by guesses, and a wrong one compares each mail with each invitation.
pub async fn find(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, StoreError> {
    let ids = sqlx::query_scalar!(
        "-- store::dead_letters::find
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
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(ids)
}

/// Queues again those of the invitations' latest mails that were given up, and tells the invitations, in one statement;
/// returns the ids. The mails stay the same mails: what a mail is made from does not change, only its attempts begin
/// anew. The invitations must be locked by this transaction and wait for their person.
pub async fn requeue_many(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    invitation_ids: &[Uuid],
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, StoreError> {
    let requeued = sqlx::query_scalar!(
        "-- store::dead_letters::requeue_many
        WITH latest AS MATERIALIZED (
            SELECT asked.id, i.send_seq
              FROM UNNEST($2::uuid[]) AS asked (id)
             CROSS JOIN LATERAL (
                   SELECT send_seq, delivery_state
                     FROM invitations
                    WHERE id = asked.id AND organization_id = $1
                    LIMIT 1) AS i
             WHERE i.delivery_state = 'failed'
        ), requeued AS (
            UPDATE outbox AS o
               SET state = 'queued', attempts = 0, next_attempt_at = $3, requeued_at = $3
              FROM latest
             WHERE o.invitation_id = latest.id AND o.send_seq = latest.send_seq AND o.organization_id = $1
               AND o.state = 'dead'
            RETURNING o.invitation_id
        ), told AS (
            UPDATE invitations AS i
               SET delivery_state = 'queued', delivery_attempts = 0, next_attempt_at = $3, updated_at = $3
              FROM requeued
             WHERE i.id = requeued.invitation_id AND i.organization_id = $1
            RETURNING i.id, i.batch_id, i.state
        ), noted AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                    new_delivery_state, invitation_ids)
            SELECT $3, $1, batch_id, 'requeued', state, 'failed', state, 'queued', array_agg(id ORDER BY id)
              FROM told
             GROUP BY batch_id, state
        )
        SELECT invitation_id FROM requeued",
        organization_id.as_str(),
        invitation_ids,
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    connection
        .notifications()
        .add_mail(organization_id.as_str());
    Ok(requeued)
}

//! Dead letters: emails in the `outbox` table that were given up.

use time::OffsetDateTime;
use uuid::Uuid;

use super::listings::ListQuery;
use super::{Connection, Result, query_with_events};
use crate::domain::ids::OrganizationId;

/// Returns invitations that match a filter, can still be accepted and whose latest email is a dead letter, newest first.
/// The states in the filter are ignored, because only these match.
///
/// The filters are `CASE` expressions as in [`listings`](super::listings), so that a page walks the dead letters of the
/// organization, which are few.
pub async fn list(connection: &mut Connection<'_>, query: ListQuery<'_>) -> Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        "-- store::dead_letters::list
        SELECT o.invitation_id
          FROM outbox o
         CROSS JOIN LATERAL (
               SELECT state, expires_at, send_seq, delivery_state, inviter_user_id, batch_id
                 FROM invitations
                WHERE id = o.invitation_id AND organization_id = o.organization_id
                LIMIT 1) AS i
         WHERE o.state = 'dead'
           AND (o.organization_id, o.invitation_id) >= ($1, $4)
           AND (o.organization_id, o.invitation_id) < ($1, $5)
           AND i.state = 'pending' AND i.expires_at > $2 AND i.delivery_state = 'failed' AND i.send_seq = o.send_seq
           AND CASE WHEN $6::uuid[] IS NULL THEN true ELSE o.invitation_id = ANY($6) END
           AND CASE WHEN $7::text IS NULL THEN true ELSE i.inviter_user_id = $7 END
           AND CASE WHEN $8::uuid IS NULL THEN true ELSE i.batch_id = $8 END
         ORDER BY o.organization_id DESC, o.invitation_id DESC
         LIMIT $3",
        query.organization_id.as_str(),
        query.now,
        query.limit,
        Uuid::nil(),
        query.before.unwrap_or(Uuid::max()),
        query.address_ids as Option<&[Uuid]>,
        query.filter.inviter_user_id,
        query.filter.batch_id,
    );
    connection.fetch_all(query).await
}

/// Returns those of the invitations whose latest email is a dead letter: those that [`requeue_many`] would requeue.
pub async fn find_many(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    invitation_ids: &[Uuid],
) -> Result<Vec<Uuid>> {
    let query = sqlx::query_scalar!(
        r#"-- store::dead_letters::find_many
        SELECT requested.id AS "id!"
          FROM UNNEST($2::uuid[]) AS requested (id)
         CROSS JOIN LATERAL (
               SELECT send_seq, delivery_state
                 FROM invitations
                WHERE id = requested.id AND organization_id = $1
                LIMIT 1) AS i
         WHERE i.delivery_state = 'failed'
           AND EXISTS (SELECT FROM outbox o
                        WHERE o.invitation_id = requested.id AND o.send_seq = i.send_seq AND o.organization_id = $1
                          AND o.state = 'dead')"#,
        organization_id.as_str(),
        invitation_ids,
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

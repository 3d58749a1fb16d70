//! Erasure: removes personal data from the `invitations` table, and deletes old invitations.
//! A keyed hash of the address stays, so that the invitation can still be found by its address.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Purged, Result, column, query_with_events};
use crate::domain::address_tag::AddressTag;

/// An invitation that was locked and still has its address. Not `Debug`: it holds that address.
pub struct ErasableInvitation {
    pub id: Uuid,
    pub organization_id: String,
    pub email_normalized: String,
    /// Whether the invitation can still be accepted.
    pub is_open: bool,
    /// When the invitation ended or will expire.
    pub end_at: OffsetDateTime,
}

/// Locks invitations of an address in all organizations.
pub async fn lock_of_address(
    connection: &mut Connection<'_>,
    email_normalized: &str,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<ErasableInvitation>> {
    let query = sqlx::query_as!(
        ErasableInvitation,
        r#"-- store::erasures::lock_of_address
        SELECT id, organization_id, email_normalized AS "email_normalized!",
               state = 'pending' AND expires_at > $3 AS "is_open!", coalesce(ended_at, expires_at) AS "end_at!"
          FROM invitations
         WHERE email_normalized = $1
         ORDER BY organization_id, id
         LIMIT $2
           FOR NO KEY UPDATE"#,
        email_normalized,
        limit,
        now,
    );
    connection.fetch_all(query).await
}

/// How many invitations of an address there are in all organizations.
#[derive(Debug)]
pub struct AddressInvitations {
    pub all: i64,
    /// Those of them that can still be accepted.
    pub open: i64,
    pub queued_mails: i64,
}

pub async fn count_of_address(
    connection: &mut Connection<'_>,
    email_normalized: &str,
    now: OffsetDateTime,
) -> Result<AddressInvitations> {
    let query = sqlx::query_as!(
        AddressInvitations,
        r#"-- store::erasures::count_of_address
        SELECT count(*) AS "all!",
               count(*) FILTER (WHERE i.state = 'pending' AND i.expires_at > $2) AS "open!",
               coalesce(sum(mail.queued), 0)::bigint AS "queued_mails!"
          FROM invitations i
         CROSS JOIN LATERAL (
               SELECT count(*) AS queued
                 FROM outbox o
                WHERE o.invitation_id = i.id AND o.organization_id = i.organization_id AND o.state = 'queued') AS mail
         WHERE i.email_normalized = $1"#,
        email_normalized,
        now,
    );
    connection.fetch_one(query).await
}

/// Locks invitations that ended by a time and still have their address, oldest end first. Skips locked rows.
pub async fn lock_ended(
    connection: &mut Connection<'_>,
    ended_by: OffsetDateTime,
    limit: i64,
) -> Result<Vec<ErasableInvitation>> {
    let query = sqlx::query_as!(
        ErasableInvitation,
        r#"-- store::erasures::lock_ended
        SELECT id, organization_id, email_normalized AS "email_normalized!", false AS "is_open!",
               coalesce(ended_at, expires_at) AS "end_at!"
          FROM invitations
         WHERE state <> 'pending' AND email IS NOT NULL AND coalesce(ended_at, expires_at) <= $1
         ORDER BY coalesce(ended_at, expires_at)
         LIMIT $2
           FOR NO KEY UPDATE SKIP LOCKED"#,
        ended_by,
        limit,
    );
    connection.fetch_all(query).await
}

/// Removes personal data from invitations, which this transaction must have locked, and stores the tags of their
/// addresses. Revokes invitations that can still be accepted, and returns how many queued emails it canceled. A claimed
/// email is settled by its worker and not retried.
pub async fn erase_many(
    connection: &mut Connection<'_>,
    rows: &[(&ErasableInvitation, AddressTag)],
    now: OffsetDateTime,
) -> Result<u64> {
    let query = query_with_events!(query_scalar!(
        r#"-- store::erasures::erase_many
        WITH before AS MATERIALIZED (
            SELECT i.id, i.organization_id, i.state, i.delivery_state
              FROM UNNEST($1::uuid[], $2::text[]) AS t (id, organization_id)
              JOIN invitations i ON i.id = t.id AND i.organization_id = t.organization_id COLLATE "C"
             WHERE i.state = 'pending'
        ), erased AS (
            UPDATE invitations AS i
               SET email = NULL, email_normalized = NULL, address_tag = t.address_tag,
                   address_tag_key_id = t.key_id, message = '', redirect_url = '', public_metadata = NULL,
                   private_metadata = NULL, delivery_error = NULL, next_attempt_at = NULL, remind_at = NULL,
                   updated_at = $5,
                   state = CASE WHEN i.state <> 'pending' THEN i.state
                                WHEN i.expires_at > $5 THEN 'revoked' ELSE 'expired' END,
                   ended_at = CASE WHEN i.state = 'pending' AND i.expires_at > $5 THEN $5 ELSE i.ended_at END,
                   delivery_state = CASE WHEN i.state = 'pending' AND i.delivery_state IN ('queued', 'deferred')
                                         THEN 'canceled' ELSE i.delivery_state END
              FROM UNNEST($1::uuid[], $2::text[], $3::bytea[], $4::smallint[])
                   AS t (id, organization_id, address_tag, key_id)
             WHERE i.id = t.id AND i.organization_id = t.organization_id COLLATE "C"
            RETURNING i.id, i.organization_id, i.batch_id, i.updated_at, i.state, i.delivery_state,
                      'queued' AS queued_state
        ), changed AS (
            -- Only invitations that were pending. Erasing does not change the state of any other.
            SELECT erased.id, erased.organization_id, erased.batch_id, erased.updated_at, erased.state AS event_type,
                   before.state AS old_state, before.delivery_state AS old_delivery_state, erased.state AS new_state,
                   erased.delivery_state AS new_delivery_state
              FROM erased
              JOIN before ON before.id = erased.id AND before.organization_id = erased.organization_id
        )"# + EVENTS
            + r#", canceled AS (
            UPDATE outbox AS o SET state = 'canceled'
              FROM erased
             WHERE o.invitation_id = erased.id AND o.organization_id = erased.organization_id AND o.state = erased.queued_state
            RETURNING o.invitation_id
        )
        SELECT count(*) AS "count!" FROM canceled"#,
        &column(rows, |(row, _)| row.id),
        &column(rows, |(row, _)| row.organization_id.as_str()) as &[&str],
        &column(rows, |(_, tag)| tag.bytes.as_slice()) as &[&[u8]],
        &column(rows, |(_, tag)| i16::from(tag.key_id)),
        now,
    ));
    let canceled = connection.fetch_one(query).await?;
    for (row, _) in rows {
        connection.notifications.add_events(&row.organization_id);
    }
    Ok(canceled.unsigned_abs())
}

/// Deletes invitations without an address that ended by a time, and their emails, oldest end first.
pub async fn delete_ended(
    connection: &mut Connection<'_>,
    ended_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged> {
    let query = sqlx::query_as!(
        Purged,
        r#"-- store::erasures::delete_ended
        WITH due AS (
            SELECT id, organization_id
              FROM invitations
             WHERE state <> 'pending' AND email IS NULL AND coalesce(ended_at, expires_at) <= $1
             ORDER BY coalesce(ended_at, expires_at)
             LIMIT $2
               FOR UPDATE SKIP LOCKED
        ), deleted AS (
            DELETE FROM invitations AS i
             USING due
             WHERE i.id = due.id AND i.organization_id = due.organization_id
            RETURNING i.id, i.organization_id, coalesce(i.ended_at, i.expires_at) AS end_at
        ), deleted_mail AS (
            DELETE FROM outbox AS o
             USING deleted
             WHERE o.invitation_id = deleted.id AND o.organization_id = deleted.organization_id
        )
        SELECT count(*) AS "count!", min(end_at) AS "oldest?" FROM deleted"#,
        ended_by,
        limit,
    );
    connection.fetch_one(query).await
}

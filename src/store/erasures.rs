//! Erasing: what of the `invitations` table is about a person goes, what is left is about the organization.
//!
//! An address, the note, the metadata and what a mail server said are taken out of a row together; a keyed hash of the
//! address stays, so that whoever names the address still finds the row. How old a row must be is not decided here.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Purged, StoreError};
use crate::domain::address_tag::AddressTag;

/// An invitation that was locked and still has its address. Not `Debug`: it holds that.
pub struct Erasable {
    /// The invitation.
    pub id: Uuid,
    /// The organization.
    pub organization_id: String,
    /// The address.
    pub email_normalized: String,
    /// Whether its person could still come.
    pub is_open: bool,
    /// When it ended, or will by itself.
    pub end_at: OffsetDateTime,
}

/// Locks invitations of an address over all organizations, at most `limit`, and waits for whoever holds one. In the order
/// that everybody locks in.
pub async fn lock_of_address(
    connection: &mut Connection<'_>,
    email_normalized: &str,
    limit: i64,
    now: OffsetDateTime,
) -> Result<Vec<Erasable>, StoreError> {
    let locked = sqlx::query_as!(
        Erasable,
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
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(locked)
}

/// Locks invitations that ended at a time or before and still have their address, the first to end first, at most `limit`.
/// Passes over rows that others hold, and so waits for nobody.
pub async fn lock_ended(
    connection: &mut Connection<'_>,
    ended_by: OffsetDateTime,
    limit: i64,
) -> Result<Vec<Erasable>, StoreError> {
    let locked = sqlx::query_as!(
        Erasable,
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
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(locked)
}

/// Erases what is about a person from invitations that this transaction has locked, each with the tag of its address, in
/// one statement. One whose person could still come is revoked, and mails that wait are canceled; returns how many mails.
///
/// A mail that a worker holds is not waited for: it settles, and is not tried again.
pub async fn erase_many(
    connection: &mut Connection<'_>,
    rows: &[(&Erasable, AddressTag)],
    now: OffsetDateTime,
) -> Result<u64, StoreError> {
    let ids: Vec<Uuid> = rows.iter().map(|(row, _)| row.id).collect();
    let organization_ids: Vec<&str> = rows
        .iter()
        .map(|(row, _)| row.organization_id.as_str())
        .collect();
    let tags: Vec<&[u8]> = rows.iter().map(|(_, tag)| tag.bytes.as_slice()).collect();
    let key_ids: Vec<i16> = rows.iter().map(|(_, tag)| i16::from(tag.key_id)).collect();
    let canceled = sqlx::query_scalar!(
        r#"-- store::erasures::erase_many
        WITH before AS MATERIALIZED (
            SELECT i.id, i.organization_id, i.state, i.delivery_state
              FROM UNNEST($1::uuid[], $2::text[]) AS asked (id, organization_id)
              JOIN invitations i ON i.id = asked.id AND i.organization_id = asked.organization_id COLLATE "C"
             WHERE i.state = 'pending'
        ), erased AS (
            UPDATE invitations AS i
               SET email = NULL, email_normalized = NULL, address_tag = asked.address_tag,
                   address_tag_key_id = asked.key_id, message = '', redirect_url = '', public_metadata = NULL,
                   private_metadata = NULL, delivery_error = NULL, next_attempt_at = NULL, remind_at = NULL,
                   updated_at = $5,
                   state = CASE WHEN i.state <> 'pending' THEN i.state
                                WHEN i.expires_at > $5 THEN 'revoked' ELSE 'expired' END,
                   ended_at = CASE WHEN i.state = 'pending' AND i.expires_at > $5 THEN $5 ELSE i.ended_at END,
                   delivery_state = CASE WHEN i.state = 'pending' AND i.delivery_state IN ('queued', 'deferred')
                                         THEN 'canceled' ELSE i.delivery_state END
              FROM UNNEST($1::uuid[], $2::text[], $3::bytea[], $4::smallint[])
                   AS asked (id, organization_id, address_tag, key_id)
             WHERE i.id = asked.id AND i.organization_id = asked.organization_id COLLATE "C"
            RETURNING i.id, i.organization_id, i.batch_id, i.state, i.delivery_state,
                      'queued' AS waiting
        ), told AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                    new_delivery_state, invitation_ids)
            SELECT $5, erased.organization_id, batch_id, erased.state, before.state, before.delivery_state,
                   erased.state, erased.delivery_state, array_agg(erased.id ORDER BY erased.id)
              FROM erased
              JOIN before ON before.id = erased.id AND before.organization_id = erased.organization_id
             GROUP BY erased.organization_id, batch_id, before.state, before.delivery_state, erased.state,
                      erased.delivery_state
        ), canceled AS (
            UPDATE outbox AS o SET state = 'canceled'
              FROM erased
             WHERE o.invitation_id = erased.id AND o.organization_id = erased.organization_id AND o.state = erased.waiting
            RETURNING o.invitation_id
        )
        SELECT count(*) AS "count!" FROM canceled"#,
        &ids,
        &organization_ids as &[&str],
        &tags as &[&[u8]],
        &key_ids,
        now,
    )
    .fetch_one(connection.driver())
    .await?;
    for id in organization_ids {
        connection.notifications().add_events(id);
    }
    Ok(canceled.unsigned_abs())
}

/// Deletes invitations without an address that ended at a time or before, with what is left of their mails, the first to
/// end first, at most `limit`.
pub async fn delete_ended(
    connection: &mut Connection<'_>,
    ended_by: OffsetDateTime,
    limit: i64,
) -> Result<Purged, StoreError> {
    let purged = sqlx::query_as!(
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
        ), forgotten AS (
            DELETE FROM outbox AS o
             USING deleted
             WHERE o.invitation_id = deleted.id AND o.organization_id = deleted.organization_id
        )
        SELECT count(*) AS "count!", min(end_at) AS "oldest?" FROM deleted"#,
        ended_by,
        limit,
    )
    .fetch_one(connection.driver())
    .await?;
    Ok(purged)
}

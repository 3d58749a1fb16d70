//! The `invitations` table: statements that create, end and resend invitations.

use std::collections::HashMap;
use std::sync::Arc;

use time::OffsetDateTime;
use uuid::Uuid;

use super::memberships::MemberKey;
use super::{Connection, Result, column, query_with_events};
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;
use crate::domain::new_invitation::NewInvitation;
use crate::domain::reminder;
use crate::domain::token::NONCE_BYTES;

#[derive(Debug, Clone, Copy)]
pub struct InvitationBatch<'a> {
    pub organization_id: &'a OrganizationId,
    pub batch_id: Uuid,
    /// The key that tokens are derived with.
    pub key_id: u8,
    pub now: OffsetDateTime,
}

/// An invitation to insert. Not `Debug`: it holds an address.
#[derive(Clone)]
pub struct InvitationRow {
    pub id: Uuid,
    pub nonce: [u8; NONCE_BYTES],
    pub item: Arc<NewInvitation>,
}

/// Inserts invitations, queues an email for each that requests one, and returns the ids that were inserted. An address
/// that has a pending invitation is skipped. Rows must be sorted by their normalized address.
pub async fn insert_many(
    connection: &mut Connection<'_>,
    batch: InvitationBatch<'_>,
    rows: &[InvitationRow],
) -> Result<Vec<Uuid>> {
    debug_assert!(
        rows.is_sorted_by_key(|row| row.item.email.normalized()),
        "unsorted batches deadlock"
    );
    let query = sqlx::query_scalar!(
        r#"-- store::invitations::insert_many
        WITH inserted AS (
            INSERT INTO invitations
                   (organization_id, batch_id, key_id, created_at, updated_at, id, nonce, expires_at, email,
                    email_normalized, role, inviter_user_id, locale, redirect_url, message, accept_policy,
                    public_metadata, private_metadata, state, generation, delivery_attempts, send_seq, delivery_state,
                    queued_at, next_attempt_at, reminder_lead_seconds, remind_at)
            SELECT $1, $2, $3, $4, $4, id, nonce, expires_at, email, email_normalized, role, inviter_user_id, locale,
                   redirect_url, message, accept_policy, public_metadata::jsonb, private_metadata::jsonb,
                   'pending', 1, 0,
                   CASE WHEN notify THEN 1 ELSE 0 END,
                   CASE WHEN notify THEN 'queued' ELSE 'not_requested' END,
                   CASE WHEN notify THEN $4::timestamptz END,
                   CASE WHEN notify THEN $4::timestamptz END,
                   reminder_lead_seconds, remind_at
              FROM UNNEST($5::uuid[], $6::bytea[], $7::timestamptz[], $8::text[], $9::text[], $10::text[],
                          $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[],
                          $18::boolean[], $19::integer[], $20::timestamptz[])
                   AS t (id, nonce, expires_at, email, email_normalized, role, inviter_user_id, locale, redirect_url,
                         message, accept_policy, public_metadata, private_metadata, notify, reminder_lead_seconds, remind_at)
                ON CONFLICT (organization_id, email_normalized) WHERE state = 'pending' DO NOTHING
            RETURNING id, send_seq, delivery_state
        ), queued AS (
            INSERT INTO outbox
                   (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
            SELECT id, $1, send_seq, 'queued', 0, $4, $4 FROM inserted WHERE send_seq = 1
        ), event AS (
            -- Not by query_with_events!: these invitations have no old state, and grouping 10,000 of them by one column
            -- takes half the time of grouping them by eight.
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, new_state, new_delivery_state, invitation_ids)
            SELECT $4, $1, $2, 'created', 'pending', delivery_state, array_agg(id ORDER BY id)
              FROM inserted
             GROUP BY delivery_state
        )
        SELECT id FROM inserted"#,
        batch.organization_id.as_str(),
        batch.batch_id,
        i16::from(batch.key_id),
        batch.now,
        &column(rows, |row| row.id),
        &column(rows, |row| row.nonce.as_slice()) as &[&[u8]],
        &column(rows, |row| row.item.expires_at),
        &column(rows, |row| row.item.email.given()) as &[&str],
        &column(rows, |row| row.item.email.normalized()) as &[&str],
        &column(rows, |row| row.item.role.as_str()) as &[&str],
        &column(rows, |row| row.item.inviter_user_id.as_str()) as &[&str],
        &column(rows, |row| row.item.locale.as_str()) as &[&str],
        &column(rows, |row| row.item.redirect_url.as_str()) as &[&str],
        &column(rows, |row| row.item.message.as_str()) as &[&str],
        &column(rows, |row| row.item.accept_policy.as_str()) as &[&str],
        &column(rows, |row| row.item.public_metadata.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.item.private_metadata.as_deref()) as &[Option<&str>],
        &column(rows, |row| row.item.notify),
        &column(rows, |row| row.item.reminder_lead.seconds()),
        &column(rows, |row| row.item.remind_at(batch.now)) as &[Option<OffsetDateTime>],
    );
    let inserted = connection.fetch_all(query).await?;
    let notifications = &mut connection.notifications;
    notifications.add_mail(batch.organization_id.as_str());
    Ok(inserted)
}

/// An invitation whose row says `pending`. It may have expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingInvitation {
    pub id: Uuid,
    pub expires_at: OffsetDateTime,
}

/// Returns the pending invitations of addresses in an organization, by address.
pub async fn pending_by_address(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    emails_normalized: &[&str],
) -> Result<HashMap<String, PendingInvitation>> {
    let query = sqlx::query!(
        r#"-- store::invitations::pending_by_address
        SELECT requested.email_normalized AS "email_normalized!", i.id, i.expires_at
          FROM UNNEST($2::text[]) AS requested (email_normalized)
         CROSS JOIN LATERAL (
               SELECT id, expires_at
                 FROM invitations
                WHERE organization_id = $1 AND email_normalized = requested.email_normalized COLLATE "C"
                  AND state = 'pending'
                LIMIT 1) AS i"#,
        organization_id.as_str(),
        emails_normalized as &[&str],
    )
    .map(|row| {
        let (id, expires_at) = (row.id, row.expires_at);
        (row.email_normalized, PendingInvitation { id, expires_at })
    });
    connection.fetch_all(query).await
}

/// How pending invitations end without becoming memberships.
#[derive(Debug, Clone, Copy)]
pub enum EndReason<'a> {
    Declined,
    Revoked { by_user_id: Option<&'a str> },
    Expired,
}

/// The id and the organization of an invitation.
pub type InvitationKey = (Uuid, String);

/// Ends those of the invitations that are pending, cancels their queued emails, and returns their ids.
pub async fn end_many(
    connection: &mut Connection<'_>,
    targets: &[InvitationKey],
    end: EndReason<'_>,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>> {
    let (state, ended_at, by_user_id) = match end {
        EndReason::Declined => (StateName::Declined, Some(now), None),
        EndReason::Revoked { by_user_id } => (StateName::Revoked, Some(now), by_user_id),
        EndReason::Expired => (StateName::Expired, None, None),
    };
    let (ids, organization_ids): (Vec<Uuid>, Vec<String>) = targets.iter().cloned().unzip();
    let query = query_with_events!(query_scalar!(
        r#"-- store::invitations::end_many
        WITH target AS (
            SELECT i.id, i.organization_id, i.delivery_state
              FROM UNNEST($1::uuid[], $2::text[]) AS t (id, organization_id)
              JOIN invitations i ON i.id = t.id AND i.organization_id = t.organization_id COLLATE "C"
             WHERE i.state = 'pending'
             ORDER BY i.organization_id, i.email_normalized, i.id
               FOR NO KEY UPDATE OF i
        ), changed AS (
            UPDATE invitations AS i
               SET state = $3, ended_at = $4, ended_by_user_id = $5, updated_at = $6, next_attempt_at = NULL,
                   remind_at = NULL,
                   delivery_state = CASE WHEN i.delivery_state IN ('queued', 'deferred') THEN 'canceled'
                                         ELSE i.delivery_state END
              FROM target
             WHERE i.id = target.id AND i.organization_id = target.organization_id AND i.state = 'pending'
            RETURNING i.id, i.organization_id, i.batch_id, i.send_seq, i.updated_at, i.state AS event_type,
                      'pending' AS old_state, target.delivery_state AS old_delivery_state, i.state AS new_state,
                      i.delivery_state AS new_delivery_state, 'queued' AS queued_state
        )"# + EVENTS
            + r#", canceled AS (
            UPDATE outbox AS o SET state = 'canceled'
              FROM changed
             WHERE o.invitation_id = changed.id AND o.send_seq = changed.send_seq
               AND o.organization_id = changed.organization_id AND o.state = changed.queued_state
        )
        SELECT id FROM changed"#,
        &ids,
        &organization_ids,
        state.as_str(),
        ended_at,
        by_user_id,
        now,
    ));
    let ended = connection.fetch_all(query).await?;
    for id in &organization_ids {
        connection.notifications.add_events(id);
    }
    Ok(ended)
}

/// Returns the pending invitations of an organization.
pub async fn pending_of_organization(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
) -> Result<Vec<InvitationKey>> {
    let query = sqlx::query!(
        "-- store::invitations::pending_of_organization
        SELECT id, organization_id
          FROM invitations
         WHERE organization_id = $1 AND state = 'pending'
         ORDER BY organization_id, email_normalized, id",
        organization_id.as_str(),
    )
    .map(|row| (row.id, row.organization_id));
    connection.fetch_all(query).await
}

/// Returns the pending invitations that users made in organizations. Must run with custom plans.
pub async fn pending_of_inviters(
    connection: &mut Connection<'_>,
    inviters: &[MemberKey],
) -> Result<Vec<InvitationKey>> {
    let query = sqlx::query!(
        r#"-- store::invitations::pending_of_inviters
        SELECT i.id, i.organization_id
          FROM UNNEST($1::text[], $2::text[]) AS t (organization_id, user_id)
         CROSS JOIN LATERAL (
               -- The offset keeps the planner from joining the two tables in another way.
               SELECT id, organization_id, email_normalized
                 FROM invitations
                WHERE organization_id = t.organization_id COLLATE "C" AND inviter_user_id = t.user_id COLLATE "C"
                  AND state = 'pending'
               OFFSET 0) AS i
         ORDER BY i.organization_id, i.email_normalized, i.id"#,
        &column(inviters, |(organization_id, _)| organization_id.as_str()) as &[&str],
        &column(inviters, |(_, user_id)| user_id.as_str()) as &[&str],
    )
    .map(|row| (row.id, row.organization_id));
    connection.fetch_all(query).await
}

/// Locks pending invitations that have expired. Skips locked rows.
pub async fn lock_expired(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    limit: i64,
) -> Result<Vec<InvitationKey>> {
    let query = sqlx::query!(
        "-- store::invitations::lock_expired
        SELECT id, organization_id
          FROM invitations
         WHERE state = 'pending' AND expires_at <= $1
         ORDER BY expires_at
         LIMIT $2
           FOR UPDATE SKIP LOCKED",
        now,
        limit,
    )
    .map(|row| (row.id, row.organization_id));
    connection.fetch_all(query).await
}

#[derive(Debug, Clone, Copy)]
pub struct ResendItem {
    pub id: Uuid,
    pub expires_at: OffsetDateTime,
    /// A new nonce, which makes older links invalid.
    pub nonce: Option<[u8; NONCE_BYTES]>,
    /// If set, the invitation is resent only while its latest email has this number.
    pub send_seq: Option<i32>,
}

/// Makes pending and expired invitations pending until a later time, queues an email for each, cancels emails that are
/// still queued, and returns the ids. Reminders follow [`ReminderLead::due_at`](reminder::ReminderLead::due_at).
///
/// # Errors
///
/// `Conflict(InvitationsPending)` if a newer invitation of an address is pending.
pub async fn resend_many(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    items: &[ResendItem],
    key_id: u8,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>> {
    let query = query_with_events!(query_scalar!(
        r#"-- store::invitations::resend_many
        WITH item AS (
            SELECT t.id, t.organization_id, t.expires_at, t.nonce, i.state, i.delivery_state
              -- The organization is an array too. A planner without statistics expects so few rows for a single value
              -- that it compares each item with each invitation.
              FROM UNNEST($2::uuid[], array_fill($1::text, ARRAY[cardinality($2::uuid[])]), $3::timestamptz[],
                          $4::bytea[], $8::integer[])
                   AS t (id, organization_id, expires_at, nonce, send_seq)
              JOIN invitations i ON i.id = t.id AND i.organization_id = t.organization_id COLLATE "C"
             WHERE i.state IN ('pending', 'expired') AND i.send_seq = coalesce(t.send_seq, i.send_seq)
             ORDER BY i.email_normalized, i.id
               FOR NO KEY UPDATE OF i
        ), changed AS (
            UPDATE invitations AS i
               SET state = 'pending', expires_at = item.expires_at, updated_at = $6, send_seq = i.send_seq + 1,
                   generation = i.generation + CASE WHEN item.nonce IS NULL THEN 0 ELSE 1 END,
                   nonce = coalesce(item.nonce, i.nonce),
                   key_id = CASE WHEN item.nonce IS NULL THEN i.key_id ELSE $5 END,
                   delivery_state = 'queued', delivery_attempts = 0, delivery_error = NULL, delivery_reply_code = NULL,
                   queued_at = $6, next_attempt_at = $6, sent_at = NULL,
                   remind_at = CASE WHEN i.reminder_lead_seconds > 0
                                     AND item.expires_at - make_interval(secs => i.reminder_lead_seconds) >= $7
                                    THEN item.expires_at - make_interval(secs => i.reminder_lead_seconds) END
              FROM item
             WHERE i.id = item.id AND i.organization_id = item.organization_id COLLATE "C"
            RETURNING i.id, i.organization_id, i.batch_id, i.send_seq, i.updated_at, 'resent' AS event_type,
                      item.state AS old_state, item.delivery_state AS old_delivery_state, i.state AS new_state,
                      i.delivery_state AS new_delivery_state, 'queued' AS queued_state
        )"# + EVENTS
            + r#", replaced AS (
            UPDATE outbox AS o SET state = 'canceled'
              FROM changed
             WHERE o.invitation_id = changed.id AND o.send_seq = changed.send_seq - 1
               AND o.organization_id = changed.organization_id AND o.state = changed.queued_state
        ), queued AS (
            INSERT INTO outbox
                   (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
            SELECT id, organization_id, send_seq, 'queued', 0, $6, $6 FROM changed
        )
        SELECT id FROM changed"#,
        organization_id.as_str(),
        &column(items, |item| item.id),
        &column(items, |item| item.expires_at),
        &column(items, |item| item
            .nonce
            .as_ref()
            .map(<[u8; NONCE_BYTES]>::as_slice)) as &[Option<&[u8]>],
        i16::from(key_id),
        now,
        now + reminder::PAUSE_MIN,
        &column(items, |item| item.send_seq) as &[Option<i32>],
    ));
    let resent = connection.fetch_all(query).await?;
    connection.notifications.add_mail(organization_id.as_str());
    Ok(resent)
}

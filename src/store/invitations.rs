//! The `invitations` table: making and ending. How they are found stands in `listings`, how a row becomes an
//! [`Invitation`](crate::domain::invitation::Invitation) in `invitation_row`.

use std::collections::HashMap;
use std::sync::Arc;

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::ids::OrganizationId;
use crate::domain::invitation::StateName;
use crate::domain::new_invitation::NewInvitation;
use crate::domain::reminder;
use crate::domain::token::NONCE_BYTES;

/// What is the same for every invitation of a call.
#[derive(Debug, Clone, Copy)]
pub struct BatchRow<'a> {
    /// The organization.
    pub organization_id: &'a OrganizationId,
    /// The call.
    pub batch_id: Uuid,
    /// The key its tokens are derived with.
    pub key_id: u8,
    /// Now.
    pub now: OffsetDateTime,
}

/// An invitation to write. Not `Debug`: it holds an address.
#[derive(Clone)]
pub struct InvitationRow {
    /// Its id.
    pub id: Uuid,
    /// Its chance.
    pub nonce: [u8; NONCE_BYTES],
    /// Everything else, shared with whoever planned it.
    pub item: Arc<NewInvitation>,
}

/// Writes invitations and the mails they owe, in one statement over arrays; returns the ids that were written.
///
/// An address that is pending already is passed over. Rows must come sorted by their normalized address: two batches
/// that overlap would otherwise lock each other's rows in opposite order.
pub async fn insert_many(
    connection: &mut Connection<'_>,
    batch: BatchRow<'_>,
    rows: &[InvitationRow],
) -> Result<Vec<Uuid>, StoreError> {
    debug_assert!(
        rows.is_sorted_by_key(|row| row.item.email.normalized()),
        "unsorted batches deadlock"
    );
    let column = |of: fn(&NewInvitation) -> &str| -> Vec<&str> {
        rows.iter().map(|row| of(&row.item)).collect()
    };
    let json = |of: fn(&NewInvitation) -> Option<&str>| -> Vec<Option<&str>> {
        rows.iter().map(|row| of(&row.item)).collect()
    };
    let ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
    let nonces: Vec<&[u8]> = rows.iter().map(|row| row.nonce.as_slice()).collect();
    let expiries: Vec<OffsetDateTime> = rows.iter().map(|row| row.item.expires_at).collect();
    let notifications: Vec<bool> = rows.iter().map(|row| row.item.notify).collect();
    let leads: Vec<i32> = rows
        .iter()
        .map(|row| row.item.reminder_lead.seconds())
        .collect();
    let reminders: Vec<Option<OffsetDateTime>> = rows
        .iter()
        .map(|row| row.item.remind_at(batch.now))
        .collect();
    let written = sqlx::query_scalar!(
        r#"-- store::invitations::insert_many
        WITH written AS (
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
        ), owed AS (
            INSERT INTO outbox
                   (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
            SELECT id, $1, send_seq, 'queued', 0, $4, $4 FROM written WHERE send_seq = 1
        ), told AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, new_state, new_delivery_state, invitation_ids)
            SELECT $4, $1, $2, 'created', 'pending', delivery_state, array_agg(id ORDER BY id)
              FROM written
             GROUP BY delivery_state
        )
        SELECT id FROM written"#,
        batch.organization_id.as_str(),
        batch.batch_id,
        i16::from(batch.key_id),
        batch.now,
        &ids,
        &nonces as &[&[u8]],
        &expiries,
        &column(|item| item.email.given()) as &[&str],
        &column(|item| item.email.normalized()) as &[&str],
        &column(|item| item.role.as_str()) as &[&str],
        &column(|item| item.inviter_user_id.as_str()) as &[&str],
        &column(|item| &item.locale) as &[&str],
        &column(|item| &item.redirect_url) as &[&str],
        &column(|item| &item.message) as &[&str],
        &column(|item| item.accept_policy.as_str()) as &[&str],
        &json(|item| item.public_metadata.as_deref()) as &[Option<&str>],
        &json(|item| item.private_metadata.as_deref()) as &[Option<&str>],
        &notifications,
        &leads,
        &reminders as &[Option<OffsetDateTime>],
    )
    .fetch_all(connection.driver())
    .await?;
    connection
        .notifications()
        .add_mail(batch.organization_id.as_str());
    Ok(written)
}

/// The pending invitation of an address, expired or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Which.
    pub id: Uuid,
    /// When it expires, or did.
    pub expires_at: OffsetDateTime,
}

/// The pending invitations of addresses in an organization, by address.
///
/// Each address is looked up by itself: a subquery with a limit is never turned into a join. As a join this would be
/// planned by guesses at how many addresses are asked for and how many people the organization has invited, and a wrong
/// guess reads the whole organization for every call, or for every address.
pub async fn pending_for(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    emails_normalized: &[&str],
) -> Result<HashMap<String, Pending>, StoreError> {
    let rows = sqlx::query!(
        r#"-- store::invitations::pending_for
        SELECT asked.email_normalized AS "email_normalized!", i.id, i.expires_at
          FROM UNNEST($2::text[]) AS asked (email_normalized)
         CROSS JOIN LATERAL (
               SELECT id, expires_at
                 FROM invitations
                WHERE organization_id = $1 AND email_normalized = asked.email_normalized COLLATE "C"
                  AND state = 'pending'
                LIMIT 1) AS i"#,
        organization_id.as_str(),
        emails_normalized as &[&str],
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let pending = Pending {
                id: row.id,
                expires_at: row.expires_at,
            };
            (row.email_normalized, pending)
        })
        .collect())
}

/// How pending invitations end without becoming memberships.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// Their person said no.
    Declined,
    /// They were taken back.
    Revoked {
        /// By whom, if they were named.
        by_user_id: Option<&'a str>,
    },
    /// Their time ran out.
    Expired,
}

/// Names of invitations to act on: id and organization.
pub type Target = (Uuid, String);

/// Ends those of the invitations that are pending and cancels their queued mails, in one statement; returns the ids.
///
/// Rows are locked by organization, address and id, as every statement that locks many and waits does: batches that
/// overlap wait for each other instead of deadlocking. An address alone is no order: it has an invitation for each time
/// it was invited.
pub async fn end_many(
    connection: &mut Connection<'_>,
    targets: &[Target],
    end: End<'_>,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, StoreError> {
    let (state, ended_at, by_user_id) = match end {
        End::Declined => (StateName::Declined, Some(now), None),
        End::Revoked { by_user_id } => (StateName::Revoked, Some(now), by_user_id),
        End::Expired => (StateName::Expired, None, None),
    };
    let (ids, organization_ids): (Vec<Uuid>, Vec<String>) = targets.iter().cloned().unzip();
    let ended = sqlx::query_scalar!(
        r#"-- store::invitations::end_many
        WITH target AS (
            SELECT i.id, i.organization_id, i.delivery_state
              FROM UNNEST($1::uuid[], $2::text[]) AS t (id, organization_id)
              JOIN invitations i ON i.id = t.id AND i.organization_id = t.organization_id COLLATE "C"
             WHERE i.state = 'pending'
             ORDER BY i.organization_id, i.email_normalized, i.id
               FOR NO KEY UPDATE OF i
        ), ended AS (
            UPDATE invitations AS i
               SET state = $3, ended_at = $4, ended_by_user_id = $5, updated_at = $6, next_attempt_at = NULL,
                   remind_at = NULL,
                   delivery_state = CASE WHEN i.delivery_state IN ('queued', 'deferred') THEN 'canceled'
                                         ELSE i.delivery_state END
              FROM target
             WHERE i.id = target.id AND i.organization_id = target.organization_id AND i.state = 'pending'
            RETURNING i.id, i.organization_id, i.send_seq, i.batch_id, target.delivery_state AS old_delivery_state,
                      i.delivery_state,
                      'queued' AS waiting
        ), told AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                    new_delivery_state, invitation_ids)
            SELECT $6, organization_id, batch_id, $3, 'pending', old_delivery_state, $3, delivery_state,
                   array_agg(id ORDER BY id)
              FROM ended
             GROUP BY organization_id, batch_id, old_delivery_state, delivery_state
        ), canceled AS (
            UPDATE outbox AS o SET state = 'canceled'
              FROM ended
             WHERE o.invitation_id = ended.id AND o.send_seq = ended.send_seq
               AND o.organization_id = ended.organization_id AND o.state = ended.waiting
        )
        SELECT id FROM ended"#,
        &ids,
        &organization_ids,
        state.as_str(),
        ended_at,
        by_user_id,
        now,
    )
    .fetch_all(connection.driver())
    .await?;
    for id in &organization_ids {
        connection.notifications().add_events(id);
    }
    Ok(ended)
}

/// The pending invitations of organizations, or those of one inviter alone.
pub async fn pending_of(
    connection: &mut Connection<'_>,
    organization_ids: &[String],
    inviter_user_id: Option<&str>,
) -> Result<Vec<Target>, StoreError> {
    let targets = sqlx::query!(
        "-- store::invitations::pending_of
        SELECT id, organization_id
          FROM invitations
         WHERE organization_id = ANY($1) AND state = 'pending' AND ($2::text IS NULL OR inviter_user_id = $2)
         ORDER BY organization_id, email_normalized, id",
        organization_ids,
        inviter_user_id,
    )
    .fetch_all(connection.driver())
    .await?;
    Ok(targets
        .into_iter()
        .map(|row| (row.id, row.organization_id))
        .collect())
}

/// Locks invitations whose time ran out, at most `limit`, passing over those that others hold.
pub async fn lock_expired(
    connection: &mut Connection<'_>,
    now: OffsetDateTime,
    limit: i64,
) -> Result<Vec<Target>, StoreError> {
    let targets = sqlx::query!(
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
    .fetch_all(connection.driver())
    .await?;
    Ok(targets
        .into_iter()
        .map(|row| (row.id, row.organization_id))
        .collect())
}

/// An invitation to mail again.
#[derive(Debug, Clone, Copy)]
pub struct Resending {
    /// Which.
    pub id: Uuid,
    /// When it expires now.
    pub expires_at: OffsetDateTime,
    /// New chance, if older links must die.
    pub nonce: Option<[u8; NONCE_BYTES]>,
    /// The number of its latest mail, if it must still be that one.
    pub send_seq: Option<i32>,
}

/// Makes invitations pending anew with a later expiry and queues a mail for each; a mail that is still queued is
/// replaced. Only pending and expired ones move; returns their ids. Locks as [`end_many`] does. Their reminders are
/// planned anew, by the rule of [`ReminderLead::due_at`](reminder::ReminderLead::due_at).
///
/// The organization travels with each id: as one value for all, a planner without statistics takes it for so rare that it
/// compares each item with each invitation.
///
/// # Errors
///
/// `Conflict(InvitationsPending)` where a newer invitation of the address is pending.
pub async fn resend_many(
    connection: &mut Connection<'_>,
    organization_id: &OrganizationId,
    items: &[Resending],
    key_id: u8,
    now: OffsetDateTime,
) -> Result<Vec<Uuid>, StoreError> {
    let ids: Vec<Uuid> = items.iter().map(|item| item.id).collect();
    let expiries: Vec<OffsetDateTime> = items.iter().map(|item| item.expires_at).collect();
    let nonces: Vec<Option<&[u8]>> = items
        .iter()
        .map(|item| item.nonce.as_ref().map(<[u8; 16]>::as_slice))
        .collect();
    let send_seqs: Vec<Option<i32>> = items.iter().map(|item| item.send_seq).collect();
    let resent = sqlx::query_scalar!(
        r#"-- store::invitations::resend_many
        WITH item AS (
            SELECT t.id, t.organization_id, t.expires_at, t.nonce, i.state, i.delivery_state
              FROM UNNEST($2::uuid[], array_fill($1::text, ARRAY[cardinality($2::uuid[])]), $3::timestamptz[],
                          $4::bytea[], $8::integer[])
                   AS t (id, organization_id, expires_at, nonce, send_seq)
              JOIN invitations i ON i.id = t.id AND i.organization_id = t.organization_id COLLATE "C"
             WHERE i.state IN ('pending', 'expired') AND i.send_seq = coalesce(t.send_seq, i.send_seq)
             ORDER BY i.email_normalized, i.id
               FOR NO KEY UPDATE OF i
        ), resent AS (
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
            RETURNING i.id, i.organization_id, i.send_seq, i.batch_id, item.state AS old_state,
                      item.delivery_state AS old_delivery_state,
                      'queued' AS waiting
        ), told AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                    new_delivery_state, invitation_ids)
            SELECT $6, organization_id, batch_id, 'resent', old_state, old_delivery_state, 'pending', 'queued',
                   array_agg(id ORDER BY id)
              FROM resent
             GROUP BY organization_id, batch_id, old_state, old_delivery_state
        ), replaced AS (
            UPDATE outbox AS o SET state = 'canceled'
              FROM resent
             WHERE o.invitation_id = resent.id AND o.send_seq = resent.send_seq - 1
               AND o.organization_id = resent.organization_id AND o.state = resent.waiting
        ), owed AS (
            INSERT INTO outbox
                   (invitation_id, organization_id, send_seq, state, attempts, created_at, next_attempt_at)
            SELECT id, organization_id, send_seq, 'queued', 0, $6, $6 FROM resent
        )
        SELECT id FROM resent"#,
        organization_id.as_str(),
        &ids,
        &expiries,
        &nonces as &[Option<&[u8]>],
        i16::from(key_id),
        now,
        now + reminder::PAUSE_MIN,
        &send_seqs as &[Option<i32>],
    )
    .fetch_all(connection.driver())
    .await?;
    connection
        .notifications()
        .add_mail(organization_id.as_str());
    Ok(resent)
}

//! The `feedback_events` table: reports that were taken; and what a report tells of the invitation whose mail it is about.

use super::Connection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::invitation::DeliveryState;

/// Remembers a report; `false` if it was taken before. Waits for a twin in flight: when that commits the report is
/// known, when it rolls back the report is new.
pub async fn insert(
    connection: &mut Connection<'_>,
    source: &str,
    event_id: &str,
    now: OffsetDateTime,
) -> Result<bool, StoreError> {
    let inserted = sqlx::query!(
        "-- store::feedback_events::insert
        INSERT INTO feedback_events (source, event_id, created_at) VALUES ($1, $2, $3)
            ON CONFLICT DO NOTHING",
        source,
        event_id,
        now,
    )
    .execute(connection.driver())
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// Forgets reports that were taken before a time, at most `limit`; returns how many.
pub async fn purge(
    connection: &mut Connection<'_>,
    forget_before: OffsetDateTime,
    limit: i64,
) -> Result<u64, StoreError> {
    let purged = sqlx::query!(
        "-- store::feedback_events::purge
        DELETE FROM feedback_events
         WHERE (source, event_id) IN (
               SELECT source, event_id
                 FROM feedback_events
                WHERE created_at <= $1
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
        forget_before,
        limit,
    )
    .execute(connection.driver())
    .await?;
    Ok(purged.rows_affected())
}

/// The invitation that a report is about. Not `Debug`: it holds an address.
pub struct ReportedInvitation {
    /// The invitation.
    pub id: Uuid,
    /// The organization.
    pub organization_id: String,
    /// Which of its mails is the latest.
    pub send_seq: i32,
    /// The address; `None` once it was erased.
    pub email_normalized: Option<String>,
    /// What stands for it then.
    pub address_tag: Option<Vec<u8>>,
    /// The key that is made with.
    pub address_tag_key_id: Option<i16>,
}

/// Locks the invitation of a mail until the transaction ends. Looks without an organization, because a mail names none.
pub async fn lock_invitation(
    connection: &mut Connection<'_>,
    id: Uuid,
) -> Result<Option<ReportedInvitation>, StoreError> {
    let invitation = sqlx::query_as!(
        ReportedInvitation,
        "-- store::feedback_events::lock_invitation
        SELECT id, organization_id, send_seq, email_normalized, address_tag, address_tag_key_id
          FROM invitations
         WHERE id = $1
           FOR NO KEY UPDATE",
        id,
    )
    .fetch_optional(connection.driver())
    .await?;
    Ok(invitation)
}

/// What a report says of a mail.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// Where the mail is after all; `None` if it may still arrive.
    pub delivery_state: Option<DeliveryState>,
    /// The states that this comes after. In any other one the invitation is left as it is.
    pub after: &'a [DeliveryState],
    /// What was said, without the address; may be empty.
    pub text: &'a str,
    /// The SMTP reply code.
    pub reply_code: Option<u16>,
}

/// Tells an invitation that was locked what became of its latest mail. One that is known to have arrived or not is not
/// tried again.
pub async fn tell(
    connection: &mut Connection<'_>,
    invitation: &ReportedInvitation,
    report: Report<'_>,
    now: OffsetDateTime,
) -> Result<(), StoreError> {
    let after: Vec<&str> = report.after.iter().map(|state| state.as_str()).collect();
    sqlx::query!(
        "-- store::feedback_events::tell
        WITH before AS (
            SELECT id, delivery_state FROM invitations WHERE id = $1 AND organization_id = $2
        ), told AS (
            UPDATE invitations
               SET delivery_state = coalesce($3, delivery_state),
                   -- An erased invitation takes in nothing more that may be about its person.
                   delivery_error = CASE WHEN email IS NOT NULL
                                         THEN coalesce(nullif($4, ''), delivery_error) END,
                   delivery_reply_code = coalesce($5, delivery_reply_code),
                   next_attempt_at = CASE WHEN $3::text IS NULL THEN next_attempt_at END,
                   updated_at = $6
             WHERE id = $1 AND organization_id = $2 AND delivery_state = ANY($7)
            RETURNING id, batch_id, state, delivery_state, send_seq,
                      'queued' AS waiting
        ), noted AS (
            INSERT INTO invitation_events
                   (created_at, organization_id, batch_id, event_type, old_state, old_delivery_state, new_state,
                    new_delivery_state, invitation_ids)
            SELECT $6, $2, batch_id, told.delivery_state, state, before.delivery_state, state, told.delivery_state,
                   ARRAY[told.id]
              FROM told
              JOIN before ON before.delivery_state <> told.delivery_state
        )
        UPDATE outbox AS o SET state = 'canceled'
          FROM told
         WHERE o.invitation_id = $1 AND o.send_seq = told.send_seq AND o.organization_id = $2
           AND o.state = told.waiting AND $3::text IS NOT NULL",
        invitation.id,
        invitation.organization_id,
        report.delivery_state.map(DeliveryState::as_str),
        report.text,
        report.reply_code.and_then(|code| i16::try_from(code).ok()),
        now,
        &after as &[&str],
    )
    .execute(connection.driver())
    .await?;
    connection
        .notifications()
        .add_events(&invitation.organization_id);
    Ok(())
}

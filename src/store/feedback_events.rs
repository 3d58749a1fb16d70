//! The `feedback_events` table: delivery reports that were processed, and what a report changes in its invitation.

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Connection, Result, column, query_with_events};
use crate::domain::invitation::DeliveryState;

/// Inserts a report, and returns `false` if it was processed before. Waits for concurrent calls with the same report.
pub async fn insert(
    connection: &mut Connection<'_>,
    source: &str,
    event_id: &str,
    now: OffsetDateTime,
) -> Result<bool> {
    let query = sqlx::query!(
        "-- store::feedback_events::insert
        INSERT INTO feedback_events (source, event_id, created_at) VALUES ($1, $2, $3)
            ON CONFLICT DO NOTHING",
        source,
        event_id,
        now,
    );
    Ok(connection.execute(query).await? == 1)
}

/// Deletes reports that were processed by a time, and returns how many.
pub async fn purge(
    connection: &mut Connection<'_>,
    processed_by: OffsetDateTime,
    limit: i64,
) -> Result<u64> {
    let query = sqlx::query!(
        "-- store::feedback_events::purge
        DELETE FROM feedback_events
         WHERE (source, event_id) IN (
               SELECT source, event_id
                 FROM feedback_events
                WHERE created_at <= $1
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)",
        processed_by,
        limit,
    );
    connection.execute(query).await
}

/// The invitation that a report is about. Not `Debug`: it holds an address.
pub struct ReportedInvitation {
    pub id: Uuid,
    pub organization_id: String,
    /// The number of the invitation's latest email.
    pub send_seq: i32,
    /// `None` once the address was erased.
    pub email_normalized: Option<String>,
    /// The keyed hash of an erased address.
    pub address_tag: Option<Vec<u8>>,
    /// The key that `address_tag` was derived with.
    pub address_tag_key_id: Option<i16>,
}

/// Locks the invitation of an email, of any organization, because an email does not name one.
pub async fn lock_invitation(
    connection: &mut Connection<'_>,
    id: Uuid,
) -> Result<Option<ReportedInvitation>> {
    let query = sqlx::query_as!(
        ReportedInvitation,
        "-- store::feedback_events::lock_invitation
        SELECT id, organization_id, send_seq, email_normalized, address_tag, address_tag_key_id
          FROM invitations
         WHERE id = $1
           FOR NO KEY UPDATE",
        id,
    );
    connection.fetch_optional(query).await
}

#[derive(Debug, Clone, Copy)]
pub struct DeliveryReport<'a> {
    /// The final state of the email. `None` if it may still arrive.
    pub delivery_state: Option<DeliveryState>,
    /// The states that the report may change. In any other state the invitation stays as it is.
    pub after: &'a [DeliveryState],
    /// The reason without the address. May be empty.
    pub text: &'a str,
    pub reply_code: Option<u16>,
}

/// Applies a report to the invitation, which must be locked. An email whose final state is known is not retried.
pub async fn apply_report(
    connection: &mut Connection<'_>,
    invitation: &ReportedInvitation,
    report: DeliveryReport<'_>,
    now: OffsetDateTime,
) -> Result<()> {
    let query = query_with_events!(query!(
        "-- store::feedback_events::apply_report
        WITH before AS (
            SELECT id, delivery_state FROM invitations WHERE id = $1 AND organization_id = $2
        ), updated AS (
            UPDATE invitations
               SET delivery_state = coalesce($3, delivery_state),
                   -- An erased invitation stores no text that may contain personal data.
                   delivery_error = CASE WHEN email IS NOT NULL
                                         THEN coalesce(nullif($4, ''), delivery_error) END,
                   delivery_reply_code = coalesce($5, delivery_reply_code),
                   next_attempt_at = CASE WHEN $3::text IS NULL THEN next_attempt_at END,
                   updated_at = $6
             WHERE id = $1 AND organization_id = $2 AND delivery_state = ANY($7)
            RETURNING id, organization_id, batch_id, updated_at, state, delivery_state, send_seq, 'queued' AS queued_state
        ), changed AS (
            SELECT updated.id, organization_id, batch_id, updated_at, updated.delivery_state AS event_type,
                   state AS old_state, before.delivery_state AS old_delivery_state, state AS new_state,
                   updated.delivery_state AS new_delivery_state
              FROM updated
              JOIN before ON before.delivery_state <> updated.delivery_state
        )" + EVENTS
            + "
        UPDATE outbox AS o SET state = 'canceled'
          FROM updated
         WHERE o.invitation_id = $1 AND o.send_seq = updated.send_seq AND o.organization_id = $2
           AND o.state = updated.queued_state AND $3::text IS NOT NULL",
        invitation.id,
        invitation.organization_id,
        report.delivery_state.map(DeliveryState::as_str),
        report.text,
        report.reply_code.and_then(|code| i16::try_from(code).ok()),
        now,
        &column(report.after, |state| state.as_str()) as &[&str],
    ));
    connection.execute(query).await?;
    let notifications = &mut connection.notifications;
    notifications.add_events(&invitation.organization_id);
    Ok(())
}

//! Reads invitations from the `invitations` table, with what other tables add to them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::subjects::{Subject, current_state};
use super::{Connection, Result, StoreError, bytes_max};
use crate::domain::invitation::{
    AcceptPolicy, Delivery, DeliveryState, Invitation, InvitationState, InvitationView, StateName,
};
use crate::domain::reason::Reason;
use crate::domain::reminder::ReminderLead;
use crate::domain::role::RoleNames;
use crate::domain::token::NONCE_BYTES;

struct StoredRow {
    id: Uuid,
    organization_id: String,
    organization_name: String,
    email: String,
    role: String,
    role_names: Option<Json<RoleNames>>,
    state: String,
    ended_at: Option<OffsetDateTime>,
    ended_by_user_id: Option<String>,
    inviter_user_id: String,
    inviter_name: String,
    invited_user_id: Option<String>,
    redirect_url: String,
    public_metadata: Option<String>,
    private_metadata: Option<String>,
    locale: String,
    organization_locale: String,
    message: String,
    batch_id: Uuid,
    accept_policy: String,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    last_accept_error: Option<String>,
    delivery_state: String,
    delivery_attempts: i32,
    delivery_error: Option<String>,
    delivery_reply_code: Option<i16>,
    queued_at: Option<OffsetDateTime>,
    next_attempt_at: Option<OffsetDateTime>,
    sent_at: Option<OffsetDateTime>,
    sending_attempts: Option<i32>,
    reminder_lead_seconds: i32,
    remind_at: Option<OffsetDateTime>,
    is_organization_deleted: bool,
    is_organization_suspended: bool,
    generation: i32,
    nonce: [u8; NONCE_BYTES],
    key_id: i16,
    email_normalized: String,
    version: String,
    omitted_fields: Vec<String>,
}

/// An invitation that a token names. Not `Debug`: it holds an address.
pub struct VersionedInvitation {
    pub subject: Subject,
    pub invitation: Invitation,
    /// The name of the role in the language of the invitation, or its id if it has no name.
    pub role_display_name: String,
    /// The version of the row. Every change of the row changes it.
    pub version: String,
}

/// Returns the invitation that a token names, of any organization. The caller must check the token and organization.
pub async fn find(
    connection: &mut Connection<'_>,
    id: Uuid,
    now: OffsetDateTime,
) -> Result<Option<VersionedInvitation>> {
    let view = InvitationView::Full;
    let row = rows(connection, None, &[id], view).await?.pop();
    row.map(|row| row.into_versioned(now)).transpose()
}

/// Returns those of an organization's invitations that exist, in the order of `ids`. The fields that the view leaves out
/// are empty.
pub async fn get_many(
    connection: &mut Connection<'_>,
    organization_id: &str,
    ids: &[Uuid],
    view: InvitationView,
    now: OffsetDateTime,
) -> Result<Vec<Invitation>> {
    let rows = rows(connection, Some(organization_id), ids, view).await?;
    in_order(rows, ids, now)
}

/// Does what [`get_many`] does, but returns `None` if the organization is deleted.
pub async fn get_page(
    connection: &mut Connection<'_>,
    organization_id: &str,
    ids: &[Uuid],
    view: InvitationView,
    now: OffsetDateTime,
) -> Result<Option<Vec<Invitation>>> {
    let rows = rows(connection, Some(organization_id), ids, view).await?;
    if rows.iter().any(|row| row.is_organization_deleted) {
        return Ok(None);
    }
    in_order(rows, ids, now).map(Some)
}

fn in_order(rows: Vec<StoredRow>, ids: &[Uuid], now: OffsetDateTime) -> Result<Vec<Invitation>> {
    let mut by_id: HashMap<Uuid, Invitation> = HashMap::with_capacity(rows.len());
    for row in rows {
        // If an id is repeated, its first row is the one that has large fields.
        if let Entry::Vacant(entry) = by_id.entry(row.id) {
            entry.insert(row.into_invitation(now)?);
        }
    }
    Ok(ids.iter().filter_map(|id| by_id.remove(id)).collect())
}

/// Reads invitations of one organization or of any.
///
/// Planning this statement takes several times as long as running it for one id. Because the array is hidden from the
/// planner, each connection plans the statement once and keeps the plan. It may do so while the tables are empty (ADR
/// 31), so each row is looked up by itself.
///
/// The large fields of the rows are counted in the order in which the rows are found, which is that of `ids` and needs no
/// sort. Nothing is read of the large fields of a row that exceeds the limit. In the view BASIC there is no count, so that
/// no row has large fields.
async fn rows(
    connection: &mut Connection<'_>,
    organization_id: Option<&str>,
    ids: &[Uuid],
    view: InvitationView,
) -> Result<Vec<StoredRow>> {
    let query = sqlx::query_as!(
        StoredRow,
        r#"-- store::stored_invitations::rows
        SELECT i.id AS "id!", i.organization_id AS "organization_id!", o.name AS "organization_name!",
               coalesce(i.email, '') AS "email!", i.role AS "role!",
               o.role_names -> i.role AS "role_names?: Json<RoleNames>", o.locale AS "organization_locale!",
               i.state AS "state!", i.ended_at AS "ended_at?",
               i.ended_by_user_id AS "ended_by_user_id?", i.inviter_user_id AS "inviter_user_id!",
               coalesce((SELECT u.name FROM users u WHERE u.id = i.inviter_user_id), '') AS "inviter_name!",
               (SELECT min(e.user_id) FROM user_emails e WHERE e.email_normalized = i.email_normalized)
                   AS "invited_user_id?",
               CASE WHEN i.read_bytes <= $4 THEN i.redirect_url ELSE '' END AS "redirect_url!",
               CASE WHEN i.read_bytes <= $4 THEN i.public_metadata::text END AS "public_metadata?",
               CASE WHEN i.read_bytes <= $4 THEN i.private_metadata::text END AS "private_metadata?",
               i.locale AS "locale!",
               CASE WHEN i.read_bytes <= $4 THEN i.message ELSE '' END AS "message!",
               CASE WHEN i.read_bytes > $4
                    THEN array_remove(ARRAY[CASE WHEN i.redirect_url <> '' THEN 'redirect_url' END,
                                            CASE WHEN i.public_metadata IS NOT NULL THEN 'public_metadata' END,
                                            CASE WHEN i.private_metadata IS NOT NULL THEN 'private_metadata' END,
                                            CASE WHEN i.message <> '' THEN 'message' END], NULL)
                    ELSE '{}' END AS "omitted_fields!: Vec<String>", i.batch_id AS "batch_id!",
               i.accept_policy AS "accept_policy!", i.created_at AS "created_at!", i.updated_at AS "updated_at!",
               i.expires_at AS "expires_at!", i.last_accept_error AS "last_accept_error?", i.delivery_state AS "delivery_state!",
               i.delivery_attempts AS "delivery_attempts!", i.delivery_error AS "delivery_error?",
               i.delivery_reply_code AS "delivery_reply_code?", i.queued_at AS "queued_at?",
               i.next_attempt_at AS "next_attempt_at?", i.sent_at AS "sent_at?",
               (SELECT x.attempts
                  FROM outbox x
                 WHERE x.invitation_id = i.id AND x.send_seq = i.send_seq AND x.organization_id = i.organization_id
                   AND x.state = 'sending') AS "sending_attempts?",
               i.reminder_lead_seconds AS "reminder_lead_seconds!", i.remind_at AS "remind_at?",
               o.deleted_at IS NOT NULL AS "is_organization_deleted!",
               o.suspended_at IS NOT NULL AS "is_organization_suspended!", i.generation AS "generation!",
               i.nonce AS "nonce!: [u8; NONCE_BYTES]", i.key_id AS "key_id!",
               coalesce(i.email_normalized, '') AS "email_normalized!", i.version AS "version!"
          FROM (SELECT found.*, sum(found.bytes) OVER (ROWS UNBOUNDED PRECEDING) AS read_bytes
                  FROM UNNEST((SELECT $2::uuid[])::uuid[]) AS requested (id)
                 CROSS JOIN LATERAL (
                       SELECT *, xmin::text AS version,
                              CASE WHEN $3
                                   THEN octet_length(redirect_url) + octet_length(message)
                                        + coalesce(octet_length(public_metadata::text), 0)
                                        + coalesce(octet_length(private_metadata::text), 0)
                                   END AS bytes
                         FROM invitations
                        WHERE id = requested.id AND ($1::text IS NULL OR organization_id = $1)
                        LIMIT 1) AS found) AS i
         CROSS JOIN LATERAL (
               SELECT name, locale, role_names, deleted_at, suspended_at
                 FROM organizations
                WHERE id = i.organization_id
                LIMIT 1) AS o"#,
        organization_id,
        ids,
        view == InvitationView::Full,
        bytes_max(),
    );
    connection.fetch_all(query).await
}

impl StoredRow {
    fn into_versioned(self, now: OffsetDateTime) -> Result<VersionedInvitation> {
        Ok(VersionedInvitation {
            subject: Subject {
                id: self.id,
                organization_id: self.organization_id.clone(),
                is_organization_deleted: self.is_organization_deleted,
                is_organization_suspended: self.is_organization_suspended,
                generation: self.generation,
                nonce: self.nonce,
                key_id: self.key_id,
                email_normalized: self.email_normalized.clone(),
                state: self.state.clone(),
                expires_at: self.expires_at,
                ended_by_user_id: self.ended_by_user_id.clone(),
            },
            role_display_name: self.role_display_name().to_owned(),
            version: self.version.clone(),
            invitation: self.into_invitation(now)?,
        })
    }

    fn into_invitation(self, now: OffsetDateTime) -> Result<Invitation> {
        let state = self.state(now)?;
        let delivery = self.delivery()?;
        let refusal = self.last_accept_error.as_deref();
        // The row keeps this time even when the email was given up, because the email may be queued again.
        let is_reminded = state == InvitationState::Pending && delivery.state.may_be_reminded_of();
        Ok(Invitation {
            id: self.id,
            organization_id: self.organization_id,
            organization_name: self.organization_name,
            email: self.email,
            role: self.role,
            state,
            inviter_user_id: self.inviter_user_id,
            inviter_name: self.inviter_name,
            invited_user_id: self.invited_user_id,
            redirect_url: self.redirect_url,
            public_metadata: self.public_metadata,
            private_metadata: self.private_metadata,
            locale: self.locale,
            message: self.message,
            batch_id: self.batch_id,
            accept_policy: AcceptPolicy::from_name(&self.accept_policy)
                .ok_or(StoreError::Inconsistent("invitations.accept_policy"))?,
            created_at: self.created_at,
            updated_at: self.updated_at,
            expires_at: self.expires_at,
            last_accept_error: refusal.and_then(Reason::from_code),
            delivery,
            reminder_lead: ReminderLead::from_seconds(self.reminder_lead_seconds),
            remind_at: self.remind_at.filter(|_| is_reminded),
            omitted_fields: self.omitted_fields,
        })
    }

    fn role_display_name(&self) -> &str {
        let locale = match self.locale.as_str() {
            "" => &self.organization_locale,
            locale => locale,
        };
        let names = self.role_names.as_ref();
        names.map_or(&self.role, |names| names.shown(locale, &self.role))
    }

    fn state(&self, now: OffsetDateTime) -> Result<InvitationState> {
        let ended_at = || {
            self.ended_at
                .ok_or(StoreError::Inconsistent("invitations.ended_at"))
        };
        Ok(match current_state(&self.state, self.expires_at, now)? {
            StateName::Pending => InvitationState::Pending,
            StateName::Accepted => InvitationState::Accepted {
                at: ended_at()?,
                by_user_id: self.ended_by_user_id.clone().unwrap_or_default(),
            },
            StateName::Declined => InvitationState::Declined { at: ended_at()? },
            StateName::Revoked => InvitationState::Revoked {
                at: ended_at()?,
                by_user_id: self.ended_by_user_id.clone(),
            },
            StateName::Expired => InvitationState::Expired,
        })
    }

    fn delivery(&self) -> Result<Delivery> {
        let stored = DeliveryState::from_name(&self.delivery_state)
            .ok_or(StoreError::Inconsistent("invitations.delivery_state"))?;
        let attempts = self.sending_attempts.unwrap_or(self.delivery_attempts);
        // A bounce may be reported before the worker that sent the email has settled it.
        let is_reported = matches!(stored, DeliveryState::Bounced | DeliveryState::Complained);
        let is_sending = self.sending_attempts.is_some() && !is_reported;
        Ok(Delivery {
            state: if is_sending {
                DeliveryState::Sending
            } else {
                stored
            },
            attempts: u32::try_from(attempts)
                .map_err(|_| StoreError::Inconsistent("invitations.delivery_attempts"))?,
            last_error: self.delivery_error.clone(),
            last_reply_code: self.delivery_reply_code.map(i16::unsigned_abs),
            queued_at: self.queued_at,
            next_attempt_at: self.next_attempt_at.filter(|_| !is_sending && !is_reported),
            sent_at: self.sent_at,
        })
    }
}

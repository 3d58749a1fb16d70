//! An invitation as JSON, with the field names of the protocol.

use serde_json::{Value, json};

use crate::metadata;
use crate::output::{delivery_state_name, reason_name, short_name};
use crate::proto::{AcceptPolicy, Delivery, ErrorReason, Invitation};

/// Times are RFC 3339 texts, and enum values have no prefix. Fields that are not set are null.
pub(crate) fn invitation_to_json(invitation: Invitation) -> Value {
    let policy = match invitation.accept_policy() {
        AcceptPolicy::Unspecified => Value::Null,
        policy => short_name(policy.as_str_name(), "ACCEPT_POLICY_").into(),
    };
    let last_accept_error = match invitation.last_accept_error() {
        ErrorReason::Unspecified => Value::Null,
        reason => reason_name(reason.into()).into(),
    };
    json!({
        "id": invitation.id,
        "organization_id": invitation.organization_id,
        "organization_name": invitation.organization_name,
        "email": invitation.email,
        "role": invitation.role,
        "state": invitation_state_name(&invitation),
        "inviter_user_id": invitation.inviter_user_id,
        "inviter_name": invitation.inviter_name,
        "registered": invitation.registered,
        "invited_user_id": invitation.invited_user_id,
        "redirect_url": invitation.redirect_url,
        "locale": invitation.locale,
        "message": invitation.message,
        "batch_id": invitation.batch_id,
        "accept_policy": policy,
        "create_time": invitation.create_time.map(|time| time.to_string()),
        "update_time": invitation.update_time.map(|time| time.to_string()),
        "expire_time": invitation.expire_time.map(|time| time.to_string()),
        "accept_time": invitation.accept_time.map(|time| time.to_string()),
        "accepted_by_user_id": invitation.accepted_by_user_id,
        "decline_time": invitation.decline_time.map(|time| time.to_string()),
        "revoke_time": invitation.revoke_time.map(|time| time.to_string()),
        "revoked_by_user_id": invitation.revoked_by_user_id,
        "reminder_lead": invitation.reminder_lead.map(|lead| lead.to_string()),
        "remind_time": invitation.remind_time.map(|time| time.to_string()),
        "last_accept_error": last_accept_error,
        "delivery": invitation.delivery.as_ref().map(delivery_to_json),
        "public_metadata": invitation.public_metadata.map(metadata::to_json),
        "private_metadata": invitation.private_metadata.map(metadata::to_json),
        "omitted_fields": invitation.omitted_fields.map(|mask| mask.paths),
    })
}

/// The state in small letters, such as `pending`.
pub(crate) fn invitation_state_name(invitation: &Invitation) -> String {
    short_name(invitation.state().as_str_name(), "INVITATION_STATE_").to_ascii_lowercase()
}

fn delivery_to_json(delivery: &Delivery) -> Value {
    json!({
        "state": delivery_state_name(delivery.state()),
        "attempt_count": delivery.attempt_count,
        "last_error": delivery.last_error,
        "last_reply_code": delivery.last_reply_code,
        "queue_time": delivery.queue_time.map(|time| time.to_string()),
        "next_attempt_time": delivery.next_attempt_time.map(|time| time.to_string()),
        "send_time": delivery.send_time.map(|time| time.to_string()),
    })
}

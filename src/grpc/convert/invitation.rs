//! Invitations and what narrows a list of them.

use uuid::Uuid;

use super::{error, metadata, times};
use crate::domain::email_address::EmailAddress;
use crate::domain::invitation::{
    AcceptPolicy, Delivery, DeliveryState, Invitation, InvitationState, StateName,
};
use crate::domain::reason::{Reason, Violation};
use crate::proto;
use crate::service::{ListFilter, Preview};

/// An invitation on the wire. Who has an account is told only to callers who may know.
pub(in crate::grpc) fn invitation(input: Invitation, may_see_accounts: bool) -> proto::Invitation {
    let state = state(input.state.name());
    let accounts = may_see_accounts.then_some((input.inviter_name, input.invited_user_id));
    let (inviter_name, invited_user_id) = accounts.unwrap_or_default();
    let mut output = proto::Invitation {
        id: id(input.id),
        organization_id: input.organization_id,
        organization_name: input.organization_name,
        email: input.email,
        role: input.role,
        state: state.into(),
        inviter_user_id: input.inviter_user_id,
        inviter_name,
        registered: invited_user_id.is_some(),
        invited_user_id: invited_user_id.unwrap_or_default(),
        redirect_url: input.redirect_url,
        public_metadata: metadata::structure(input.public_metadata),
        private_metadata: metadata::structure(input.private_metadata),
        locale: input.locale,
        message: input.message,
        batch_id: id(input.batch_id),
        accept_policy: policy(input.accept_policy).into(),
        create_time: Some(times::timestamp(input.created_at)),
        update_time: Some(times::timestamp(input.updated_at)),
        expire_time: Some(times::timestamp(input.expires_at)),
        last_accept_error: input
            .last_accept_error
            .map(error::reason)
            .unwrap_or_default()
            .into(),
        delivery: Some(delivery(input.delivery)),
        remind_time: input.remind_at.map(times::timestamp),
        ..Default::default()
    };
    match input.state {
        InvitationState::Pending | InvitationState::Expired => {}
        InvitationState::Accepted { at, by_user_id } => {
            output.accept_time = Some(times::timestamp(at));
            output.accepted_by_user_id = by_user_id;
        }
        InvitationState::Declined { at } => output.decline_time = Some(times::timestamp(at)),
        InvitationState::Revoked { at, by_user_id } => {
            output.revoke_time = Some(times::timestamp(at));
            output.revoked_by_user_id = by_user_id.unwrap_or_default();
        }
    }
    output
}

/// An id on the wire; a nil one, of what was not made, is empty.
pub(in crate::grpc) fn id(id: Uuid) -> String {
    if id.is_nil() {
        String::new()
    } else {
        id.to_string()
    }
}

/// What a landing page may show.
pub(in crate::grpc) fn preview(input: Preview) -> proto::PreviewResponse {
    let invitation = input.invitation;
    proto::PreviewResponse {
        organization_id: invitation.organization_id,
        organization_name: invitation.organization_name,
        inviter_name: invitation.inviter_name,
        role: invitation.role,
        masked_email: input.masked_email,
        expire_time: Some(times::timestamp(invitation.expires_at)),
        state: state(invitation.state.name()).into(),
        registered: invitation.invited_user_id.is_some(),
        redirect_url: invitation.redirect_url,
    }
}

/// The filters of a list that stand in a field of the request.
pub(in crate::grpc) fn filter_within(
    field: &str,
    request: &proto::ListRequest,
) -> Result<ListFilter, Vec<Violation>> {
    filter(request).map_err(|mut violations| {
        for violation in &mut violations {
            violation.field = format!("{field}.{}", violation.field);
        }
        violations
    })
}

/// What a list is narrowed to; every violation at once.
pub(in crate::grpc) fn filter(request: &proto::ListRequest) -> Result<ListFilter, Vec<Violation>> {
    let mut violations = Vec::new();
    let mut refuse = |field: &str, reason| violations.push(Violation::new(field, reason));
    let state = state_filter(request.state).unwrap_or_else(|()| {
        refuse("state", Reason::FieldInvalid);
        None
    });
    let delivery_state = delivery_filter(request.delivery_state).unwrap_or_else(|()| {
        refuse("delivery_state", Reason::FieldInvalid);
        None
    });
    let email_normalized = match request.email.as_str() {
        "" => None,
        email => EmailAddress::parse(email)
            .map(|email| email.normalized().to_owned())
            .map_err(|error| refuse("email", error.into()))
            .ok(),
    };
    let batch_id = match request.batch_id.as_str() {
        "" => None,
        id => Uuid::try_parse(id)
            .map_err(|_| refuse("batch_id", Reason::FieldInvalid))
            .ok(),
    };
    let inviter_user_id =
        (!request.inviter_user_id.is_empty()).then(|| request.inviter_user_id.clone());
    if inviter_user_id
        .as_deref()
        .is_some_and(|id| crate::domain::ids::UserId::parse(id).is_none())
    {
        refuse("inviter_user_id", Reason::FieldInvalid);
    }
    if violations.is_empty() {
        Ok(ListFilter {
            states: state.into_iter().collect(),
            delivery_state,
            email_normalized,
            inviter_user_id,
            batch_id,
        })
    } else {
        Err(violations)
    }
}

/// The policy of an item; `None` for a value that is not known.
pub(in crate::grpc) fn accept_policy(value: i32) -> Option<AcceptPolicy> {
    match proto::AcceptPolicy::try_from(value).ok()? {
        proto::AcceptPolicy::Unspecified | proto::AcceptPolicy::InvitedEmail => {
            Some(AcceptPolicy::InvitedEmail)
        }
        proto::AcceptPolicy::AnyEmail => Some(AcceptPolicy::AnyEmail),
    }
}

fn policy(policy: AcceptPolicy) -> proto::AcceptPolicy {
    match policy {
        AcceptPolicy::InvitedEmail => proto::AcceptPolicy::InvitedEmail,
        AcceptPolicy::AnyEmail => proto::AcceptPolicy::AnyEmail,
    }
}

/// A state on the wire.
pub(in crate::grpc) fn state(state: StateName) -> proto::InvitationState {
    match state {
        StateName::Pending => proto::InvitationState::Pending,
        StateName::Accepted => proto::InvitationState::Accepted,
        StateName::Declined => proto::InvitationState::Declined,
        StateName::Revoked => proto::InvitationState::Revoked,
        StateName::Expired => proto::InvitationState::Expired,
    }
}

fn state_filter(value: i32) -> Result<Option<StateName>, ()> {
    Ok(
        match proto::InvitationState::try_from(value).map_err(|_| ())? {
            proto::InvitationState::Unspecified => None,
            proto::InvitationState::Pending => Some(StateName::Pending),
            proto::InvitationState::Accepted => Some(StateName::Accepted),
            proto::InvitationState::Declined => Some(StateName::Declined),
            proto::InvitationState::Revoked => Some(StateName::Revoked),
            proto::InvitationState::Expired => Some(StateName::Expired),
        },
    )
}

fn delivery(input: Delivery) -> proto::Delivery {
    proto::Delivery {
        state: delivery_state(input.state).into(),
        attempt_count: i32::try_from(input.attempts).unwrap_or(i32::MAX),
        last_error: input.last_error.unwrap_or_default(),
        last_reply_code: input.last_reply_code.map_or(0, i32::from),
        queue_time: input.queued_at.map(times::timestamp),
        next_attempt_time: input.next_attempt_at.map(times::timestamp),
        send_time: input.sent_at.map(times::timestamp),
    }
}

/// A delivery state on the wire.
pub(in crate::grpc) fn delivery_state(state: DeliveryState) -> proto::DeliveryState {
    match state {
        DeliveryState::NotRequested => proto::DeliveryState::NotRequested,
        DeliveryState::Queued => proto::DeliveryState::Queued,
        DeliveryState::Sending => proto::DeliveryState::Sending,
        DeliveryState::Sent => proto::DeliveryState::Sent,
        DeliveryState::Deferred => proto::DeliveryState::Deferred,
        DeliveryState::Bounced => proto::DeliveryState::Bounced,
        DeliveryState::Complained => proto::DeliveryState::Complained,
        DeliveryState::Failed => proto::DeliveryState::Failed,
        DeliveryState::Suppressed => proto::DeliveryState::Suppressed,
        DeliveryState::Canceled => proto::DeliveryState::Canceled,
    }
}

fn delivery_filter(value: i32) -> Result<Option<DeliveryState>, ()> {
    Ok(
        match proto::DeliveryState::try_from(value).map_err(|_| ())? {
            proto::DeliveryState::Unspecified => None,
            proto::DeliveryState::NotRequested => Some(DeliveryState::NotRequested),
            proto::DeliveryState::Queued => Some(DeliveryState::Queued),
            proto::DeliveryState::Sending => Some(DeliveryState::Sending),
            proto::DeliveryState::Sent => Some(DeliveryState::Sent),
            proto::DeliveryState::Deferred => Some(DeliveryState::Deferred),
            proto::DeliveryState::Bounced => Some(DeliveryState::Bounced),
            proto::DeliveryState::Complained => Some(DeliveryState::Complained),
            proto::DeliveryState::Failed => Some(DeliveryState::Failed),
            proto::DeliveryState::Suppressed => Some(DeliveryState::Suppressed),
            proto::DeliveryState::Canceled => Some(DeliveryState::Canceled),
        },
    )
}

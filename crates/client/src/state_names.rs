//! The states of invitations and of their emails, as values of command line options.

use crate::enum_parser::ArgumentText;
use crate::proto::{DeliveryState, InvitationState};

pub(crate) fn invitation_state_text(state: InvitationState) -> ArgumentText {
    Some(match state {
        InvitationState::Pending => ("pending", "Not answered yet"),
        InvitationState::Accepted => ("accepted", "The person is a member"),
        InvitationState::Declined => ("declined", "The person declined"),
        InvitationState::Revoked => ("revoked", "The organization revoked it"),
        InvitationState::Expired => ("expired", "Not answered before its expiry"),
        InvitationState::Unspecified => return None,
    })
}

/// The states in which an email can be sent again.
pub(crate) fn unanswered_state_text(state: InvitationState) -> ArgumentText {
    match state {
        InvitationState::Pending | InvitationState::Expired => invitation_state_text(state),
        _ => None,
    }
}

pub(crate) fn delivery_state_text(state: DeliveryState) -> ArgumentText {
    Some(match state {
        DeliveryState::NotRequested => ("not-requested", "No email was requested"),
        DeliveryState::Queued => ("queued", "Waits in the queue"),
        DeliveryState::Sending => ("sending", "A worker is about to send it"),
        DeliveryState::Sent => ("sent", "Accepted by the mail server"),
        DeliveryState::Deferred => ("deferred", "The server retries later"),
        DeliveryState::Bounced => ("bounced", "Returned by the receiving mail server"),
        DeliveryState::Complained => ("complained", "Reported as spam"),
        DeliveryState::Failed => ("failed", "Given up"),
        DeliveryState::Suppressed => (
            "suppressed",
            "Not sent, because the address is on the suppression list",
        ),
        DeliveryState::Canceled => ("canceled", "Not needed any more"),
        DeliveryState::Unspecified => return None,
    })
}

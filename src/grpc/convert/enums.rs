//! Enums of the protocol and of the domain.

use crate::domain::invitation::{AcceptPolicy, DeliveryState, StateName};
use crate::proto;
use crate::service::ItemOutcome;
use crate::service::bulk_create::OnExisting;

pub(in crate::grpc) const fn state(state: StateName) -> proto::InvitationState {
    match state {
        StateName::Pending => proto::InvitationState::Pending,
        StateName::Accepted => proto::InvitationState::Accepted,
        StateName::Declined => proto::InvitationState::Declined,
        StateName::Revoked => proto::InvitationState::Revoked,
        StateName::Expired => proto::InvitationState::Expired,
    }
}

/// The state of a filter. `None` for any state.
///
/// # Errors
///
/// For a number that is no state.
pub(super) fn state_filter(value: i32) -> Result<Option<StateName>, ()> {
    let state = proto::InvitationState::try_from(value).map_err(|_| ())?;
    Ok(match state {
        proto::InvitationState::Unspecified => None,
        proto::InvitationState::Pending => Some(StateName::Pending),
        proto::InvitationState::Accepted => Some(StateName::Accepted),
        proto::InvitationState::Declined => Some(StateName::Declined),
        proto::InvitationState::Revoked => Some(StateName::Revoked),
        proto::InvitationState::Expired => Some(StateName::Expired),
    })
}

pub(in crate::grpc) const fn delivery_state(state: DeliveryState) -> proto::DeliveryState {
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

/// The delivery state of a filter. `None` for any.
///
/// # Errors
///
/// For a number that is no delivery state.
pub(super) fn delivery_filter(value: i32) -> Result<Option<DeliveryState>, ()> {
    let state = proto::DeliveryState::try_from(value).map_err(|_| ())?;
    Ok(match state {
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
    })
}

pub(super) const fn accept_policy(policy: AcceptPolicy) -> proto::AcceptPolicy {
    match policy {
        AcceptPolicy::InvitedEmail => proto::AcceptPolicy::InvitedEmail,
        AcceptPolicy::AnyEmail => proto::AcceptPolicy::AnyEmail,
    }
}

/// The policy of an item. `None` for a number that is no policy.
pub(super) fn parse_accept_policy(value: i32) -> Option<AcceptPolicy> {
    match proto::AcceptPolicy::try_from(value).ok()? {
        proto::AcceptPolicy::Unspecified | proto::AcceptPolicy::InvitedEmail => {
            Some(AcceptPolicy::InvitedEmail)
        }
        proto::AcceptPolicy::AnyEmail => Some(AcceptPolicy::AnyEmail),
    }
}

/// `None` for a number that is no value.
pub(super) fn parse_on_existing(value: i32) -> Option<OnExisting> {
    Some(match proto::OnExisting::try_from(value).ok()? {
        proto::OnExisting::Unspecified | proto::OnExisting::Fail => OnExisting::Fail,
        proto::OnExisting::Return => OnExisting::Return,
        proto::OnExisting::Resend => OnExisting::Resend,
        proto::OnExisting::Replace => OnExisting::Replace,
    })
}

pub(super) const fn create_outcome(outcome: ItemOutcome) -> proto::CreateOutcome {
    match outcome {
        ItemOutcome::Created => proto::CreateOutcome::Created,
        ItemOutcome::Existing => proto::CreateOutcome::Existing,
        ItemOutcome::Resent => proto::CreateOutcome::Resent,
        ItemOutcome::Replaced => proto::CreateOutcome::Replaced,
        ItemOutcome::Failed => proto::CreateOutcome::Failed,
    }
}

//! Enums of the protocol and of the domain.

use super::fields::{Field, invalid};
use crate::domain::invitation::{AcceptPolicy, DeliveryState, InvitationView, StateName};
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

/// Those of the allowed states that a filter names.
pub(super) fn states(values: &[i32], allowed: &[StateName]) -> Field<Vec<StateName>> {
    named("states", values, allowed, |one| state(one).into())
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

/// Those of the allowed delivery states that a filter names.
pub(super) fn delivery_states(
    values: &[i32],
    allowed: &[DeliveryState],
) -> Field<Vec<DeliveryState>> {
    named("delivery_states", values, allowed, |one| {
        delivery_state(one).into()
    })
}

/// Refuses every number that stands for none of the allowed values. That includes 0, the number of an unset variable.
fn named<T: Copy>(
    field: &str,
    values: &[i32],
    allowed: &[T],
    number: impl Fn(T) -> i32,
) -> Field<Vec<T>> {
    let numbers: Vec<i32> = allowed.iter().map(|one| number(*one)).collect();
    if !values.iter().all(|value| numbers.contains(value)) {
        return Err(invalid(field));
    }
    let is_named = |one: &T| values.contains(&number(*one));
    Ok(allowed.iter().copied().filter(is_named).collect())
}

pub(in crate::grpc) fn view(value: i32) -> Field<InvitationView> {
    let view = proto::InvitationView::try_from(value).map_err(|_| invalid("view"))?;
    Ok(match view {
        proto::InvitationView::Unspecified | proto::InvitationView::Basic => InvitationView::Basic,
        proto::InvitationView::Full => InvitationView::Full,
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

pub(super) fn on_existing(value: i32) -> Field<OnExisting> {
    let value = proto::OnExisting::try_from(value).map_err(|_| invalid("on_existing"))?;
    Ok(match value {
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

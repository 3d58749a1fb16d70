//! Filters of invitations.

use uuid::Uuid;

use super::enums;
use super::fields::Field;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::UserId;
use crate::domain::invitation_filter::InvitationFilter;
use crate::domain::reason::{Reason, Violation};
use crate::proto;

/// The filter of a list. Reports every violation.
pub(in crate::grpc) fn filter(request: &proto::ListRequest) -> Field<InvitationFilter> {
    let mut violations = Vec::new();
    let mut refuse = |field: &str, reason| violations.push(Violation::new(field, reason));
    let state = enums::state_filter(request.state).unwrap_or_else(|()| {
        refuse("state", Reason::FieldInvalid);
        None
    });
    let delivery_state = enums::delivery_filter(request.delivery_state).unwrap_or_else(|()| {
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
    let inviter_user_id = Some(request.inviter_user_id.clone()).filter(|id| !id.is_empty());
    if inviter_user_id
        .as_deref()
        .is_some_and(|id| UserId::parse(id).is_none())
    {
        refuse("inviter_user_id", Reason::FieldInvalid);
    }
    if !violations.is_empty() {
        return Err(violations);
    }
    Ok(InvitationFilter {
        states: state.into_iter().collect(),
        delivery_state,
        email_normalized,
        inviter_user_id,
        batch_id,
    })
}

/// The filter of a bulk call, which has the fields of a list and stands in the field `filter`.
pub(super) fn bulk_filter(request: &proto::ListRequest) -> Field<InvitationFilter> {
    filter(request).map_err(|violations| {
        let name = |violation: Violation| {
            Violation::new(format!("filter.{}", violation.field), violation.reason)
        };
        violations.into_iter().map(name).collect()
    })
}

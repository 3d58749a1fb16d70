//! Which invitation a call accepts or declines.

use super::fields::{self, Field};
use crate::domain::reason::{Reason, Violation};
use crate::proto::{accept_request, decline_request};
use crate::service::InvitationTarget;

pub(in crate::grpc) fn accept_target(
    input: Option<&accept_request::Target>,
) -> Field<InvitationTarget> {
    match input {
        None => Err(missing()),
        Some(accept_request::Target::Token(token)) => by_token(token),
        Some(accept_request::Target::InvitationId(id)) => by_id(id),
    }
}

pub(in crate::grpc) fn decline_target(
    input: Option<&decline_request::Target>,
) -> Field<InvitationTarget> {
    match input {
        None => Err(missing()),
        Some(decline_request::Target::Token(token)) => by_token(token),
        Some(decline_request::Target::InvitationId(id)) => by_id(id),
    }
}

fn by_token(input: &str) -> Field<InvitationTarget> {
    fields::token(input).map(InvitationTarget::Token)
}

fn by_id(input: &str) -> Field<InvitationTarget> {
    fields::invitation_id(input).map(InvitationTarget::Id)
}

fn missing() -> Vec<Violation> {
    vec![Violation::new("target", Reason::FieldRequired)]
}

//! Which invitation a call accepts or declines.

use super::fields::{self, Field};
use crate::domain::token::Token;
use crate::proto::{accept_request, decline_request};

// TODO(13): targets by invitation id.
pub(in crate::grpc) fn accept_token(target: Option<&accept_request::Target>) -> Field<Token> {
    match target {
        Some(accept_request::Target::Token(token)) => fields::token(token),
        _ => fields::token(""),
    }
}

pub(in crate::grpc) fn decline_token(target: Option<&decline_request::Target>) -> Field<Token> {
    match target {
        Some(decline_request::Target::Token(token)) => fields::token(token),
        _ => fields::token(""),
    }
}

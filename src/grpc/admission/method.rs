//! What is known about a method before a call: its name, who may call it and how long it may take.

use std::time::Duration;

use crate::domain::scope::Scope;
use crate::grpc::wire::limits::{BULK_CALL_DURATION_MAX, CALL_DURATION_MAX};

/// A method of the protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Method {
    pub(super) name: &'static str,
    /// The scope that services need.
    pub(super) scope: Scope,
    /// Whether signed-in users may call it. Which of them may is checked by the method.
    pub(super) is_for_users: bool,
    pub(super) duration_max: Duration,
}

impl Method {
    /// A method for services that reads or writes one row or one page.
    pub(crate) const fn quick(name: &'static str, scope: Scope) -> Self {
        Self {
            name,
            scope,
            is_for_users: false,
            duration_max: CALL_DURATION_MAX,
        }
    }

    /// A method for services that may write thousands of rows.
    pub(crate) const fn bulk(name: &'static str, scope: Scope) -> Self {
        Self {
            duration_max: BULK_CALL_DURATION_MAX,
            ..Self::quick(name, scope)
        }
    }

    /// The same method, for users too.
    pub(crate) const fn for_users(self) -> Self {
        Self {
            is_for_users: true,
            ..self
        }
    }
}

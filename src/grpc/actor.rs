//! The actor of a call: what use cases are told of its caller.

use super::callers::Caller;
use crate::domain::actor::Actor;

/// Who acts in a call of this caller.
pub(super) fn actor(caller: &Caller) -> Actor {
    Actor {
        caller: caller.name.clone(),
        user_id: None,
        access: caller.access.clone(),
    }
}

//! The actor of a call: what use cases know about its caller.

use crate::domain::access::Access;
use crate::domain::actor::Actor;
use crate::identity::Caller;

/// The actor of a call.
pub(crate) fn actor(caller: &Caller) -> Actor {
    Actor {
        caller: caller.name.clone(),
        label: caller.label.clone(),
        user_id: caller.as_user().map(|user| user.id.as_str().to_owned()),
        access: caller.access.clone(),
    }
}

/// The actor of a call that carries the token of a link. A user may use the link of any organization.
pub(crate) fn actor_by_link(caller: &Caller) -> Actor {
    let actor = actor(caller);
    match caller.as_user() {
        None => actor,
        Some(_) => Actor {
            access: Access::Every,
            ..actor
        },
    }
}

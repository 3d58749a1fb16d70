//! The actor of a call: what use cases are told of its caller.

use crate::domain::access::Access;
use crate::domain::actor::Actor;
use crate::grpc::admission::user;
use crate::identity::Caller;

/// Who acts in a call of this caller.
pub(crate) fn actor(caller: &Caller) -> Actor {
    actor_with(caller, caller.access.clone())
}

/// Who acts in a call that carries a link's token.
pub(crate) fn actor_by_link(caller: &Caller) -> Actor {
    actor_with(caller, user::access_by_link(caller))
}

fn actor_with(caller: &Caller, access: Access) -> Actor {
    Actor {
        caller: caller.name.clone(),
        label: caller.label.clone(),
        user_id: caller.as_user().map(|user| user.id.as_str().to_owned()),
        access,
    }
}

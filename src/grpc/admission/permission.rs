//! What a caller may do: scopes, the organizations it may act for, and the actor that use cases see.
//!
//! Permission is checked before existence and before other fields: a foreign organization is refused like an unknown one.

use tonic::Status;

use crate::domain::actor::Access;
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::domain::reason::Reason;
use crate::domain::scope::Scope;
use crate::grpc::convert::fields::{self, Field, Fields as _};
use crate::grpc::status;
use crate::identity::Caller;

/// Refuses a caller without a scope. Users have none.
pub(crate) fn require_scope(caller: &Caller, scope: Scope) -> Result<(), Status> {
    if caller.holds(scope) {
        Ok(())
    } else {
        Err(status::refused_with(
            Reason::ScopeMissing,
            "scope",
            scope.as_str(),
        ))
    }
}

/// Refuses a caller that is limited to some organizations, for methods that change what belongs to none.
pub(crate) fn require_every_organization(caller: &Caller) -> Result<(), Status> {
    match caller.access {
        Access::Every => Ok(()),
        Access::Only(_) => Err(status::refused(Reason::OrganizationDenied)),
    }
}

pub(crate) fn organization(caller: &Caller, input: &str) -> Result<Field<OrganizationId>, Status> {
    let id = fields::organization_id(input);
    match &id {
        Ok(id) if !caller.access.allows(id.as_str()) => {
            Err(status::refused(Reason::OrganizationDenied))
        }
        _ => Ok(id),
    }
}

/// The organization of a request, or `None` for all organizations, which needs a caller that is not limited.
pub(crate) fn optional_organization(
    caller: &Caller,
    input: &str,
) -> Result<Field<Option<OrganizationId>>, Status> {
    if input.is_empty() {
        require_every_organization(caller)?;
        return Ok(Ok(None));
    }
    Ok(organization(caller, input)?.map(Some))
}

/// What use cases know about a caller.
pub(crate) fn actor(caller: &Caller) -> Actor {
    Actor {
        caller: caller.name.clone(),
        label: caller.label.clone(),
        user_id: caller.as_user().map(|user| user.id.as_str().to_owned()),
        request_id: None,
        access: caller.access.clone(),
    }
}

/// The actor of a call for services that names, for the audit log, the user who asked for it and a request id.
pub(crate) fn named_actor(caller: &Caller, acting_user_id: &str, request_id: &str) -> Field<Actor> {
    let (user_id, request_id) = (
        fields::optional(acting_user_id, fields::acting_user_id),
        fields::request_id(request_id),
    )
        .all()?;
    Ok(Actor {
        user_id: user_id.map(|id| id.as_str().to_owned()),
        request_id,
        ..actor(caller)
    })
}

/// The actor of a call of the invited person, by a link or an id. A user may be invited into any organization.
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

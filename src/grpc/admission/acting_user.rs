//! What a signed-in user may say. A service may speak for users; a user speaks for themselves.
//!
//! Whether a user may act for an organization is checked by the directory.

use tonic::Status;

use crate::domain::actor::Actor;
use crate::domain::reason::Reason;
use crate::domain::scope::Scope;
use crate::domain::user::User;
use crate::grpc::convert::fields::{self, Field, Fields as _};
use crate::grpc::convert::target;
use crate::grpc::status;
use crate::identity::{Caller, SignedInUser};
use crate::proto::{AcceptRequest, DeclineRequest, NewInvitation};
use crate::service::{Accept, Decline};

use super::permission::{self, require_scope};

/// Makes the user the inviter of a request, and refuses what only services may say.
pub(crate) fn restrict_inviter(
    caller: &Caller,
    field: &str,
    inviter_user_id: &mut String,
    return_link: bool,
) -> Result<(), Status> {
    if let Some(user) = caller.as_user() {
        require_self(user, field, inviter_user_id)?;
        user.id.as_str().clone_into(inviter_user_id);
    }
    if return_link {
        require_scope(caller, Scope::InvitationsLink)?;
    }
    Ok(())
}

/// Refuses items in which a user names another inviter or private metadata. `list` is the name of their field.
pub(crate) fn restrict_items<'a>(
    caller: &Caller,
    list: &str,
    items: impl IntoIterator<Item = &'a NewInvitation>,
) -> Result<(), Status> {
    let Some(user) = caller.as_user() else {
        return Ok(());
    };
    for item in items {
        require_self(
            user,
            &format!("{list}.inviter_user_id"),
            &item.inviter_user_id,
        )?;
        if item.private_metadata.is_some() {
            require_absent(&format!("{list}.private_metadata"), false)?;
        }
    }
    Ok(())
}

/// The acceptance of a user, with the verified address of the user's token.
pub(crate) fn accept(
    caller: &Caller,
    user: &SignedInUser,
    request: &AcceptRequest,
) -> Result<Accept, Status> {
    require_self(user, "user_id", &request.user_id)?;
    require_absent("verified_emails", request.verified_emails.is_empty())?;
    require_absent("user_name", request.user_name.is_empty())?;
    let email = verified_email(user)?;
    let (target, request_id) = (
        target::accept_target(request.target.as_ref()),
        fields::request_id(&request.request_id),
    )
        .valid()?;
    Ok(Accept {
        target,
        user: User {
            id: user.id.clone(),
            name: user.name.clone(),
            emails_normalized: vec![email],
        },
        is_self: true,
        actor: Actor {
            request_id,
            ..permission::actor_by_link(caller)
        },
    })
}

/// The refusal of a user, with the verified address of the user's token.
pub(crate) fn decline(
    caller: &Caller,
    user: &SignedInUser,
    request: &DeclineRequest,
) -> Result<Decline, Status> {
    require_self(user, "user_id", &request.user_id)?;
    require_absent("verified_emails", request.verified_emails.is_empty())?;
    let email = verified_email(user)?;
    let (target, request_id) = (
        target::decline_target(request.target.as_ref()),
        fields::request_id(&request.request_id),
    )
        .valid()?;
    Ok(Decline {
        target,
        suppress: request.suppress,
        user_id: Some(user.id.clone()),
        emails_normalized: vec![email],
        is_self: true,
        actor: Actor {
            request_id,
            ..permission::actor_by_link(caller)
        },
    })
}

fn verified_email(user: &SignedInUser) -> Result<String, Status> {
    user.email
        .as_ref()
        .map(|email| email.normalized().to_owned())
        .ok_or_else(|| status::refused(Reason::EmailUnverified))
}

/// The actor of a request with an `acting_user_id` and a `request_id`. A user may name only themselves, and is the default.
pub(crate) fn actor(
    caller: &Caller,
    acting_user_id: &str,
    request_id: &str,
) -> Result<Field<Actor>, Status> {
    let actor = permission::actor(caller);
    if let Some(user) = caller.as_user() {
        require_self(user, "acting_user_id", acting_user_id)?;
    }
    let named = fields::optional(acting_user_id, fields::acting_user_id);
    let fields = (named, fields::request_id(request_id)).all();
    Ok(fields.map(|(named, request_id)| Actor {
        user_id: actor.user_id.or(named.map(|id| id.as_str().to_owned())),
        request_id,
        ..actor
    }))
}

fn require_self(user: &SignedInUser, field: &str, named: &str) -> Result<(), Status> {
    require_absent(field, named.is_empty() || named == user.id.as_str())
}

fn require_absent(field: &str, is_absent: bool) -> Result<(), Status> {
    if is_absent {
        Ok(())
    } else {
        Err(status::refused_with(Reason::UserDenied, "field", field))
    }
}

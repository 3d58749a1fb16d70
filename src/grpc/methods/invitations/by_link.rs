//! The methods for the person who was invited, by the token of the link or by the id of the invitation.

use std::sync::Arc;

use tonic::Status;

use crate::domain::actor::Actor;
use crate::domain::user::{self, User};
use crate::grpc::admission::acting_user;
use crate::grpc::admission::permission::actor_by_link;
use crate::grpc::convert::fields::{self, Field, Fields as _};
use crate::grpc::convert::target;
use crate::grpc::convert::viewer::Viewer;
use crate::grpc::methods::api::Api;
use crate::identity::Caller;
use crate::proto::{
    AcceptRequest, AcceptResponse, DeclineRequest, DeclineResponse, PreviewRequest, PreviewResponse,
};
use crate::service::{Accept, Decline, InvitationTarget, PreviewInvitation, ServiceError};

pub(super) async fn preview(
    api: &Api,
    caller: Arc<Caller>,
    message: PreviewRequest,
) -> Result<PreviewResponse, Status> {
    let preview = PreviewInvitation {
        token: fields::token(&message.token).valid()?,
        actor: actor_by_link(&caller),
    };
    let found = api.service.run(preview).await?;
    Ok(Viewer::new(&caller).preview(found))
}

pub(super) async fn accept(
    api: &Api,
    caller: Arc<Caller>,
    message: AcceptRequest,
) -> Result<AcceptResponse, Status> {
    let accept = match caller.as_user() {
        None => accept_for(&caller, &message).valid()?,
        Some(user) => acting_user::accept(&caller, user, &message)?,
    };
    let user_id = accept.user.id.as_str().to_owned();
    let failed_accepts = &api.rates.failed_accepts;
    failed_accepts.check(&caller.name, &user_id)?;
    let accepted = api.service.run(accept).await;
    if accepted.as_ref().is_err_and(ServiceError::is_refusal) {
        failed_accepts.count(&caller.name, &user_id)?;
    }
    let accepted = accepted?;
    let viewer = Viewer::new(&caller);
    Ok(AcceptResponse {
        membership: Some(viewer.membership(accepted.membership)),
        invitation: Some(viewer.invitation_of_link(accepted.invitation)),
        already_member: accepted.is_already_member,
    })
}

fn accept_for(caller: &Caller, message: &AcceptRequest) -> Field<Accept> {
    let user = User::parse(
        &message.user_id,
        &message.user_name,
        &message.verified_emails,
        ["user_id", "user_name", "verified_emails"],
    );
    let (target, user, request_id) = (
        target::accept_target(message.target.as_ref()),
        user,
        fields::request_id(&message.request_id),
    )
        .all()?;
    Ok(Accept {
        target,
        user,
        is_self: false,
        actor: Actor {
            request_id,
            ..actor_by_link(caller)
        },
    })
}

pub(super) async fn decline(
    api: &Api,
    caller: Arc<Caller>,
    message: DeclineRequest,
) -> Result<DeclineResponse, Status> {
    let decline = match caller.as_user() {
        None => decline_for(&caller, &message).valid()?,
        Some(user) => acting_user::decline(&caller, user, &message)?,
    };
    let declined = api.service.run(decline).await?;
    Ok(DeclineResponse {
        invitation: Some(Viewer::new(&caller).invitation_of_link(declined)),
    })
}

/// The holder of a link may be a person without an account. A call with an id must say for whom.
fn decline_for(caller: &Caller, message: &DeclineRequest) -> Field<Decline> {
    let target = target::decline_target(message.target.as_ref());
    let user_id = match target {
        Ok(InvitationTarget::Id(_)) => fields::user_id(&message.user_id).map(Some),
        _ => fields::optional(&message.user_id, fields::user_id),
    };
    let (target, user_id, emails_normalized, request_id) = (
        target,
        user_id,
        user::parse_emails("verified_emails", &message.verified_emails),
        fields::request_id(&message.request_id),
    )
        .all()?;
    Ok(Decline {
        target,
        suppress: message.suppress,
        user_id,
        emails_normalized,
        is_self: false,
        actor: Actor {
            request_id,
            ..actor_by_link(caller)
        },
    })
}

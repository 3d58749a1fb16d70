//! What a user may say and see. A service is believed about users; a user speaks for themselves alone.
//!
//! Whether a user may act for an organization is asked of the directory, by `service`.

use tonic::Status;

use crate::domain::access::Access;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::UserId;
use crate::domain::invitation::Invitation;
use crate::domain::reason::Reason;
use crate::domain::scope::Scope;
use crate::domain::user::User;
use crate::grpc::convert::fields;
use crate::grpc::status;
use crate::identity::{Caller, SignedInUser};
use crate::proto::{AcceptRequest, BulkCreateRequest, BulkCreateStreamHeader, NewInvitation};
use crate::service::Accept;

/// The organizations whose links a caller may use: a user any, because the link is theirs or is of no use to them.
pub(crate) fn access_by_link(caller: &Caller) -> Access {
    match caller.as_user() {
        None => caller.access.clone(),
        Some(_) => Access::Every,
    }
}

/// Makes a request to invite the user's own: they invite, and what is for backend services alone is not theirs to say.
pub(crate) fn invites_as_self(
    user: &SignedInUser,
    request: &mut BulkCreateRequest,
) -> Result<(), Status> {
    require_self(user, "inviter_user_id", &request.inviter_user_id)?;
    for item in &request.invitations {
        require_own_item(user, "invitations", item)?;
    }
    require_no_link(request.return_link)?;
    user.id.as_str().clone_into(&mut request.inviter_user_id);
    Ok(())
}

/// The same for the header of a stream.
pub(crate) fn streams_as_self(
    user: &SignedInUser,
    header: &mut BulkCreateStreamHeader,
) -> Result<(), Status> {
    require_self(user, "header.inviter_user_id", &header.inviter_user_id)?;
    require_no_link(header.return_link)?;
    user.id.as_str().clone_into(&mut header.inviter_user_id);
    Ok(())
}

/// The same for one item, of a list of this name.
pub(crate) fn require_own_item(
    user: &SignedInUser,
    list: &str,
    item: &NewInvitation,
) -> Result<(), Status> {
    if !item.inviter_user_id.is_empty() {
        let field = format!("{list}.inviter_user_id");
        require_self(user, &field, &item.inviter_user_id)?;
    }
    if item.private_metadata.is_some() {
        require_unsaid(&format!("{list}.private_metadata"), false)?;
    }
    Ok(())
}

fn require_no_link(return_link: bool) -> Result<(), Status> {
    if return_link {
        return Err(status::refused_with(
            Reason::ScopeMissing,
            "scope",
            Scope::InvitationsLink.as_str(),
        ));
    }
    Ok(())
}

/// A user's acceptance: of the address in their token, whatever else they say.
pub(crate) fn accept(user: &SignedInUser, request: &AcceptRequest) -> Result<Accept, Status> {
    require_self(user, "user_id", &request.user_id)?;
    require_unsaid("user_emails", request.user_emails.is_empty())?;
    require_unsaid("user_name", request.user_name.is_empty())?;
    let email = verified_email(user)?;
    let token = fields::token(&request.token).map_err(status::invalid)?;
    Ok(Accept {
        token,
        user: User {
            id: user.id.clone(),
            name: user.name.clone(),
            emails_normalized: vec![email],
        },
        is_self: true,
    })
}

/// The normal form of the address that the user has proven to own.
pub(crate) fn verified_email(user: &SignedInUser) -> Result<String, Status> {
    user.email
        .as_ref()
        .map(|email| email.normalized().to_owned())
        .ok_or_else(|| status::refused(Reason::EmailUnverified))
}

/// Refuses a user who names somebody else; nobody at all means themselves.
pub(crate) fn require_self(user: &SignedInUser, field: &str, named: &str) -> Result<(), Status> {
    require_unsaid(field, named.is_empty() || named == user.id.as_str())
}

/// The user that a call names: for a user themselves, and nobody else.
pub(crate) fn named_or_self(
    caller: &Caller,
    field: &str,
    named: Option<UserId>,
) -> Result<Option<UserId>, Status> {
    let Some(user) = caller.as_user() else {
        return Ok(named);
    };
    require_self(user, field, named.as_ref().map_or("", UserId::as_str))?;
    Ok(Some(user.id.clone()))
}

/// Takes from invitations what is for backend services alone, if it is a user who looks.
pub(crate) fn conceal<'a>(
    caller: &Caller,
    invitations: impl IntoIterator<Item = &'a mut Invitation>,
) {
    if caller.as_user().is_some() {
        for invitation in invitations {
            invitation.private_metadata = None;
        }
    }
}

/// Takes from an invitation what is about the invited person, if a user looks who took it by a link for anybody: the
/// address in their token is another.
pub(crate) fn conceal_person(caller: &Caller, invitation: &mut Invitation) {
    let Some(user) = caller.as_user() else {
        return;
    };
    let invited = EmailAddress::from_stored(&invitation.email);
    let is_theirs = user
        .email
        .as_ref()
        .zip(invited.as_ref())
        .is_some_and(|(own, invited)| own.normalized() == invited.normalized());
    if !is_theirs {
        invitation.email.clear();
        invitation.message.clear();
        invitation.delivery.last_error = None;
    }
}

fn require_unsaid(field: &str, is_unsaid: bool) -> Result<(), Status> {
    if is_unsaid {
        Ok(())
    } else {
        Err(status::refused_with(Reason::UserDenied, "field", field))
    }
}

//! Builders for the requests of most tests. Those with an organization are for ACME, on behalf of `ada` where a request
//! names an inviter. Bulk requests and lists ask for the full view. Set other fields with struct update syntax.

use std::ops::Range;

use invitations::domain::actor::Actor;
use invitations::proto::{
    AcceptRequest, BulkCreateRequest, BulkDeleteMembershipsRequest, BulkDeleteUsersRequest,
    BulkGetRequest, BulkResendRequest, BulkRevokeRequest, DeclineRequest, DeleteMembershipRequest,
    DeleteOrganizationRequest, DeleteUserRequest, GetBatchRequest, GetMembershipRequest,
    GetRequest, InvitationFilter, InvitationView, ListRequest, MembershipKey, NewInvitation,
    PreviewRequest, RequeueMessagesRequest, ResendRequest, RevokeRequest, UpsertUsersRequest,
    accept_request, decline_request,
};
use prost_types::{Struct, Value, value::Kind};
use uuid::Uuid;

use crate::support::directory::user;
use crate::support::fixtures::{ACME, OTHER};

/// Addresses such as `p0@b.co`.
pub(crate) fn numbered_emails(prefix: &str, domain: &str, numbers: Range<usize>) -> Vec<String> {
    numbers
        .map(|number| format!("{prefix}{number}@{domain}"))
        .collect()
}

/// An item with nothing but an address.
pub(crate) fn item(email: &str) -> NewInvitation {
    NewInvitation {
        email: email.to_owned(),
        ..Default::default()
    }
}

/// An item for which no email is sent.
pub(crate) fn item_without_email(email: &str) -> NewInvitation {
    NewInvitation {
        notify: Some(false),
        ..item(email)
    }
}

/// Metadata with one text field.
pub(crate) fn metadata(name: &str, text: &str) -> Struct {
    let value = Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    Struct {
        fields: [(name.to_owned(), value)].into(),
    }
}

/// A `request_id` that no other call has.
pub(crate) fn new_request_id() -> String {
    Uuid::new_v4().to_string()
}

/// Invites addresses.
pub(crate) fn invite_request(emails: &[impl AsRef<str>]) -> BulkCreateRequest {
    create_request(emails.iter().map(|email| item(email.as_ref())).collect())
}

/// Creates these items.
pub(crate) fn create_request(invitations: Vec<NewInvitation>) -> BulkCreateRequest {
    BulkCreateRequest {
        organization_id: ACME.to_owned(),
        inviter_user_id: "ada".to_owned(),
        invitations,
        view: InvitationView::Full.into(),
        ..Default::default()
    }
}

/// Invites addresses into [`OTHER`] on behalf of `eve`.
pub(crate) fn invite_to_other_request(emails: &[impl AsRef<str>]) -> BulkCreateRequest {
    BulkCreateRequest {
        organization_id: OTHER.to_owned(),
        inviter_user_id: "eve".to_owned(),
        ..invite_request(emails)
    }
}

/// Accepts as a user whose verified address is the given one.
pub(crate) fn accept_request(token: &str, user_id: &str, email: &str) -> AcceptRequest {
    AcceptRequest {
        target: Some(accept_request::Target::Token(token.to_owned())),
        user_id: user_id.to_owned(),
        verified_emails: vec![email.to_owned()],
        user_name: String::new(),
        ..Default::default()
    }
}

/// Does the same by the id of the invitation.
pub(crate) fn accept_by_id_request(id: &str, user_id: &str, email: &str) -> AcceptRequest {
    AcceptRequest {
        target: Some(accept_request::Target::InvitationId(id.to_owned())),
        ..accept_request("", user_id, email)
    }
}

/// Declines without suppressing the address.
pub(crate) fn decline_request(token: &str) -> DeclineRequest {
    DeclineRequest {
        target: Some(decline_request::Target::Token(token.to_owned())),
        suppress: false,
        ..Default::default()
    }
}

/// Does the same by the id of the invitation, for a user whose verified address is the given one.
pub(crate) fn decline_by_id_request(id: &str, user_id: &str, email: &str) -> DeclineRequest {
    DeclineRequest {
        target: Some(decline_request::Target::InvitationId(id.to_owned())),
        user_id: user_id.to_owned(),
        verified_emails: vec![email.to_owned()],
        ..Default::default()
    }
}

pub(crate) fn preview_request(token: &str) -> PreviewRequest {
    PreviewRequest {
        token: token.to_owned(),
    }
}

pub(crate) fn get_request(invitation_id: &str) -> GetRequest {
    GetRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation_id.to_owned(),
    }
}

pub(crate) fn bulk_get_request(invitation_ids: &[impl AsRef<str>]) -> BulkGetRequest {
    BulkGetRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: owned(invitation_ids),
        view: InvitationView::Full.into(),
    }
}

/// Lists every invitation.
pub(crate) fn list_request() -> ListRequest {
    ListRequest {
        organization_id: ACME.to_owned(),
        view: InvitationView::Full.into(),
        ..Default::default()
    }
}

/// Revokes on behalf of no user.
pub(crate) fn revoke_request(invitation_id: &str) -> RevokeRequest {
    RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation_id.to_owned(),
        acting_user_id: String::new(),
        ..Default::default()
    }
}

/// Resends with the same link and the default expiry.
pub(crate) fn resend_request(invitation_id: &str) -> ResendRequest {
    ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation_id.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn bulk_resend_request(invitation_ids: &[impl AsRef<str>]) -> BulkResendRequest {
    BulkResendRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: owned(invitation_ids),
        view: InvitationView::Full.into(),
        ..Default::default()
    }
}

pub(crate) fn bulk_resend_by_filter(filter: InvitationFilter) -> BulkResendRequest {
    BulkResendRequest {
        organization_id: ACME.to_owned(),
        filter: Some(filter),
        view: InvitationView::Full.into(),
        ..Default::default()
    }
}

/// Resends every pending invitation.
pub(crate) fn bulk_resend_all() -> BulkResendRequest {
    BulkResendRequest {
        organization_id: ACME.to_owned(),
        all: true,
        ..Default::default()
    }
}

pub(crate) fn bulk_revoke_request(invitation_ids: &[impl AsRef<str>]) -> BulkRevokeRequest {
    BulkRevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: owned(invitation_ids),
        view: InvitationView::Full.into(),
        ..Default::default()
    }
}

pub(crate) fn bulk_revoke_by_filter(filter: InvitationFilter) -> BulkRevokeRequest {
    BulkRevokeRequest {
        organization_id: ACME.to_owned(),
        filter: Some(filter),
        view: InvitationView::Full.into(),
        ..Default::default()
    }
}

/// Revokes every pending invitation.
pub(crate) fn bulk_revoke_all() -> BulkRevokeRequest {
    BulkRevokeRequest {
        organization_id: ACME.to_owned(),
        all: true,
        ..Default::default()
    }
}

/// Requeues every failed email.
pub(crate) fn requeue_all() -> RequeueMessagesRequest {
    RequeueMessagesRequest {
        organization_id: ACME.to_owned(),
        all: true,
        ..Default::default()
    }
}

pub(crate) fn requeue_request(invitation_ids: &[impl AsRef<str>]) -> RequeueMessagesRequest {
    RequeueMessagesRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: owned(invitation_ids),
        all: false,
        ..Default::default()
    }
}

pub(crate) fn get_batch_request(batch_id: &str) -> GetBatchRequest {
    GetBatchRequest {
        organization_id: ACME.to_owned(),
        batch_id: batch_id.to_owned(),
    }
}

pub(crate) fn get_membership_request(user_id: &str) -> GetMembershipRequest {
    GetMembershipRequest {
        organization_id: ACME.to_owned(),
        user_id: user_id.to_owned(),
    }
}

pub(crate) fn delete_membership_request(user_id: &str) -> DeleteMembershipRequest {
    DeleteMembershipRequest {
        organization_id: ACME.to_owned(),
        user_id: user_id.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn delete_organization_request() -> DeleteOrganizationRequest {
    DeleteOrganizationRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn delete_user_request(user_id: &str) -> DeleteUserRequest {
    DeleteUserRequest {
        user_id: user_id.to_owned(),
        ..Default::default()
    }
}

pub(crate) fn bulk_delete_users_request(user_ids: &[&str]) -> BulkDeleteUsersRequest {
    BulkDeleteUsersRequest {
        user_ids: user_ids.iter().map(|id| (*id).to_owned()).collect(),
        ..Default::default()
    }
}

pub(crate) fn bulk_delete_memberships_request(
    keys: &[(&str, &str)],
) -> BulkDeleteMembershipsRequest {
    let key = |(organization_id, user_id): &(&str, &str)| MembershipKey {
        organization_id: (*organization_id).to_owned(),
        user_id: (*user_id).to_owned(),
    };
    BulkDeleteMembershipsRequest {
        memberships: keys.iter().map(key).collect(),
        ..Default::default()
    }
}

/// Upserts one user without addresses.
pub(crate) fn upsert_user_request(user_id: &str) -> UpsertUsersRequest {
    UpsertUsersRequest {
        users: vec![user(user_id, "Somebody", &[])],
        ..Default::default()
    }
}

/// The actor of a test that calls a use case directly instead of over gRPC.
pub(crate) fn test_actor() -> Actor {
    Actor::from_outside("test")
}

fn owned(texts: &[impl AsRef<str>]) -> Vec<String> {
    let texts = texts.iter();
    texts.map(|text| text.as_ref().to_owned()).collect()
}

/// Addresses to suppress, until a time if there is one.
pub(crate) fn new_suppressions(
    emails: Vec<String>,
    expire_time: Option<prost_types::Timestamp>,
) -> Vec<invitations::proto::NewSuppression> {
    let new = |email| invitations::proto::NewSuppression {
        email,
        expire_time,
        ..Default::default()
    };
    emails.into_iter().map(new).collect()
}

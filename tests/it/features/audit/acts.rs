//! One call for each action of the audit log, as the caller `all`. Every text that a person could have written contains
//! [`CANARY`].

use std::collections::BTreeMap;

use invitations::domain::actor::Actor;
use invitations::domain::audit::AuditAction as Action;
use invitations::proto::{
    AddSuppressionsRequest, BulkCreateRequest, BulkResendRequest, BulkRevokeRequest,
    DeclineRequest, DeleteUserRequest, EraseAddressRequest, LiftSuppressionsRequest, NewInvitation,
    OnExisting, RequeueMessagesRequest, ResendRequest, ResumeOrganizationRequest, RevokeRequest,
    SuspendOrganizationRequest, UpsertMembershipsRequest, UpsertOrganizationsRequest,
    UpsertUsersRequest,
};
use tonic::Status;

use crate::support::directory::{membership, organization, user};
use crate::support::feedback::unsubscribe_token;
use crate::support::{
    ACME, KEYS, OTHER, World, accept_request, bulk_resend_request, bulk_revoke_request,
    create_request, created_ids, decline_request, delete_membership_request,
    delete_organization_request, item, requeue_request, resend_request, revoke_request,
    status_reason,
};

/// A word that the log must not contain.
pub(super) const CANARY: &str = "canary";
pub(super) const REQUEST_ID: &str = "019aacd0-0000-4000-8000-00000000cafe";

pub(super) const TO_ACCEPT: &str = "canary.accept@b.co";
pub(super) const TO_DECLINE: &str = "canary.decline@b.co";
pub(super) const TO_REVOKE: &str = "canary.revoke@b.co";
pub(super) const TO_RESEND: &str = "canary.resend@b.co";
const TO_BULK_REVOKE: &str = "canary.bulk@b.co";

/// The invitations that the acts need, by address.
pub(super) struct AuditedInvitations {
    pub(super) ids: BTreeMap<&'static str, String>,
    pub(super) tokens: BTreeMap<&'static str, String>,
}

impl AuditedInvitations {
    pub(super) async fn create(world: &mut World) -> Self {
        let emails = [TO_ACCEPT, TO_DECLINE, TO_REVOKE, TO_BULK_REVOKE, TO_RESEND];
        let response = world.invite(&emails).await;
        world.deliver_all().await;
        world.may_leave_mail();
        let tokens = emails.map(|email| (email, world.mail_to(email).token()));
        Self {
            ids: emails.into_iter().zip(created_ids(&response)).collect(),
            tokens: tokens.into(),
        }
    }
}

/// Makes the call that writes an action. Returns the reason of a refusal as the error.
pub(super) async fn perform(
    world: &World,
    invitations: &AuditedInvitations,
    action: Action,
) -> Result<(), String> {
    let done = match action {
        Action::BulkCreate
        | Action::Accept
        | Action::Decline
        | Action::Revoke
        | Action::BulkRevoke
        | Action::Resend
        | Action::BulkResend => call_invitations(world, invitations, action).await,
        Action::Requeue => {
            let request = RequeueMessagesRequest {
                acting_user_id: "ada".to_owned(),
                request_id: REQUEST_ID.to_owned(),
                ..requeue_request(&[&invitations.ids[TO_RESEND]])
            };
            world.mails().requeue_messages(request).await.map(drop)
        }
        Action::AddSuppressions | Action::LiftSuppressions => {
            call_suppressions(world, action).await
        }
        Action::Unsubscribe => return unsubscribe(world).await,
        Action::UpsertOrganizations | Action::UpsertUsers | Action::UpsertMemberships => {
            upsert(world, action).await
        }
        _ => call_directory(world, action).await,
    };
    done.map_err(|status| status_reason(&status))
}

async fn call_invitations(
    world: &World,
    AuditedInvitations { ids, tokens }: &AuditedInvitations,
    action: Action,
) -> Result<(), Status> {
    let mut client = world.client();
    match action {
        Action::BulkCreate => client.bulk_create(mixed_batch()).await.map(drop),
        Action::Accept => {
            let mut request = accept_request(&tokens[TO_ACCEPT], "new", TO_ACCEPT);
            "Canary Bird".clone_into(&mut request.user_name);
            REQUEST_ID.clone_into(&mut request.request_id);
            client.accept(request).await.map(drop)
        }
        Action::Decline => {
            let request = DeclineRequest {
                suppress: true,
                request_id: REQUEST_ID.to_owned(),
                ..decline_request(&tokens[TO_DECLINE])
            };
            client.decline(request).await.map(drop)
        }
        Action::Revoke => {
            let request = RevokeRequest {
                acting_user_id: "ada".to_owned(),
                request_id: REQUEST_ID.to_owned(),
                ..revoke_request(&ids[TO_REVOKE])
            };
            client.revoke(request).await.map(drop)
        }
        Action::BulkRevoke => {
            let listed = [ids[TO_REVOKE].as_str(), &ids[TO_BULK_REVOKE], CANARY];
            let request = BulkRevokeRequest {
                acting_user_id: "ada".to_owned(),
                request_id: REQUEST_ID.to_owned(),
                ..bulk_revoke_request(&listed)
            };
            client.bulk_revoke(request).await.map(drop)
        }
        Action::Resend => {
            let request = ResendRequest {
                rotate_token: true,
                acting_user_id: "ada".to_owned(),
                request_id: REQUEST_ID.to_owned(),
                ..resend_request(&ids[TO_RESEND])
            };
            client.resend(request).await.map(drop)
        }
        Action::BulkResend => {
            let listed = [ids[TO_RESEND].as_str(), &ids[TO_REVOKE], CANARY];
            let request = BulkResendRequest {
                acting_user_id: "ada".to_owned(),
                request_id: REQUEST_ID.to_owned(),
                ..bulk_resend_request(&listed)
            };
            client.bulk_resend(request).await.map(drop)
        }
        _ => unreachable!("not an action of InvitationService"),
    }
}

/// One item that creates an invitation, one that changes nothing, and three that fail.
fn mixed_batch() -> BulkCreateRequest {
    let creating = NewInvitation {
        message: format!("{CANARY} note"),
        ..item("canary.new@b.co")
    };
    let denied = NewInvitation {
        inviter_user_id: "grace".to_owned(),
        ..item("canary.denied@b.co")
    };
    let malformed = item("canary");
    let (existing, duplicate) = (item(TO_RESEND), item(TO_RESEND));
    BulkCreateRequest {
        request_id: REQUEST_ID.to_owned(),
        on_existing: OnExisting::Return.into(),
        ..create_request(vec![creating, denied, malformed, existing, duplicate])
    }
}

async fn call_suppressions(world: &World, action: Action) -> Result<(), Status> {
    let emails = vec!["canary.one@b.co".to_owned(), CANARY.to_owned()];
    let organization_id = ACME.to_owned();
    let mut client = world.suppressions();
    if action == Action::AddSuppressions {
        let request = AddSuppressionsRequest {
            organization_id,
            suppressions: crate::support::requests::new_suppressions(emails, None),
            request_id: REQUEST_ID.to_owned(),
            acting_user_id: "ada".to_owned(),
        };
        client.add_suppressions(request).await.map(drop)
    } else {
        let request = LiftSuppressionsRequest {
            emails,
            organization_id,
            request_id: REQUEST_ID.to_owned(),
            acting_user_id: "ada".to_owned(),
        };
        client.lift_suppressions(request).await.map(drop)
    }
}

async fn unsubscribe(world: &World) -> Result<(), String> {
    let token = unsubscribe_token(KEYS, "canary.two@b.co");
    let reader = Actor::from_outside("http:unsubscribe");
    let done = world.service.unsubscribe(&token, reader).await;
    done.map(drop)
        .map_err(|error| error.reason().code().to_owned())
}

async fn upsert(world: &World, action: Action) -> Result<(), Status> {
    let mut client = world.directory();
    match action {
        Action::UpsertOrganizations => {
            let organizations = vec![
                organization(ACME, "Canary"),
                organization("third", "Canary"),
                organization("fourth", ""),
            ];
            let request = UpsertOrganizationsRequest {
                organizations,
                ..Default::default()
            };
            client.upsert_organizations(request).await.map(drop)
        }
        Action::UpsertUsers => {
            let users = [("barbara", "Canary"), ("mallory", "canary.example")]
                .map(|(id, name)| user(id, name, &[&format!("canary.{id}@example.com")]));
            let request = UpsertUsersRequest {
                users: users.into(),
                ..Default::default()
            };
            client.upsert_users(request).await.map(drop)
        }
        Action::UpsertMemberships => {
            let memberships = vec![
                membership(ACME, "barbara", ""),
                membership(ACME, "eve", ""),
                membership(OTHER, "grace", ""),
                membership(ACME, CANARY, ""),
            ];
            let request = UpsertMembershipsRequest {
                memberships,
                ..Default::default()
            };
            client.upsert_memberships(request).await.map(drop)
        }
        _ => unreachable!("not an upsert"),
    }
}

async fn call_directory(world: &World, action: Action) -> Result<(), Status> {
    let mut client = world.directory();
    let organization_id = ACME.to_owned();
    match action {
        Action::SuspendOrganization => {
            let request = SuspendOrganizationRequest {
                organization_id,
                ..Default::default()
            };
            client.suspend_organization(request).await.map(drop)
        }
        Action::ResumeOrganization => {
            let request = ResumeOrganizationRequest {
                organization_id,
                ..Default::default()
            };
            client.resume_organization(request).await.map(drop)
        }
        Action::EraseAddress => {
            let request = EraseAddressRequest {
                email: TO_BULK_REVOKE.to_owned(),
                suppress: false,
                ..Default::default()
            };
            client.erase_address(request).await.map(drop)
        }
        Action::DeleteMembership => {
            let request = delete_membership_request("grace");
            client.delete_membership(request).await.map(drop)
        }
        Action::DeleteUser => {
            let request = DeleteUserRequest {
                user_id: "ada".to_owned(),
                ..Default::default()
            };
            client.delete_user(request).await.map(drop)
        }
        Action::DeleteOrganization => {
            let request = delete_organization_request();
            client.delete_organization(request).await.map(drop)
        }
        _ => unreachable!("not an action of DirectoryService"),
    }
}

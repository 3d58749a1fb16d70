//! Roles: only an admin grants the admin role, a pending invitation grants nothing, and an invitation never changes the
//! role of a member.

use std::collections::HashMap;

use invitations::proto::{
    BulkCreateRequest, CreateOutcome, ErrorReason, InvitationState, Membership, NewInvitation,
    OnExisting, Organization,
};
use prost_types::{Struct, Value, value::Kind};
use tonic::Code;

use crate::support::directory::organization;
use crate::support::{
    ACME, OTHER, World, accept_request, create_request, created, item, item_reason, reason,
};

fn with_role(email: &str, role: &str) -> NewInvitation {
    NewInvitation {
        role: role.to_owned(),
        ..item(email)
    }
}

/// A request of `inviter` for one item.
fn request_of(inviter: &str, item: NewInvitation, on_existing: OnExisting) -> BulkCreateRequest {
    BulkCreateRequest {
        inviter_user_id: inviter.to_owned(),
        on_existing: on_existing.into(),
        ..create_request(vec![item])
    }
}

async fn set_roles(world: &World, roles: &[&str]) {
    let organization = Organization {
        roles: crate::support::directory::roles_named(roles),
        default_role: Some(roles.first().copied().unwrap_or_default().to_owned()),
        ..organization(ACME, "Acme Engines")
    };
    world.upsert_organization(organization).await;
}

async fn role_of(world: &World, user_id: &str) -> Option<String> {
    let membership = world.get_membership(user_id).await.ok()?;
    Some(membership.role().to_owned())
}

#[tokio::test]
async fn only_an_admin_grants_the_admin_role_in_every_mode() {
    let mut world = World::start().await;
    world.invite(&["a@b.co"]).await;
    // `grace` is a member, `eve` is an admin of another organization, and `nobody` is not a user.
    for (inviter, expected) in [
        ("grace", ErrorReason::InviterCannotInvite),
        ("eve", ErrorReason::InviterCannotInvite),
        ("nobody", ErrorReason::InviterNotFound),
    ] {
        for on_existing in [
            OnExisting::Fail,
            OnExisting::Return,
            OnExisting::Resend,
            OnExisting::Replace,
        ] {
            for email in ["a@b.co", "c@b.co"] {
                for role in ["admin", "member"] {
                    let request = request_of(inviter, with_role(email, role), on_existing);
                    let answer = world.bulk_create(request).await;
                    let result = &answer.results[0];
                    assert_eq!(item_reason(result), expected, "{inviter} {on_existing:?}");
                }
                // The inviter of the item counts, and not the admin whom the call names.
                let item = NewInvitation {
                    inviter_user_id: inviter.to_owned(),
                    ..with_role(email, "admin")
                };
                let request = request_of("ada", item, on_existing);
                let answer = world.bulk_create(request).await;
                let result = &answer.results[0];
                assert_eq!(item_reason(result), expected, "{inviter} {on_existing:?}");
            }
        }
    }
    world.deliver_all().await;
    assert_eq!(world.mailbox().len(), 1);
}

#[tokio::test]
async fn a_resent_invitation_keeps_its_role() {
    let mut world = World::start().await;
    let first = created(&world.invite(&["a@b.co"]).await.results[0]);
    for on_existing in [OnExisting::Return, OnExisting::Resend] {
        let request = request_of("ada", with_role("a@b.co", "admin"), on_existing);
        let answer = world.bulk_create(request).await;
        let existing = answer.results[0].invitation.clone().unwrap();
        assert_eq!(
            (existing.id, existing.role.as_str()),
            (first.id.clone(), "member")
        );
    }
    world.deliver_all().await;
    let token = world.mail_to("a@b.co").token();
    world.accept(&token, "new", "a@b.co").await.unwrap();
    assert_eq!(role_of(&world, "new").await.as_deref(), Some("member"));
}

#[tokio::test]
async fn only_the_role_field_of_the_item_decides_the_role() {
    let mut world = World::start().await;
    let claims = Struct {
        fields: ["role", "roles", "is_admin", "organization_id", "user_id"]
            .map(|name| {
                let kind = Some(Kind::StringValue("admin".to_owned()));
                (name.to_owned(), Value { kind })
            })
            .into(),
    };
    let item = NewInvitation {
        public_metadata: Some(claims.clone()),
        private_metadata: Some(claims),
        ..item("a@b.co")
    };
    let request = request_of("ada", item, OnExisting::Fail);
    let response = world.bulk_create(request).await;
    assert_eq!(created(&response.results[0]).role, "member");
    world.deliver_all().await;
    let token = world.mail_to("a@b.co").token();
    world.accept(&token, "new", "a@b.co").await.unwrap();
    assert_eq!(role_of(&world, "new").await.as_deref(), Some("member"));
    for role in [
        "Admin",
        "ADMIN",
        "admin ",
        "admin,member",
        "ädmin",
        "owner",
        "*",
        "admin\0",
    ] {
        let request = request_of("ada", with_role("c@b.co", role), OnExisting::Fail);
        let answer = world.bulk_create(request).await;
        let refused = item_reason(&answer.results[0]);
        assert_eq!(refused, ErrorReason::RoleUnknown, "{role:?}");
    }
}

#[tokio::test]
async fn a_pending_invitation_grants_nothing() {
    let mut world = World::start().await;
    world.add_user("boss", "", &["boss@b.co"]).await;
    let request = request_of("ada", with_role("boss@b.co", "admin"), OnExisting::Fail);
    let response = world.bulk_create(request).await;
    let invitation = created(&response.results[0]);
    world.deliver_all().await;
    let token = world.mail_to("boss@b.co").token();
    let grants_nothing = async || {
        assert_eq!(role_of(&world, "boss").await, None);
        let memberships = world.memberships(ACME).await;
        let is_boss = |membership: &Membership| membership.user_id == "boss";
        assert!(!memberships.iter().any(is_boss));
        let request = request_of("boss", item("c@b.co"), OnExisting::Fail);
        let answer = world.bulk_create(request).await;
        let refused = item_reason(&answer.results[0]);
        assert_eq!(refused, ErrorReason::InviterCannotInvite);
    };
    grants_nothing().await;
    let refused = world.accept(&token, "boss2", "x@b.co").await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
    grants_nothing().await;
    world.revoke(&invitation.id).await;
    grants_nothing().await;
}

#[tokio::test]
async fn a_withdrawn_role_is_not_granted() {
    let mut world = World::start().await;
    set_roles(&world, &["viewer", "auditor"]).await;
    let request = create_request(vec![
        with_role("a@b.co", "auditor"),
        with_role("c@b.co", "viewer"),
    ]);
    let response = world.bulk_create(request).await;
    let auditor = created(&response.results[0]);
    world.deliver_all().await;
    set_roles(&world, &["viewer"]).await;
    let token = |email| world.mail_to(email).token();
    let refused = world.accept(&token("a@b.co"), "a", "a@b.co").await;
    let code = refused.as_ref().err().map(tonic::Status::code);
    assert_eq!(code, Some(Code::FailedPrecondition));
    assert_eq!(reason(refused), "ROLE_WITHDRAWN");
    assert_eq!(role_of(&world, "a").await, None);
    let stored = world.get(&auditor.id).await;
    assert_eq!(
        (stored.state(), stored.last_accept_error()),
        (InvitationState::Pending, ErrorReason::RoleWithdrawn)
    );
    // A user with another address sees only the mismatch and nothing about the role.
    let refused = world
        .accept(&token("a@b.co"), "eve", "eve@example.com")
        .await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
    world.accept(&token("c@b.co"), "c", "c@b.co").await.unwrap();
    set_roles(&world, &["viewer", "auditor"]).await;
    world.accept(&token("a@b.co"), "a", "a@b.co").await.unwrap();
    assert_eq!(role_of(&world, "a").await.as_deref(), Some("auditor"));
}

#[tokio::test]
async fn an_invitation_does_not_change_the_role_of_a_member() {
    let mut world = World::start().await;
    // A member cannot be invited under the address of the directory.
    let request = request_of(
        "ada",
        with_role("grace@example.com", "admin"),
        OnExisting::Replace,
    );
    let answer = world.bulk_create(request).await;
    let refused = item_reason(&answer.results[0]);
    assert_eq!(refused, ErrorReason::AlreadyMember);
    let cases = [("grace", "admin", "member"), ("ada", "member", "admin")];
    for (user, offered, kept) in cases {
        let email = format!("{user}@private.example");
        let request = request_of("ada", with_role(&email, offered), OnExisting::Fail);
        let answer = world.bulk_create(request).await;
        assert_eq!(answer.results[0].outcome(), CreateOutcome::Created);
        world.deliver_all().await;
        let token = world.mail_to(&email).token();
        let accepted = world.accept(&token, user, &email).await.unwrap();
        assert!(accepted.already_member);
        assert_eq!(role_of(&world, user).await.as_deref(), Some(kept));
    }
}

#[tokio::test]
async fn two_invitations_accepted_at_once_create_one_membership_with_the_role_of_the_first() {
    let mut world = World::start().await;
    for round in 0..20 {
        let emails = [format!("a{round}@b.co"), format!("c{round}@b.co")];
        let request = create_request(vec![
            with_role(&emails[0], "admin"),
            with_role(&emails[1], "member"),
        ]);
        let response = world.bulk_create(request).await;
        let offered: HashMap<String, String> = response
            .results
            .iter()
            .map(created)
            .map(|invitation| (invitation.id, invitation.role))
            .collect();
        world.deliver_all().await;
        let user = format!("user{round}");
        let accept = |email: &str| {
            let mut request = accept_request(&world.mail_to(email).token(), &user, &emails[0]);
            request.verified_emails.push(emails[1].clone());
            let mut client = world.client();
            async move { client.accept(request).await.unwrap().into_inner() }
        };
        let (one, other) = tokio::join!(accept(&emails[0]), accept(&emails[1]));
        assert_ne!(one.already_member, other.already_member, "round {round}");
        let first = if one.already_member { &other } else { &one };
        let membership = first.membership.clone().unwrap();
        assert_eq!(
            membership.invitation_id,
            first.invitation.clone().unwrap().id
        );
        assert_eq!(membership.role(), offered[&membership.invitation_id]);
        assert!(one.membership == other.membership);
        let role = role_of(&world, &user).await;
        assert_eq!(role.as_deref(), Some(membership.role()), "no role changed");
    }
    // The other organization is unchanged.
    assert_eq!(world.memberships(OTHER).await.len(), 1);
}

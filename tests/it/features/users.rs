//! Users who call with a token of their own: for invitations sent to them and, as admins, for those of their organization.

use invitations::proto::{
    AcceptPolicy, AcceptRequest, BulkCreateRequest, BulkResendRequest, DeclineRequest,
    DeleteOrganizationRequest, GetMembershipRequest, InvitationState, InvitationView,
    RevokeRequest,
};
use serde_json::{Value, json};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::user_issuer::UserIssuer;
use crate::support::{
    ACME, World, bulk_resend_all, created, decline_request, get_request, invite_request, item,
    list_request, metadata, preview_request, reason, resend_request, revoke_request,
};

async fn start() -> (UserIssuer, World) {
    let issuer = UserIssuer::start().await;
    let world = World::builder().issuers(&issuer.table()).start().await;
    (issuer, world)
}

/// Accepts as the calling user.
fn own_accept_request(token: &str) -> AcceptRequest {
    AcceptRequest {
        target: Some(invitations::proto::accept_request::Target::Token(
            token.to_owned(),
        )),
        ..AcceptRequest::default()
    }
}

fn assert_denied<T>(answer: Result<T, Status>, expected: &str, field: Option<&str>) {
    let status = answer.err().expect("the call was expected to be refused");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, expected);
    let field_name = info.metadata.get("field").map(String::as_str);
    assert_eq!(field_name, field);
}

#[tokio::test]
async fn a_user_accepts_an_invitation_sent_to_their_verified_address() {
    let (issuer, mut world) = start().await;
    let (_, token) = world.invite_one("new@example.com").await;
    let claims = json!({
        "sub": "usr_7", "email": "NEW@example.com", "email_verified": true, "name": "New Person",
    });
    let mut client = world.client_of(&issuer.token_with(&world, &claims));

    let preview = preview_request(&token);
    let preview = client.preview(preview).await.unwrap().into_inner();
    assert_eq!(preview.inviter_name, "Ada Lovelace");

    let answer = client.accept(own_accept_request(&token)).await.unwrap();
    let membership = answer.into_inner().membership.unwrap();
    assert_eq!(
        (membership.user_id.as_str(), membership.role()),
        ("usr_7", "member")
    );
    let again = AcceptRequest {
        user_id: "usr_7".to_owned(),
        ..own_accept_request(&token)
    };
    assert!(
        client
            .accept(again)
            .await
            .unwrap()
            .into_inner()
            .already_member
    );

    let mut database = world.database().await;
    let known: (String, String) = sqlx::query_as(
        "SELECT name, email_normalized FROM users JOIN user_emails ON user_id = id WHERE id = 'usr_7'",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!(
        known,
        ("New Person".to_owned(), "new@example.com".to_owned())
    );
}

#[tokio::test]
async fn an_email_verified_claim_other_than_true_accepts_and_declines_nothing() {
    let (issuer, mut world) = start().await;
    let (invitation, token) = world.invite_one("new@example.com").await;
    for verified in [json!(null), json!(false), json!("true"), json!(1)] {
        let claims =
            json!({"sub": "usr_7", "email": "new@example.com", "email_verified": verified});
        let mut client = world.client_of(&issuer.token_with(&world, &claims));
        let answer = client.accept(own_accept_request(&token)).await;
        assert_denied(answer, "EMAIL_UNVERIFIED", None);
        let answer = client.decline(decline_request(&token)).await;
        assert_denied(answer, "EMAIL_UNVERIFIED", None);
    }
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Pending
    );
}

#[tokio::test]
async fn the_address_in_the_token_decides_and_not_the_directory() {
    let (issuer, mut world) = start().await;
    let (invitation, token) = world.invite_one("grace2@example.com").await;
    world
        .add_user("usr_7", "Grace", &["grace2@example.com"])
        .await;
    let claims = json!({"sub": "usr_7", "email": "other@example.com", "email_verified": true});
    let mut client = world.client_of(&issuer.token_with(&world, &claims));
    let answer = client.accept(own_accept_request(&token)).await;
    assert_denied(answer, "EMAIL_MISMATCH", None);
    let answer = client.decline(decline_request(&token)).await;
    assert_denied(answer, "EMAIL_MISMATCH", None);
    let stored = world.get(&invitation.id).await;
    assert_eq!(stored.state(), InvitationState::Pending);
    assert_eq!(
        stored.last_accept_error().as_str_name(),
        "ERROR_REASON_EMAIL_MISMATCH"
    );
}

#[tokio::test]
async fn a_user_declines_an_invitation_sent_to_their_address() {
    let (issuer, mut world) = start().await;
    let (invitation, token) = world.invite_one("new@example.com").await;
    let mut client = world.client_of(&issuer.token(&world, "new"));
    client.decline(decline_request(&token)).await.unwrap();
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Declined
    );
}

#[tokio::test]
async fn an_any_email_invitation_can_be_accepted_by_any_user_with_a_verified_address() {
    let (issuer, mut world) = start().await;
    let mut request = invite_request(&["new@example.com"]);
    request.invitations[0].accept_policy = AcceptPolicy::AnyEmail.into();
    world.client().bulk_create(request).await.unwrap();
    world.deliver_all().await;
    let token = world.mail_to("new@example.com").token();
    let mut unverified = world.client_of(&issuer.unverified_token(&world, "new"));
    let answer = unverified.accept(own_accept_request(&token)).await;
    assert_denied(answer, "EMAIL_UNVERIFIED", None);
    let mut client = world.client_of(&issuer.token(&world, "other"));
    client.accept(own_accept_request(&token)).await.unwrap();
}

#[tokio::test]
async fn a_user_who_accepts_an_invitation_to_another_address_does_not_see_that_address() {
    let (issuer, mut world) = start().await;
    let mut request = invite_request(&["new@example.com"]);
    request.invitations[0].accept_policy = AcceptPolicy::AnyEmail.into();
    "for your eyes".clone_into(&mut request.invitations[0].message);
    world.client().bulk_create(request).await.unwrap();
    world.deliver_all().await;
    let token = world.mail_to("new@example.com").token();
    let claims = json!({"sub": "usr_7", "email": "other@example.com", "email_verified": true});
    let mut client = world.client_of(&issuer.token_with(&world, &claims));

    // The user cannot suppress the invited address either.
    let suppress = DeclineRequest {
        suppress: true,
        ..decline_request(&token)
    };
    assert_denied(client.decline(suppress).await, "EMAIL_MISMATCH", None);
    let answer = client.accept(own_accept_request(&token)).await.unwrap();
    let invitation = answer.into_inner().invitation.unwrap();
    assert_eq!(
        (invitation.email.as_str(), invitation.message.as_str()),
        ("", "")
    );
    assert_eq!(world.count("suppressions").await, 0);
}

#[tokio::test]
async fn a_user_who_names_another_user_is_denied_with_the_field() {
    let (issuer, mut world) = start().await;
    let (invitation, token) = world.invite_one("ada@example.org").await;
    let mut client = world.client_of(&issuer.token(&world, "ada"));
    let accept = own_accept_request(&token);
    let other_id = AcceptRequest {
        user_id: "grace".to_owned(),
        ..accept.clone()
    };
    let other_address = AcceptRequest {
        verified_emails: vec!["ada@example.org".to_owned()],
        ..accept.clone()
    };
    let other_name = AcceptRequest {
        user_name: "Grace".to_owned(),
        ..accept
    };
    for (request, field) in [
        (other_id, "user_id"),
        (other_address, "verified_emails"),
        (other_name, "user_name"),
    ] {
        assert_denied(client.accept(request).await, "USER_DENIED", Some(field));
    }
    let request = BulkCreateRequest {
        inviter_user_id: "grace".to_owned(),
        ..invite_request(&["a@b.co"])
    };
    let answer = client.bulk_create(request).await;
    assert_denied(answer, "USER_DENIED", Some("inviter_user_id"));
    let mut request = invite_request(&["a@b.co", "c@d.co"]);
    request.invitations[1].inviter_user_id = "grace".to_owned();
    let answer = client.bulk_create(request).await;
    assert_denied(answer, "USER_DENIED", Some("invitations.inviter_user_id"));
    let mut request = invite_request(&["a@b.co"]);
    request.invitations[0].private_metadata = Some(metadata("plan", "secret"));
    let answer = client.bulk_create(request).await;
    assert_denied(answer, "USER_DENIED", Some("invitations.private_metadata"));
    let request = BulkCreateRequest {
        return_link: true,
        ..invite_request(&["a@b.co"])
    };
    assert_denied(client.bulk_create(request).await, "SCOPE_MISSING", None);
    let request = RevokeRequest {
        acting_user_id: "grace".to_owned(),
        ..revoke_request(&invitation.id)
    };
    assert_denied(
        client.revoke(request).await,
        "USER_DENIED",
        Some("acting_user_id"),
    );
    assert_eq!(world.count("invitations").await, 1);
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Pending
    );
}

#[tokio::test]
async fn an_admin_manages_the_invitations_of_their_organization_in_their_own_name() {
    let (issuer, mut world) = start().await;
    world.may_leave_mail();
    world
        .add_user("known", "Known", &["known@example.com"])
        .await;
    let mut by_service = invite_request(&["private@example.com"]);
    by_service.invitations[0].private_metadata = Some(metadata("plan", "secret"));
    world.bulk_create(by_service).await;

    let mut client = world.client_of(&issuer.token(&world, "ada"));
    let request = BulkCreateRequest {
        organization_id: ACME.to_owned(),
        invitations: vec![item("new@example.com"), item("known@example.com")],
        view: InvitationView::Full.into(),
        ..BulkCreateRequest::default()
    };
    let answer = client.bulk_create(request).await.unwrap().into_inner();
    let invitation = created(&answer.results[0]);
    assert_eq!(invitation.inviter_user_id, "ada");
    let known = created(&answer.results[1]);
    assert_eq!(
        (known.registered, known.invited_user_id.as_str()),
        (None, "")
    );

    let list = client
        .list(list_request())
        .await
        .unwrap()
        .into_inner()
        .invitations;
    assert_eq!(list.len(), 3);
    for invitation in &list {
        assert!(invitation.registered.is_none() && invitation.invited_user_id.is_empty());
        assert!(invitation.inviter_name.is_empty());
        let private = invitation.private_metadata.clone();
        assert!(private.unwrap_or_default().fields.is_empty());
    }
    client.get(get_request(&invitation.id)).await.unwrap();
    client.resend(resend_request(&invitation.id)).await.unwrap();
    let bulk_resend = BulkResendRequest {
        view: InvitationView::Full.into(),
        ..bulk_resend_all()
    };
    let answer = client.bulk_resend(bulk_resend).await.unwrap().into_inner();
    assert_eq!(answer.resent_count, 3);
    for result in answer.results {
        let invitation = result.invitation.unwrap();
        assert!(
            invitation
                .private_metadata
                .unwrap_or_default()
                .fields
                .is_empty()
        );
    }
    let revoked = client
        .revoke(revoke_request(&invitation.id))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(revoked.invitation.unwrap().revoked_by_user_id, "ada");
}

#[tokio::test]
async fn a_preview_does_not_show_a_user_whether_another_person_has_an_account() {
    let (issuer, mut world) = start().await;
    world
        .add_user("known", "Known", &["known@example.com"])
        .await;
    let (_, token) = world.invite_one("known@example.com").await;
    let preview = async |caller: &str| {
        let mut client = world.client_of(caller);
        let preview = client.preview(preview_request(&token)).await;
        preview.unwrap().into_inner()
    };
    assert_eq!(preview("all").await.registered, Some(true));
    let eve = issuer.token(&world, "eve");
    assert_eq!(preview(&eve).await.registered, None);
}

#[tokio::test]
async fn a_user_who_stops_being_an_admin_is_denied_at_once() {
    let (issuer, world) = start().await;
    let mut client = world.client_of(&issuer.token(&world, "ada"));
    let list = || list_request();
    client.list(list()).await.unwrap();
    world.add_member(ACME, "ada", "member").await;
    assert_denied(client.list(list()).await, "ORGANIZATION_DENIED", None);
    world.add_member(ACME, "ada", "admin").await;
    client.list(list()).await.unwrap();
    let delete = DeleteOrganizationRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    world.directory().delete_organization(delete).await.unwrap();
    assert_denied(client.list(list()).await, "ORGANIZATION_DENIED", None);
}

#[tokio::test]
async fn request_ids_are_separate_for_each_user() {
    let (issuer, mut world) = start().await;
    world.may_leave_mail();
    world.add_member(ACME, "grace", "admin").await;
    let request = |email: &str| BulkCreateRequest {
        request_id: "5b8f3c1e-0d4f-4d3c-9a51-3c5f2d1e7a90".to_owned(),
        organization_id: ACME.to_owned(),
        invitations: vec![item(email)],
        ..BulkCreateRequest::default()
    };
    let mut ada = world.client_of(&issuer.token(&world, "ada"));
    let mut grace = world.client_of(&issuer.token(&world, "grace"));
    let first = ada
        .bulk_create(request("a@b.co"))
        .await
        .unwrap()
        .into_inner();
    let other = grace
        .bulk_create(request("c@d.co"))
        .await
        .unwrap()
        .into_inner();
    assert_ne!(first.batch_id, other.batch_id);
    let again = ada
        .bulk_create(request("a@b.co"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.batch_id, first.batch_id);
    let reused = ada.bulk_create(request("c@d.co")).await;
    assert_eq!(reason(reused), "REQUEST_ID_REUSED");
}

#[tokio::test]
async fn scopes_in_the_token_of_a_user_are_ignored() {
    let (issuer, world) = start().await;
    let claims: Value = json!({
        "sub": "ada", "email": "ada@example.com", "email_verified": true,
        "scope": "directory:read invitations:link",
    });
    let mut directory = world.directory_of(&issuer.token_with(&world, &claims));
    let request = Request::new(GetMembershipRequest {
        organization_id: ACME.to_owned(),
        user_id: "ada".to_owned(),
    });
    assert_denied(
        directory.get_membership(request).await,
        "METHOD_DENIED",
        None,
    );
}

//! Users who call for themselves: with their own invitations and, where they are admins, with those of their
//! organization.

use invitations::proto::{
    AcceptPolicy, AcceptRequest, BulkCreateRequest, BulkResendRequest, DeclineRequest,
    DeleteOrganizationRequest, GetMembershipRequest, GetRequest, InvitationState, ListRequest,
    PreviewRequest, ResendFilter, ResendRequest, RevokeRequest,
};
use prost_types::Struct;
use prost_types::value::Kind;
use serde_json::{Value, json};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::support::user_issuer::UserIssuer;
use crate::support::{ACME, World, created, invite_request, item, reason};

async fn start() -> (UserIssuer, World) {
    let accounts = UserIssuer::start().await;
    let world = World::builder().issuers(&accounts.table()).start().await;
    (accounts, world)
}

fn accept_request(token: &str) -> AcceptRequest {
    AcceptRequest {
        token: token.to_owned(),
        ..AcceptRequest::default()
    }
}

fn decline_request(token: &str) -> DeclineRequest {
    DeclineRequest {
        token: token.to_owned(),
        suppress: false,
    }
}

fn secret() -> Struct {
    let value = prost_types::Value {
        kind: Some(Kind::StringValue("secret".to_owned())),
    };
    Struct {
        fields: [("plan".to_owned(), value)].into(),
    }
}

fn assert_denied<T>(answer: Result<T, Status>, expected: &str, field: Option<&str>) {
    let status = answer.err().expect("the call was expected to be refused");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, expected);
    let told = info.metadata.get("field").map(String::as_str);
    assert_eq!(told, field);
}

#[tokio::test]
async fn a_user_accepts_what_was_sent_to_their_verified_address() {
    let (accounts, mut world) = start().await;
    let (_, token) = world.invite_one("new@example.com").await;
    let claims = json!({
        "sub": "usr_7", "email": "NEW@example.com", "email_verified": true, "name": "New Person",
    });
    let mut client = world.client_of(&accounts.token_with(&world, &claims));

    let preview = PreviewRequest {
        token: token.clone(),
    };
    let preview = client.preview(preview).await.unwrap().into_inner();
    assert_eq!(preview.inviter_name, "Ada Lovelace");

    let answer = client.accept(accept_request(&token)).await.unwrap();
    let membership = answer.into_inner().membership.unwrap();
    assert_eq!(
        (membership.user_id.as_str(), membership.role.as_str()),
        ("usr_7", "member")
    );
    let again = AcceptRequest {
        user_id: "usr_7".to_owned(),
        ..accept_request(&token)
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
async fn an_address_that_the_token_does_not_verify_as_a_boolean_accepts_and_declines_nothing() {
    let (accounts, mut world) = start().await;
    let (invitation, token) = world.invite_one("new@example.com").await;
    for verified in [json!(null), json!(false), json!("true"), json!(1)] {
        let claims =
            json!({"sub": "usr_7", "email": "new@example.com", "email_verified": verified});
        let mut client = world.client_of(&accounts.token_with(&world, &claims));
        let answer = client.accept(accept_request(&token)).await;
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
async fn the_address_in_the_token_counts_and_not_what_the_directory_knows_of_the_user() {
    let (accounts, mut world) = start().await;
    let (invitation, token) = world.invite_one("grace2@example.com").await;
    world
        .add_user("usr_7", "Grace", &["grace2@example.com"])
        .await;
    let claims = json!({"sub": "usr_7", "email": "other@example.com", "email_verified": true});
    let mut client = world.client_of(&accounts.token_with(&world, &claims));
    let answer = client.accept(accept_request(&token)).await;
    assert_denied(answer, "EMAIL_MISMATCH", None);
    let answer = client.decline(decline_request(&token)).await;
    assert_denied(answer, "EMAIL_MISMATCH", None);
    let seen = world.get(&invitation.id).await;
    assert_eq!(seen.state(), InvitationState::Pending);
    assert_eq!(
        seen.last_accept_error().as_str_name(),
        "ERROR_REASON_EMAIL_MISMATCH"
    );
}

#[tokio::test]
async fn a_user_declines_what_was_sent_to_them() {
    let (accounts, mut world) = start().await;
    let (invitation, token) = world.invite_one("new@example.com").await;
    let mut client = world.client_of(&accounts.token(&world, "new"));
    client.decline(decline_request(&token)).await.unwrap();
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Declined
    );
}

#[tokio::test]
async fn an_invitation_for_whoever_holds_the_link_is_for_any_user_with_a_verified_address() {
    let (accounts, mut world) = start().await;
    let mut request = invite_request(&["new@example.com"]);
    request.invitations[0].accept_policy = AcceptPolicy::AnyEmail.into();
    world.client().bulk_create(request).await.unwrap();
    world.deliver_all().await;
    let token = world.mail_to("new@example.com").token();
    let mut unverified = world.client_of(&accounts.unverified_token(&world, "new"));
    let answer = unverified.accept(accept_request(&token)).await;
    assert_denied(answer, "EMAIL_UNVERIFIED", None);
    let mut client = world.client_of(&accounts.token(&world, "other"));
    client.accept(accept_request(&token)).await.unwrap();
}

#[tokio::test]
async fn whoever_takes_the_link_of_somebody_else_sees_nothing_of_that_person() {
    let (accounts, mut world) = start().await;
    let mut request = invite_request(&["new@example.com"]);
    request.invitations[0].accept_policy = AcceptPolicy::AnyEmail.into();
    "for your eyes".clone_into(&mut request.invitations[0].message);
    world.client().bulk_create(request).await.unwrap();
    world.deliver_all().await;
    let token = world.mail_to("new@example.com").token();
    let claims = json!({"sub": "usr_7", "email": "other@example.com", "email_verified": true});
    let mut client = world.client_of(&accounts.token_with(&world, &claims));

    // Nor may they say that the person wants no more invitations.
    let suppress = DeclineRequest {
        suppress: true,
        ..decline_request(&token)
    };
    assert_denied(client.decline(suppress).await, "EMAIL_MISMATCH", None);
    let answer = client.accept(accept_request(&token)).await.unwrap();
    let seen = answer.into_inner().invitation.unwrap();
    assert_eq!((seen.email.as_str(), seen.message.as_str()), ("", ""));
    let suppressed: i64 = sqlx::query_scalar("SELECT count(*) FROM suppressions")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert_eq!(suppressed, 0);
}

#[tokio::test]
async fn a_user_who_names_somebody_else_is_told_so() {
    let (accounts, mut world) = start().await;
    let (invitation, token) = world.invite_one("ada@example.org").await;
    let mut client = world.client_of(&accounts.token(&world, "ada"));
    let email = "ada@example.org".to_owned();
    for (request, field) in [
        (
            AcceptRequest {
                user_id: "grace".to_owned(),
                ..accept_request(&token)
            },
            "user_id",
        ),
        (
            AcceptRequest {
                user_emails: vec![email],
                ..accept_request(&token)
            },
            "user_emails",
        ),
        (
            AcceptRequest {
                user_name: "Grace".to_owned(),
                ..accept_request(&token)
            },
            "user_name",
        ),
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
    request.invitations[0].private_metadata = Some(secret());
    let answer = client.bulk_create(request).await;
    assert_denied(answer, "USER_DENIED", Some("invitations.private_metadata"));
    let request = BulkCreateRequest {
        return_link: true,
        ..invite_request(&["a@b.co"])
    };
    assert_denied(client.bulk_create(request).await, "SCOPE_MISSING", None);
    let request = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation.id.clone(),
        user_id: "grace".to_owned(),
    };
    assert_denied(client.revoke(request).await, "USER_DENIED", Some("user_id"));
    let mut database = world.database().await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM invitations")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(count, 1);
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Pending
    );
}

#[tokio::test]
async fn an_admin_runs_the_invitations_of_their_organization_in_their_own_name() {
    let (accounts, mut world) = start().await;
    world.may_leave_mail();
    world
        .add_user("known", "Known", &["known@example.com"])
        .await;
    let mut service_made = invite_request(&["private@example.com"]);
    service_made.invitations[0].private_metadata = Some(secret());
    world.client().bulk_create(service_made).await.unwrap();

    let mut client = world.client_of(&accounts.token(&world, "ada"));
    let request = BulkCreateRequest {
        organization_id: ACME.to_owned(),
        invitations: vec![item("new@example.com"), item("known@example.com")],
        ..BulkCreateRequest::default()
    };
    let answer = client.bulk_create(request).await.unwrap().into_inner();
    let made = created(&answer.results[0]);
    assert_eq!(made.inviter_user_id, "ada");
    let known = created(&answer.results[1]);
    assert_eq!(
        (known.registered, known.invited_user_id.as_str()),
        (false, "")
    );

    let request = ListRequest {
        organization_id: ACME.to_owned(),
        ..ListRequest::default()
    };
    let list = client.list(request).await.unwrap().into_inner().invitations;
    assert_eq!(list.len(), 3);
    for seen in &list {
        assert!(!seen.registered && seen.invited_user_id.is_empty());
        assert!(seen.inviter_name.is_empty());
        assert_eq!(
            seen.private_metadata
                .clone()
                .unwrap_or_default()
                .fields
                .len(),
            0
        );
    }
    let get = GetRequest {
        organization_id: ACME.to_owned(),
        invitation_id: made.id.clone(),
    };
    client.get(get).await.unwrap();
    let resend = ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: made.id.clone(),
        ..ResendRequest::default()
    };
    client.resend(resend).await.unwrap();
    let bulk_resend = BulkResendRequest {
        organization_id: ACME.to_owned(),
        filter: Some(ResendFilter::default()),
        ..BulkResendRequest::default()
    };
    let answer = client.bulk_resend(bulk_resend).await.unwrap().into_inner();
    assert_eq!(answer.resent_count, 3);
    for result in answer.results {
        let seen = result.invitation.unwrap();
        assert!(seen.private_metadata.unwrap_or_default().fields.is_empty());
    }
    let revoke = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: made.id.clone(),
        user_id: String::new(),
    };
    let revoked = client.revoke(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.invitation.unwrap().revoked_by_user_id, "ada");
}

#[tokio::test]
async fn nobody_learns_from_a_preview_whether_somebody_else_has_an_account() {
    let (accounts, mut world) = start().await;
    world
        .add_user("known", "Known", &["known@example.com"])
        .await;
    let (_, token) = world.invite_one("known@example.com").await;
    let preview = async |caller: &str| {
        let request = PreviewRequest {
            token: token.clone(),
        };
        world
            .client_of(caller)
            .preview(request)
            .await
            .unwrap()
            .into_inner()
    };
    assert!(preview("all").await.registered);
    let eve = accounts.token(&world, "eve");
    assert!(!preview(&eve).await.registered);
}

#[tokio::test]
async fn whoever_stops_being_an_admin_may_nothing_from_then_on() {
    let (accounts, world) = start().await;
    let mut client = world.client_of(&accounts.token(&world, "ada"));
    let list = || ListRequest {
        organization_id: ACME.to_owned(),
        ..ListRequest::default()
    };
    client.list(list()).await.unwrap();
    world.add_member(ACME, "ada", "member").await;
    assert_denied(client.list(list()).await, "ORGANIZATION_DENIED", None);
    world.add_member(ACME, "ada", "admin").await;
    client.list(list()).await.unwrap();
    let delete = DeleteOrganizationRequest {
        organization_id: ACME.to_owned(),
    };
    world.directory().delete_organization(delete).await.unwrap();
    assert_denied(client.list(list()).await, "ORGANIZATION_DENIED", None);
}

#[tokio::test]
async fn a_request_id_belongs_to_the_user_who_made_it_up() {
    let (accounts, mut world) = start().await;
    world.may_leave_mail();
    world.add_member(ACME, "grace", "admin").await;
    let request = |email: &str| BulkCreateRequest {
        request_id: "5b8f3c1e-0d4f-4d3c-9a51-3c5f2d1e7a90".to_owned(),
        organization_id: ACME.to_owned(),
        invitations: vec![item(email)],
        ..BulkCreateRequest::default()
    };
    let mut ada = world.client_of(&accounts.token(&world, "ada"));
    let mut grace = world.client_of(&accounts.token(&world, "grace"));
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
async fn a_user_has_no_scopes_whatever_their_token_says() {
    let (accounts, world) = start().await;
    let claims: Value = json!({
        "sub": "ada", "email": "ada@example.com", "email_verified": true,
        "scope": "directory:read invitations:link",
    });
    let mut directory = world.directory_of(&accounts.token_with(&world, &claims));
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

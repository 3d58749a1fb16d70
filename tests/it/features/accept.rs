//! Accept: one invitation, one membership.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use invitations::proto::{
    AcceptPolicy, BulkCreateRequest, CreateOutcome, ErrorReason, GetMembershipRequest,
    InvitationState, ListMembershipsRequest, NewInvitation, Organization, PreviewRequest,
    RevokeRequest, UpsertOrganizationsRequest,
};
use prost_types::{Struct, Value, value::Kind};
use time::Duration;
use tonic::Code;

use crate::support::{
    ACME, World, accept_request, create_request, created, invite_request, item, reason,
};

async fn members(world: &World) -> Vec<String> {
    let request = ListMembershipsRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    let page = world
        .directory()
        .list_memberships(request)
        .await
        .unwrap()
        .into_inner();
    page.memberships
        .into_iter()
        .map(|membership| membership.user_id)
        .collect()
}

/// Invites somebody; returns the link's token.
async fn invite(world: &World, email: &str, is_mailed: bool) -> String {
    let item = NewInvitation {
        notify: Some(is_mailed),
        ..item(email)
    };
    let request = BulkCreateRequest {
        invitations: vec![item],
        return_link: true,
        ..create_request(vec![])
    };
    let answer = world.client().bulk_create(request).await.unwrap();
    let link = &answer.into_inner().results[0].link;
    link.split_once("#token=").unwrap().1.to_owned()
}

#[tokio::test]
async fn what_accept_answers_is_what_is_read_afterwards() {
    let mut world = World::start().await;
    world.may_leave_mail();
    world
        .add_user("aaron", "Aaron", &["twice@b.co", "other@b.co"])
        .await;
    world.add_user("zoe", "Zoe", &["twice@b.co"]).await;
    let mut database = world.database().await;
    let cases = [
        ("queued@b.co", "new", true, ""),
        ("silent@b.co", "silent", false, ""),
        ("known@b.co", "known", true, ""),
        ("twice@b.co", "zoe", true, ""),
        (
            "sending@b.co",
            "sending",
            true,
            "UPDATE outbox SET state = 'sending', lease_token = gen_random_uuid(), lease_until = now(), attempts = 1
              WHERE state = 'queued'",
        ),
        (
            "deferred@b.co",
            "deferred",
            true,
            "UPDATE invitations SET delivery_state = 'deferred', delivery_error = 'greylisted', delivery_attempts = 3
              WHERE email = 'deferred@b.co'",
        ),
    ];
    for (email, user_id, is_mailed, before) in cases {
        let token = invite(&world, email, is_mailed).await;
        if email == "known@b.co" {
            world.deliver_all().await;
        }
        if !before.is_empty() {
            sqlx::query(before).execute(&mut database).await.unwrap();
        }
        let answer = world.accept(&token, user_id, email).await.unwrap();
        let accepted = answer.invitation.unwrap();
        assert!(!accepted.accepted_by_user_id.is_empty());
        assert!(accepted == world.get(&accepted.id).await, "{email}");
    }
}

#[tokio::test]
async fn what_accept_answers_holds_while_the_mail_is_being_claimed() {
    const PEOPLE: usize = 40;
    let mut world = World::start().await;
    world.may_leave_mail();
    let mut tokens = Vec::new();
    for number in 0..PEOPLE {
        tokens.push(invite(&world, &format!("p{number}@b.co"), true).await);
    }
    let mut database = world.database().await;
    // As a worker does, for every other one, while they accept.
    let claiming = async {
        for _ in 0..PEOPLE / 2 {
            sqlx::query(
                "UPDATE outbox SET state = 'sending', lease_token = gen_random_uuid(), lease_until = now(), attempts = 1
                  WHERE ctid IN (SELECT ctid FROM outbox WHERE state = 'queued' LIMIT 1 FOR UPDATE SKIP LOCKED)",
            )
            .execute(&mut database)
            .await
            .unwrap();
        }
    };
    let accepting = async {
        for (number, token) in tokens.iter().enumerate() {
            let (user_id, email) = (format!("u{number}"), format!("p{number}@b.co"));
            let answer = world.accept(token, &user_id, &email).await.unwrap();
            let accepted = answer.invitation.unwrap();
            assert!(accepted == world.get(&accepted.id).await, "{email}");
        }
    };
    tokio::join!(claiming, accepting);
}

/// Invites one address that anybody with the link may take.
async fn invite_anybody(world: &World) -> String {
    let item = NewInvitation {
        accept_policy: AcceptPolicy::AnyEmail.into(),
        notify: Some(false),
        ..item("a@b.co")
    };
    let request = BulkCreateRequest {
        invitations: vec![item],
        return_link: true,
        ..create_request(vec![])
    };
    let results = world
        .client()
        .bulk_create(request)
        .await
        .unwrap()
        .into_inner()
        .results;
    results[0].link.split_once("#token=").unwrap().1.to_owned()
}

#[tokio::test]
async fn an_accepted_invitation_is_a_membership_with_its_role_and_metadata() {
    let mut world = World::start().await;
    let metadata = |text: &str| Struct {
        fields: [(
            text.to_owned(),
            Value {
                kind: Some(Kind::NumberValue(7.0)),
            },
        )]
        .into(),
    };
    let item = NewInvitation {
        role: "admin".to_owned(),
        public_metadata: Some(metadata("public")),
        private_metadata: Some(metadata("private")),
        ..item("Barbara@example.com")
    };
    let request = BulkCreateRequest {
        invitations: vec![item],
        ..create_request(vec![])
    };
    world.client().bulk_create(request).await.unwrap();
    world.deliver_all().await;
    let token = world.mail_to("Barbara@example.com").token();

    let answer = world
        .accept(&token, "barbara", "BARBARA@EXAMPLE.COM")
        .await
        .unwrap();
    assert!(!answer.already_member);
    let membership = answer.membership.unwrap();
    let invitation = answer.invitation.unwrap();
    assert_eq!(
        (membership.role.as_str(), membership.invitation_id.as_str()),
        ("admin", invitation.id.as_str())
    );
    assert_eq!(membership.public_metadata, Some(metadata("public")));
    assert_eq!(membership.private_metadata, Some(metadata("private")));
    assert_eq!(invitation.state(), InvitationState::Accepted);
    assert_eq!(invitation.accepted_by_user_id, "barbara");
    assert!(invitation.accept_time.is_some() && invitation.registered);

    let request = GetMembershipRequest {
        organization_id: ACME.to_owned(),
        user_id: "barbara".to_owned(),
    };
    let found = world
        .directory()
        .get_membership(request)
        .await
        .unwrap()
        .into_inner()
        .membership
        .unwrap();
    assert!(found == membership);
    let again = world.invite(&["barbara@example.com"]).await;
    assert_eq!(
        again.results[0].error.as_ref().unwrap().reason(),
        ErrorReason::AlreadyMember
    );
}

#[tokio::test]
async fn two_and_thirty_accepts_of_one_user_are_one_membership() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let calls = (0..32).map(|_| {
        let (mut client, token) = (world.client(), token.clone());
        tokio::spawn(async move {
            client
                .accept(accept_request(&token, "new", "a@b.co"))
                .await
                .unwrap()
                .into_inner()
        })
    });
    let answers: Vec<_> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(|answer| answer.unwrap())
        .collect();
    assert_eq!(
        answers
            .iter()
            .filter(|answer| !answer.already_member)
            .count(),
        1
    );
    assert!(
        answers
            .iter()
            .all(|answer| answer.membership == answers[0].membership)
    );
    assert_eq!(members(&world).await, ["ada", "grace", "new"]);
}

#[tokio::test]
async fn of_two_and_thirty_users_with_one_link_one_wins() {
    let world = World::start().await;
    let token = invite_anybody(&world).await;
    let calls = (0..32).map(|number| {
        let (mut client, token) = (world.client(), token.clone());
        let user_id = format!("user{number}");
        tokio::spawn(async move {
            client
                .accept(accept_request(&token, &user_id, "x@b.co"))
                .await
        })
    });
    let answers: Vec<_> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(|answer| answer.unwrap())
        .collect();
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for answer in lost {
        assert_eq!(reason(answer), "ALREADY_ACCEPTED");
    }
    assert_eq!(members(&world).await.len(), 3);
}

#[tokio::test]
async fn accepting_and_revoking_at_once_has_one_winner() {
    let mut world = World::start().await;
    let emails: Vec<String> = (0..40)
        .map(|number| format!("person{number}@example.com"))
        .collect();
    let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
    let response = world.invite(&emails).await;
    world.deliver_all().await;
    for (email, result) in emails.iter().zip(&response.results) {
        let id = created(result).id;
        let token = world.mail_to(email).token();
        let revoke = RevokeRequest {
            organization_id: ACME.to_owned(),
            invitation_id: id.clone(),
            user_id: String::new(),
        };
        let (mut one, mut other) = (world.client(), world.client());
        let (accepted, revoked) = tokio::join!(
            one.accept(accept_request(
                &token,
                email.split('@').next().unwrap(),
                email
            )),
            other.revoke(revoke)
        );
        let state = world.get(&id).await.state();
        if accepted.is_ok() {
            assert_eq!(
                (reason(revoked).as_str(), state),
                ("ALREADY_ACCEPTED", InvitationState::Accepted)
            );
        } else {
            assert_eq!(
                (reason(accepted).as_str(), state),
                ("REVOKED", InvitationState::Revoked)
            );
            assert!(revoked.is_ok());
        }
    }
}

#[tokio::test]
async fn a_token_with_any_one_bit_flipped_is_refused() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let payload = URL_SAFE_NO_PAD
        .decode(token.strip_prefix("inv1_").unwrap())
        .unwrap();
    let mut client = world.client();
    for bit in 0..payload.len() * 8 {
        let mut flipped = payload.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let flipped = format!("inv1_{}", URL_SAFE_NO_PAD.encode(flipped));
        // Each by another user: one alone is made to wait after twenty.
        let user = format!("new{bit}");
        let answer = client
            .accept(accept_request(&flipped, &user, "a@b.co"))
            .await;
        assert_eq!(reason(answer), "TOKEN_INVALID", "bit {bit}");
    }
    let cut = client
        .accept(accept_request(&token[..71], "new", "a@b.co"))
        .await;
    assert_eq!(cut.as_ref().err().unwrap().code(), Code::InvalidArgument);
    assert_eq!(reason(cut), "TOKEN_MALFORMED");
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Pending
    );
}

#[tokio::test]
async fn a_token_opens_only_what_its_caller_may_see() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let foreign = world
        .client_of("other-only")
        .accept(accept_request(&token, "new", "a@b.co"))
        .await;
    let unknown = accept_request(&flipped_id(&token), "new", "a@b.co");
    let unknown = world.client_of("other-only").accept(unknown).await;
    let (foreign, unknown) = (foreign.err().unwrap(), unknown.err().unwrap());
    assert_eq!(
        (foreign.code(), foreign.message(), foreign.details()),
        (unknown.code(), unknown.message(), unknown.details())
    );
    assert_eq!(foreign.code(), Code::NotFound);
    world
        .client_of("acme-only")
        .accept(accept_request(&token, "new", "a@b.co"))
        .await
        .unwrap();
}

fn flipped_id(token: &str) -> String {
    let mut payload = URL_SAFE_NO_PAD
        .decode(token.strip_prefix("inv1_").unwrap())
        .unwrap();
    payload[10] ^= 1;
    format!("inv1_{}", URL_SAFE_NO_PAD.encode(payload))
}

#[tokio::test]
async fn only_the_owner_of_the_invited_address_may_accept() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let mismatch = world.accept(&token, "new", "b@b.co").await;
    assert_eq!(
        mismatch.as_ref().err().unwrap().code(),
        Code::PermissionDenied
    );
    assert!(
        !mismatch
            .as_ref()
            .err()
            .unwrap()
            .message()
            .contains("a@b.co")
    );
    assert_eq!(reason(mismatch), "EMAIL_MISMATCH");
    let seen = world.get(&invitation.id).await;
    assert_eq!(
        (seen.state(), seen.last_accept_error()),
        (InvitationState::Pending, ErrorReason::EmailMismatch)
    );

    // The directory's word counts as well as the caller's.
    world.add_user("known", "Known", &["A@B.co"]).await;
    let accepted = world.accept(&token, "known", "x@b.co").await.unwrap();
    assert_eq!(
        accepted.invitation.unwrap().last_accept_error(),
        ErrorReason::Unspecified
    );
    assert_eq!(
        reason(world.accept(&token, "new", "a@b.co").await),
        "ALREADY_ACCEPTED"
    );
}

#[tokio::test]
async fn a_member_keeps_the_role_they_have() {
    let mut world = World::start().await;
    let token = invite_anybody(&world).await;
    let answer = world
        .accept(&token, "ada", "ada@example.com")
        .await
        .unwrap();
    assert!(answer.already_member);
    assert_eq!(answer.membership.unwrap().role, "admin");
    assert_eq!(
        answer.invitation.unwrap().state(),
        InvitationState::Accepted
    );
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn expiry_needs_no_sweeper() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    world
        .clock
        .advance(Duration::days(30) - Duration::milliseconds(1));
    let preview = PreviewRequest {
        token: token.clone(),
    };
    let shown = world
        .client()
        .preview(preview.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(shown.state(), InvitationState::Pending);
    world.clock.advance(Duration::milliseconds(1));
    assert_eq!(
        reason(world.accept(&token, "new", "a@b.co").await),
        "EXPIRED"
    );
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Expired
    );
    let shown = world.client().preview(preview).await.unwrap().into_inner();
    assert_eq!(shown.state(), InvitationState::Expired);
}

#[tokio::test]
async fn an_organization_may_ask_for_the_inviter_again() {
    let mut world = World::start().await;
    world.add_user("bob", "Bob", &[]).await;
    world.add_member(ACME, "bob", "admin").await;
    let request = BulkCreateRequest {
        inviter_user_id: "bob".to_owned(),
        ..invite_request(&["a@b.co", "b@b.co"])
    };
    world.client().bulk_create(request).await.unwrap();
    world.deliver_all().await;
    world.add_member(ACME, "bob", "member").await;
    let token = |email| world.mail_to(email).token();
    world.accept(&token("a@b.co"), "a", "a@b.co").await.unwrap();
    let organization = Organization {
        id: ACME.to_owned(),
        name: "Acme Engines".to_owned(),
        recheck_inviter: true,
        ..Default::default()
    };
    let request = UpsertOrganizationsRequest {
        organizations: vec![organization],
    };
    world
        .directory()
        .upsert_organizations(request)
        .await
        .unwrap();
    assert_eq!(
        reason(world.accept(&token("b@b.co"), "b", "b@b.co").await),
        "INVITER_NOT_ADMIN"
    );
    world.add_member(ACME, "bob", "admin").await;
    world.accept(&token("b@b.co"), "b", "b@b.co").await.unwrap();
}

#[tokio::test]
async fn looking_at_a_link_changes_nothing() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("alice@example.com").await;
    let before = world.get(&invitation.id).await;
    for _ in 0..100 {
        let request = PreviewRequest {
            token: token.clone(),
        };
        let shown = world
            .client_of("only-invitations:read")
            .preview(request)
            .await
            .unwrap()
            .into_inner();
        assert_eq!(shown.masked_email, "a***@e***.com");
        assert_eq!(
            (
                shown.organization_name.as_str(),
                shown.inviter_name.as_str()
            ),
            ("Acme Engines", "Ada Lovelace")
        );
        assert_eq!((shown.role.as_str(), shown.registered), ("member", false));
    }
    assert!(before == world.get(&invitation.id).await);
}

#[tokio::test]
async fn two_invitations_of_one_person_are_one_membership() {
    let mut world = World::start().await;
    world.invite(&["a@b.co", "a@c.co"]).await;
    world.deliver_all().await;
    let (one, other) = (
        world.mail_to("a@b.co").token(),
        world.mail_to("a@c.co").token(),
    );
    let mut request = accept_request(&one, "new", "a@b.co");
    request.user_emails.push("a@c.co".to_owned());
    let twin = invitations::proto::AcceptRequest {
        token: other,
        ..request.clone()
    };
    let (mut client, mut twin_client) = (world.client(), world.client());
    let (one, other) = tokio::join!(client.accept(request), twin_client.accept(twin));
    let (one, other) = (one.unwrap().into_inner(), other.unwrap().into_inner());
    assert_ne!(
        one.already_member, other.already_member,
        "one made it, the other found it"
    );
    assert!(one.membership == other.membership);
    let again = world.invite(&["a@b.co"]).await;
    assert_eq!(again.results[0].outcome(), CreateOutcome::Failed);
}

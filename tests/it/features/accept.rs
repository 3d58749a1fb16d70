//! Accepting an invitation: the membership that it creates, and who may accept.

use invitations::proto::{
    AcceptPolicy, BulkCreateRequest, CreateOutcome, ErrorReason, InvitationState, NewInvitation,
    Organization,
};
use prost_types::{Struct, Value, value::Kind};
use time::Duration;
use tonic::Code;

use crate::support::directory::organization;
use crate::support::{
    ACME, World, accept_request, create_request, created, forge_token, invite_request, item,
    item_reason, item_without_email, numbered_emails, preview_request, reason, revoke_request,
    run_concurrently, status_reason, token_payload,
};

async fn members(world: &World) -> Vec<String> {
    let memberships = world.memberships(ACME).await.into_iter();
    memberships.map(|membership| membership.user_id).collect()
}

/// Creates an invitation that anybody with the link may accept. Returns the token of its link.
async fn invite_anybody(world: &World) -> String {
    let item = NewInvitation {
        accept_policy: AcceptPolicy::AnyEmail.into(),
        ..item_without_email("a@b.co")
    };
    world.create_with_link(item).await
}

#[tokio::test]
async fn accept_returns_the_invitation_as_get_returns_it_afterwards() {
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
        let item = NewInvitation {
            notify: Some(is_mailed),
            ..item(email)
        };
        let token = world.create_with_link(item).await;
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
async fn accept_returns_the_stored_invitation_while_workers_claim_messages() {
    const PEOPLE: usize = 40;
    let mut world = World::start().await;
    world.may_leave_mail();
    let mut tokens = Vec::new();
    for number in 0..PEOPLE {
        let item = item(&format!("p{number}@b.co"));
        tokens.push(world.create_with_link(item).await);
    }
    let mut database = world.database().await;
    // Claims half of the messages, as a worker does, while the users accept.
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

#[tokio::test]
async fn accepting_creates_a_membership_with_the_role_and_metadata_of_the_invitation() {
    let mut world = World::start().await;
    let number = |name: &str| {
        let kind = Some(Kind::NumberValue(7.0));
        Struct {
            fields: [(name.to_owned(), Value { kind })].into(),
        }
    };
    let item = NewInvitation {
        role: "admin".to_owned(),
        public_metadata: Some(number("team")),
        private_metadata: Some(number("room")),
        ..item("Barbara@example.com")
    };
    world.bulk_create(create_request(vec![item])).await;
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
        (membership.role(), membership.invitation_id.as_str()),
        ("admin", invitation.id.as_str())
    );
    assert_eq!(membership.public_metadata, Some(number("team")));
    assert_eq!(membership.private_metadata, Some(number("room")));
    assert_eq!(invitation.state(), InvitationState::Accepted);
    assert_eq!(invitation.accepted_by_user_id, "barbara");
    assert!(invitation.accept_time.is_some() && invitation.registered());

    assert!(world.get_membership("barbara").await.unwrap() == membership);
    let again = world.invite(&["barbara@example.com"]).await;
    assert_eq!(item_reason(&again.results[0]), ErrorReason::AlreadyMember);
}

#[tokio::test]
async fn concurrent_accepts_of_one_user_create_one_membership() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let calls = (0..32).map(|_| {
        let mut client = world.client();
        let request = accept_request(&token, "new", "a@b.co");
        async move { client.accept(request).await.unwrap().into_inner() }
    });
    let answers = run_concurrently(calls).await;
    let created = answers.iter().filter(|answer| !answer.already_member);
    assert_eq!(created.count(), 1);
    for answer in &answers {
        assert!(answer.membership == answers[0].membership);
    }
    assert_eq!(members(&world).await, ["ada", "grace", "new"]);
}

#[tokio::test]
async fn of_concurrent_users_with_one_link_exactly_one_becomes_a_member() {
    let world = World::start().await;
    let token = invite_anybody(&world).await;
    let calls = (0..32).map(|number| {
        let mut client = world.client();
        let request = accept_request(&token, &format!("user{number}"), "x@b.co");
        async move { client.accept(request).await }
    });
    let answers = run_concurrently(calls).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for answer in lost {
        assert_eq!(reason(answer), "ALREADY_ACCEPTED");
    }
    assert_eq!(members(&world).await.len(), 3);
}

#[tokio::test]
async fn of_a_concurrent_accept_and_revoke_exactly_one_succeeds() {
    let mut world = World::start().await;
    let emails = numbered_emails("person", "example.com", 0..40);
    let response = world.invite(&emails).await;
    world.deliver_all().await;
    for (email, result) in emails.iter().zip(&response.results) {
        let id = created(result).id;
        let token = world.mail_to(email).token();
        let user_id = email.split('@').next().unwrap();
        let mut client = world.client();
        let (accepted, revoked) = tokio::join!(
            world.accept(&token, user_id, email),
            client.revoke(revoke_request(&id))
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
                ("INVITATION_REVOKED", InvitationState::Revoked)
            );
            assert!(revoked.is_ok());
        }
    }
}

#[tokio::test]
async fn a_token_with_any_one_bit_flipped_is_refused() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    for bit in 0..token_payload(&token).len() * 8 {
        let flipped = forge_token(&token, |payload| payload[bit / 8] ^= 1 << (bit % 8));
        // Each attempt is by another user, because a user is rate limited after twenty.
        let answer = world.accept(&flipped, &format!("new{bit}"), "a@b.co").await;
        assert_eq!(reason(answer), "TOKEN_INVALID", "bit {bit}");
    }
    let cut = world.accept(&token[..71], "new", "a@b.co").await;
    assert_eq!(cut.as_ref().err().unwrap().code(), Code::InvalidArgument);
    assert_eq!(reason(cut), "TOKEN_MALFORMED");
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Pending
    );
}

#[tokio::test]
async fn a_token_of_a_foreign_organization_is_answered_as_an_unknown_token() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    let unknown_token = forge_token(&token, |payload| payload[10] ^= 1);
    let mut refusals = Vec::new();
    for token in [&token, &unknown_token] {
        let request = accept_request(token, "new", "a@b.co");
        let answer = world.client_of("other-only").accept(request).await;
        refusals.push(answer.err().unwrap());
    }
    let [foreign, unknown] = refusals.try_into().unwrap();
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

#[tokio::test]
async fn only_the_owner_of_the_invited_address_may_accept() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let mismatch = world.accept(&token, "new", "b@b.co").await.err().unwrap();
    assert_eq!(mismatch.code(), Code::PermissionDenied);
    assert!(!mismatch.message().contains("a@b.co"));
    assert_eq!(status_reason(&mismatch), "EMAIL_MISMATCH");
    let seen = world.get(&invitation.id).await;
    assert_eq!(
        (seen.state(), seen.last_accept_error()),
        (InvitationState::Pending, ErrorReason::EmailMismatch)
    );

    // A verified address that only the directory knows is enough.
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
async fn a_member_who_accepts_keeps_the_previous_role() {
    let mut world = World::start().await;
    let token = invite_anybody(&world).await;
    let answer = world
        .accept(&token, "ada", "ada@example.com")
        .await
        .unwrap();
    assert!(answer.already_member);
    assert_eq!(answer.membership.unwrap().role(), "admin");
    assert_eq!(
        answer.invitation.unwrap().state(),
        InvitationState::Accepted
    );
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn an_invitation_expires_without_the_sweeper() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    world
        .clock
        .advance(Duration::days(30) - Duration::milliseconds(1));
    let preview = async || {
        let answer = world.client().preview(preview_request(&token)).await;
        answer.unwrap().into_inner().state()
    };
    assert_eq!(preview().await, InvitationState::Pending);
    world.clock.advance(Duration::milliseconds(1));
    assert_eq!(
        reason(world.accept(&token, "new", "a@b.co").await),
        "INVITATION_EXPIRED"
    );
    assert_eq!(
        world.get(&invitation.id).await.state(),
        InvitationState::Expired
    );
    assert_eq!(preview().await, InvitationState::Expired);
}

#[tokio::test]
async fn an_organization_can_require_that_the_inviter_is_still_an_admin() {
    let mut world = World::start().await;
    world.add_user("bob", "Bob", &[]).await;
    world.add_member(ACME, "bob", "admin").await;
    let request = BulkCreateRequest {
        inviter_user_id: "bob".to_owned(),
        ..invite_request(&["a@b.co", "b@b.co"])
    };
    world.bulk_create(request).await;
    world.deliver_all().await;
    world.add_member(ACME, "bob", "member").await;
    let token = |email| world.mail_to(email).token();
    world.accept(&token("a@b.co"), "a", "a@b.co").await.unwrap();
    let rechecking = Organization {
        recheck_inviter: Some(true),
        ..organization(ACME, "Acme Engines")
    };
    world.upsert_organization(rechecking).await;
    assert_eq!(
        reason(world.accept(&token("b@b.co"), "b", "b@b.co").await),
        "INVITER_CANNOT_INVITE"
    );
    world.add_member(ACME, "bob", "admin").await;
    world.accept(&token("b@b.co"), "b", "b@b.co").await.unwrap();
}

#[tokio::test]
async fn previewing_an_invitation_changes_nothing() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("alice@example.com").await;
    let before = world.get(&invitation.id).await;
    for _ in 0..100 {
        let mut client = world.client_of("only-invitations:read");
        let shown = client.preview(preview_request(&token)).await;
        let shown = shown.unwrap().into_inner();
        assert_eq!(shown.masked_email, "a***@e***.com");
        assert_eq!(
            (
                shown.organization_name.as_str(),
                shown.inviter_name.as_str()
            ),
            ("Acme Engines", "Ada Lovelace")
        );
        assert_eq!(
            (shown.role.as_str(), shown.registered),
            ("member", Some(false))
        );
    }
    assert!(before == world.get(&invitation.id).await);
}

#[tokio::test]
async fn two_invitations_of_one_user_create_one_membership() {
    let mut world = World::start().await;
    world.invite(&["a@b.co", "a@c.co"]).await;
    world.deliver_all().await;
    let (one, other) = (
        world.mail_to("a@b.co").token(),
        world.mail_to("a@c.co").token(),
    );
    let accept = async |token: &str| {
        let mut request = accept_request(token, "new", "a@b.co");
        request.verified_emails.push("a@c.co".to_owned());
        let answer = world.client().accept(request).await;
        answer.unwrap().into_inner()
    };
    let (one, other) = tokio::join!(accept(&one), accept(&other));
    assert_ne!(
        one.already_member, other.already_member,
        "one call creates the membership and the other one finds it"
    );
    assert!(one.membership == other.membership);
    let again = world.invite(&["a@b.co"]).await;
    assert_eq!(again.results[0].outcome(), CreateOutcome::Failed);
}

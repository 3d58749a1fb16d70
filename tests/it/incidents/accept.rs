//! Accepting an invitation: only with the invited address, only before the expiry, once, and without a way back.

use invitations::proto::{
    AcceptPolicy, AcceptRequest, BulkCreateRequest, BulkResendRequest, DeclineRequest, ErrorReason,
    InvitationState, ListRequest, NewInvitation, ResendOutcome, ResendRequest, new_invitation,
    resend_request,
};
use time::Duration;

use crate::support::{
    ACME, World, accept_request, bulk_resend_request, create_request, created, decline_request,
    delete_membership_request, item, item_reason, item_without_email, list_request, reason,
    resend_request, revoke_request, token_of_link,
};

#[tokio::test]
async fn only_the_exact_invited_address_accepts_an_invitation() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("mike@example.com").await;
    // Addresses that differ slightly from the invited one or contain it.
    for similar in [
        "mike+x@example.com",
        "mi.ke@example.com",
        "ike@example.com",
        "mmike@example.com",
        "mike@example.com.evil.co",
        "mike@mail.example.com",
        "mike@example.co",
        "mike-example.com@evil.co",
        "%@example.com",
        "mike_@example.com",
    ] {
        let refused = world.accept(&token, "eve", similar).await;
        assert_eq!(reason(refused), "EMAIL_MISMATCH", "{similar}");
    }
    for (email, expected) in [
        ("m\u{131}ke@example.com", "EMAIL_UNSUPPORTED"),
        ("mi\u{212a}e@example.com", "EMAIL_UNSUPPORTED"),
        ("mike@ex\u{e4}mple.com", "EMAIL_MISMATCH"),
        ("mike@\u{ff45}xample.com", "EMAIL_INVALID"),
        ("\"mike\"@example.com", "EMAIL_INVALID"),
        ("mike@example.com,eve@evil.co", "EMAIL_INVALID"),
        ("mike@example.com\0", "EMAIL_INVALID"),
        ("<mike@example.com>", "EMAIL_INVALID"),
    ] {
        let refused = world.accept(&token, "eve", email).await;
        assert_eq!(reason(refused), expected, "{email}");
    }
    let without_address = AcceptRequest {
        verified_emails: Vec::new(),
        ..accept_request(&token, "eve", "")
    };
    let refused = world.client().accept(without_address).await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
    let stored = world.get(&invitation.id).await;
    assert_eq!(stored.state(), InvitationState::Pending);
    assert_eq!(stored.last_accept_error(), ErrorReason::EmailMismatch);
    assert_eq!(world.memberships(ACME).await.len(), 2);
    let other_case = "MIKE@Example.COM";
    world.accept(&token, "mike", other_case).await.unwrap();
}

#[tokio::test]
async fn a_previously_verified_address_accepts_nothing() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    world.add_user("known", "", &["a@b.co"]).await;
    world.add_user("known", "", &["other@b.co"]).await;
    let refused = world.accept(&token, "known", "other@b.co").await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
    // The verified address of another user does not help either.
    world.add_user("owner", "", &["a@b.co"]).await;
    let refused = world.accept(&token, "known", "other@b.co").await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
    world.accept(&token, "owner", "x@b.co").await.unwrap();
}

#[tokio::test]
async fn accepting_an_any_email_invitation_does_not_verify_the_invited_address() {
    let world = World::start().await;
    let item = |email: &str| NewInvitation {
        accept_policy: AcceptPolicy::AnyEmail.into(),
        ..item_without_email(email)
    };
    let token = world.create_with_link(item("boss@b.co")).await;
    let accepted = world.accept(&token, "eve2", "eve@evil.co").await.unwrap();
    assert!(!accepted.invitation.unwrap().registered());
    // The address still belongs to no user. It can be invited again, and eve cannot accept the new invitation.
    let again = BulkCreateRequest {
        return_link: true,
        ..create_request(vec![NewInvitation {
            accept_policy: AcceptPolicy::InvitedEmail.into(),
            ..item("boss@b.co")
        }])
    };
    let response = world.bulk_create(again).await;
    let result = &response.results[0];
    assert!(!created(result).registered());
    let token = token_of_link(&result.link);
    let refused = world.accept(&token, "eve2", "eve@evil.co").await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
}

#[tokio::test]
async fn an_expired_invitation_is_refused_before_any_sweep() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let decline = DeclineRequest {
        suppress: true,
        ..decline_request(&token)
    };
    world.clock.advance(Duration::days(30));
    for _ in 0..2 {
        let accepted = world.accept(&token, "new", "a@b.co").await;
        assert_eq!(reason(accepted), "INVITATION_EXPIRED");
        let declined = world.client().decline(decline.clone()).await;
        assert_eq!(reason(declined), "INVITATION_EXPIRED");
        let list = ListRequest {
            filter: Some(invitations::proto::InvitationFilter {
                states: vec![InvitationState::Pending.into()],
                ..Default::default()
            }),
            ..list_request()
        };
        let pending = world.list(list).await;
        assert!(pending.invitations.is_empty());
        let stored: String = sqlx::query_scalar("SELECT state FROM invitations")
            .fetch_one(&mut world.database().await)
            .await
            .unwrap();
        let returned = world.get(&invitation.id).await.state();
        assert_eq!(
            (stored.as_str(), returned),
            ("pending", InvitationState::Expired)
        );
        // The result stays the same as time passes.
        world.clock.advance(Duration::days(1));
    }
    assert_eq!(world.memberships(ACME).await.len(), 2);
}

#[tokio::test]
async fn every_invitation_expires_within_a_year() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let expire_time = invitation.expire_time.unwrap().seconds;
    let created_at = invitation.create_time.unwrap().seconds;
    assert_eq!(expire_time - created_at, 30 * 86_400);
    let days = |days: i64| prost_types::Duration {
        seconds: days * 86_400,
        nanos: 0,
    };
    for ttl in [days(366), days(i64::from(i32::MAX)), days(0), days(-1)] {
        let item = NewInvitation {
            expiration: Some(new_invitation::Expiration::Ttl(ttl)),
            ..item("c@b.co")
        };
        let request = create_request(vec![item]);
        let answer = world.bulk_create(request).await;
        let refused = item_reason(&answer.results[0]);
        assert_eq!(refused, ErrorReason::ExpiryOutOfRange);
        let request = ResendRequest {
            expiration: Some(resend_request::Expiration::Ttl(ttl)),
            ..resend_request(&invitation.id)
        };
        let refused = world.client().resend(request).await;
        assert_eq!(reason(refused), "EXPIRY_OUT_OF_RANGE");
    }
}

#[tokio::test]
async fn an_accepted_invitation_never_becomes_pending_again() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    world.accept(&token, "new", "a@b.co").await.unwrap();
    let accepted = world.get(&invitation.id).await;
    let check = async || assert!(world.get(&invitation.id).await == accepted);
    let mut client = world.client();
    assert_eq!(
        reason(client.resend(resend_request(&invitation.id)).await),
        "ALREADY_ACCEPTED"
    );
    let request = BulkResendRequest {
        rotate_token: true,
        ..bulk_resend_request(&[&invitation.id])
    };
    let answer = client.bulk_resend(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].outcome(), ResendOutcome::Failed);
    let revoke = revoke_request(&invitation.id);
    assert_eq!(reason(client.revoke(revoke).await), "ALREADY_ACCEPTED");
    let decline = decline_request(&token);
    assert_eq!(reason(client.decline(decline).await), "ALREADY_ACCEPTED");
    check().await;
    // After the member is removed, the link is valid for no user, including that one.
    let delete = delete_membership_request("new");
    world.directory().delete_membership(delete).await.unwrap();
    for user in ["new", "eve"] {
        let refused = world.accept(&token, user, "a@b.co").await;
        assert_eq!(reason(refused), "ALREADY_ACCEPTED");
    }
    world.clock.advance(Duration::days(400));
    world.service.sweep().await.unwrap();
    check().await;
    assert_eq!(world.memberships(ACME).await.len(), 2);
}

#[tokio::test]
async fn an_accept_that_fails_in_the_middle_changes_nothing() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let before = world.get(&invitation.id).await;
    world
        .execute("ALTER TABLE memberships ADD CONSTRAINT closed CHECK (user_id <> 'new')")
        .await;
    let failed = world.accept(&token, "new", "a@b.co").await;
    assert_eq!(reason(failed), "INTERNAL");
    assert!(world.get(&invitation.id).await == before);
    // A failed accept does not restore an invitation that another call revokes at the same time.
    let revoke = revoke_request(&invitation.id);
    let (failed, revoked) = {
        let mut client = world.client();
        tokio::join!(world.accept(&token, "new", "a@b.co"), client.revoke(revoke))
    };
    assert!(failed.is_err() && revoked.is_ok());
    world
        .execute("ALTER TABLE memberships DROP CONSTRAINT closed")
        .await;
    let refused = world.accept(&token, "new", "a@b.co").await;
    assert_eq!(reason(refused), "INVITATION_REVOKED");
    let missing = world.get_membership("new").await;
    assert_eq!(reason(missing), "MEMBERSHIP_NOT_FOUND");
}

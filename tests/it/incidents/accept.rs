//! Accepting: only who owns the invited address, only in time, once, and never undone.

use invitations::proto::{
    AcceptPolicy, AcceptRequest, BulkCreateRequest, BulkResendRequest, DeclineRequest,
    DeleteMembershipRequest, ErrorReason, GetMembershipRequest, InvitationState,
    ListMembershipsRequest, ListRequest, NewInvitation, ResendOutcome, ResendRequest,
    RevokeRequest, resend_request,
};
use time::Duration;

use crate::support::{
    ACME, World, accept_request, create_request, created, item, item_reason, reason,
};

fn resend(invitation_id: &str) -> ResendRequest {
    ResendRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation_id.to_owned(),
        ..Default::default()
    }
}

async fn member_count(world: &World) -> usize {
    let request = ListMembershipsRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    let page = world.directory().list_memberships(request).await.unwrap();
    page.into_inner().memberships.len()
}

#[tokio::test]
async fn nothing_but_the_invited_address_itself_lets_its_owner_in() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("mike@example.com").await;
    // Spelled almost alike, or the right one somewhere in it.
    for close in [
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
        let refused = world.accept(&token, "eve", close).await;
        assert_eq!(reason(refused), "EMAIL_MISMATCH", "{close}");
    }
    for (unclear, expected) in [
        ("m\u{131}ke@example.com", "EMAIL_UNSUPPORTED"),
        ("mi\u{212a}e@example.com", "EMAIL_UNSUPPORTED"),
        ("mike@ex\u{e4}mple.com", "EMAIL_MISMATCH"),
        ("mike@\u{ff45}xample.com", "EMAIL_INVALID"),
        ("\"mike\"@example.com", "EMAIL_INVALID"),
        ("mike@example.com,eve@evil.co", "EMAIL_INVALID"),
        ("mike@example.com\0", "EMAIL_INVALID"),
        ("<mike@example.com>", "EMAIL_INVALID"),
    ] {
        let refused = world.accept(&token, "eve", unclear).await;
        assert_eq!(reason(refused), expected, "{unclear}");
    }
    let nobody = AcceptRequest {
        user_emails: Vec::new(),
        ..accept_request(&token, "eve", "")
    };
    let refused = world.client().accept(nobody).await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
    let seen = world.get(&invitation.id).await;
    assert_eq!(seen.state(), InvitationState::Pending);
    assert_eq!(seen.last_accept_error(), ErrorReason::EmailMismatch);
    assert_eq!(member_count(&world).await, 2);
    let spelled = "MIKE@Example.COM";
    world.accept(&token, "mike", spelled).await.unwrap();
}

#[tokio::test]
async fn an_address_that_is_verified_no_more_opens_nothing() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    world.add_user("known", "", &["a@b.co"]).await;
    world.add_user("known", "", &["other@b.co"]).await;
    let refused = world.accept(&token, "known", "other@b.co").await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
    // Nor does that of somebody else.
    world.add_user("owner", "", &["a@b.co"]).await;
    let refused = world.accept(&token, "known", "other@b.co").await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
    world.accept(&token, "owner", "x@b.co").await.unwrap();
}

#[tokio::test]
async fn taking_an_open_invitation_makes_nobody_the_owner_of_its_address() {
    let world = World::start().await;
    let item = |email: &str| NewInvitation {
        accept_policy: AcceptPolicy::AnyEmail.into(),
        notify: Some(false),
        ..item(email)
    };
    let request = BulkCreateRequest {
        invitations: vec![item("boss@b.co")],
        return_link: true,
        ..create_request(vec![])
    };
    let made = world.client().bulk_create(request.clone()).await.unwrap();
    let link = made.into_inner().results[0].link.clone();
    let token = link.split_once("#token=").unwrap().1;
    let accepted = world.accept(token, "eve2", "eve@evil.co").await.unwrap();
    assert!(!accepted.invitation.unwrap().registered);
    // The address is nobody's still, so it can be invited, and its invitation is not eve's.
    let again = BulkCreateRequest {
        invitations: vec![NewInvitation {
            accept_policy: AcceptPolicy::InvitedEmail.into(),
            ..item("boss@b.co")
        }],
        ..request
    };
    let made = world.client().bulk_create(again).await.unwrap();
    let result = &made.into_inner().results[0];
    assert!(!created(result).registered);
    let token = result.link.split_once("#token=").unwrap().1;
    let refused = world.accept(token, "eve2", "eve@evil.co").await;
    assert_eq!(reason(refused), "EMAIL_MISMATCH");
}

#[tokio::test]
async fn past_its_time_an_invitation_is_dead_although_nobody_swept() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let decline = DeclineRequest {
        token: token.clone(),
        suppress: true,
    };
    world.clock.advance(Duration::days(30));
    for _ in 0..2 {
        let accepted = world.accept(&token, "new", "a@b.co").await;
        assert_eq!(reason(accepted), "EXPIRED");
        let declined = world.client().decline(decline.clone()).await;
        assert_eq!(reason(declined), "EXPIRED");
        let list = ListRequest {
            organization_id: ACME.to_owned(),
            state: InvitationState::Pending.into(),
            ..Default::default()
        };
        let pending = world.client().list(list).await.unwrap().into_inner();
        assert!(pending.invitations.is_empty());
        let state: String = sqlx::query_scalar("SELECT state FROM invitations")
            .fetch_one(&mut world.database().await)
            .await
            .unwrap();
        let seen = world.get(&invitation.id).await.state();
        assert_eq!(
            (state.as_str(), seen),
            ("pending", InvitationState::Expired)
        );
        // A clock that goes on brings nothing back.
        world.clock.advance(Duration::days(1));
    }
    assert_eq!(member_count(&world).await, 2);
}

#[tokio::test]
async fn no_invitation_lasts_for_ever() {
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
            expiry: Some(invitations::proto::new_invitation::Expiry::Ttl(ttl)),
            ..item("c@b.co")
        };
        let request = BulkCreateRequest {
            invitations: vec![item],
            ..create_request(vec![])
        };
        let answer = world.client().bulk_create(request).await.unwrap();
        let refused = item_reason(&answer.into_inner().results[0]);
        assert_eq!(refused, ErrorReason::ExpiryOutOfRange);
        let request = ResendRequest {
            expiry: Some(resend_request::Expiry::Ttl(ttl)),
            ..resend(&invitation.id)
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
        reason(client.resend(resend(&invitation.id)).await),
        "ALREADY_ACCEPTED"
    );
    let request = BulkResendRequest {
        organization_id: ACME.to_owned(),
        invitation_ids: vec![invitation.id.clone()],
        rotate_token: true,
        ..Default::default()
    };
    let answer = client.bulk_resend(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].outcome(), ResendOutcome::Failed);
    let revoke = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation.id.clone(),
        user_id: String::new(),
    };
    assert_eq!(reason(client.revoke(revoke).await), "ALREADY_ACCEPTED");
    let decline = DeclineRequest {
        token: token.clone(),
        suppress: false,
    };
    assert_eq!(reason(client.decline(decline).await), "ALREADY_ACCEPTED");
    check().await;
    // The member is removed: the link brings nobody back, that user included.
    let membership = DeleteMembershipRequest {
        organization_id: ACME.to_owned(),
        user_id: "new".to_owned(),
    };
    world
        .directory()
        .delete_membership(membership)
        .await
        .unwrap();
    for user in ["new", "eve"] {
        let refused = world.accept(&token, user, "a@b.co").await;
        assert_eq!(reason(refused), "ALREADY_ACCEPTED");
    }
    world.clock.advance(Duration::days(400));
    world.service.sweep().await.unwrap();
    check().await;
    assert_eq!(member_count(&world).await, 2);
}

#[tokio::test]
async fn an_accept_that_fails_half_way_leaves_nothing_of_itself() {
    let mut world = World::start().await;
    let (invitation, token) = world.invite_one("a@b.co").await;
    let before = world.get(&invitation.id).await;
    let mut database = world.database().await;
    sqlx::raw_sql("ALTER TABLE memberships ADD CONSTRAINT closed CHECK (user_id <> 'new')")
        .execute(&mut database)
        .await
        .unwrap();
    let failed = world.accept(&token, "new", "a@b.co").await;
    assert_eq!(reason(failed), "INTERNAL");
    assert!(world.get(&invitation.id).await == before);
    // Somebody revoked it meanwhile: nothing "restores" it.
    let revoke = RevokeRequest {
        organization_id: ACME.to_owned(),
        invitation_id: invitation.id.clone(),
        user_id: String::new(),
    };
    let (failed, revoked) = {
        let mut client = world.client();
        tokio::join!(world.accept(&token, "new", "a@b.co"), client.revoke(revoke))
    };
    assert!(failed.is_err() && revoked.is_ok());
    sqlx::raw_sql("ALTER TABLE memberships DROP CONSTRAINT closed")
        .execute(&mut database)
        .await
        .unwrap();
    let refused = world.accept(&token, "new", "a@b.co").await;
    assert_eq!(reason(refused), "REVOKED");
    let request = GetMembershipRequest {
        organization_id: ACME.to_owned(),
        user_id: "new".to_owned(),
    };
    let missing = world.directory().get_membership(request).await;
    assert_eq!(reason(missing), "MEMBERSHIP_NOT_FOUND");
}

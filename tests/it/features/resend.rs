//! `Resend` with a `request_id`, which makes a repetition harmless.

use invitations::domain::quota::QuotaLimits;
use invitations::proto::{Invitation, ResendRequest};
use time::Duration;

use crate::support::{World, new_request_id, reason, resend_request, run_concurrently};

fn with_request_id(invitation_id: &str) -> ResendRequest {
    ResendRequest {
        request_id: new_request_id(),
        rotate_token: true,
        ..resend_request(invitation_id)
    }
}

async fn resend(world: &World, request: &ResendRequest) -> Invitation {
    let response = world.client().resend(request.clone()).await;
    response.unwrap().into_inner().invitation.unwrap()
}

#[tokio::test]
async fn a_repeated_resend_returns_the_invitation_again_and_sends_no_email() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    world.clock.advance(Duration::days(1));
    let request = with_request_id(&invitation.id);
    let first = resend(&world, &request).await;
    assert_eq!(world.deliver_all().await, 1);
    let token = world.mail_to("a@b.co").token();
    world.clock.advance(Duration::hours(23));
    assert!(resend(&world, &request).await == first);
    assert_eq!(world.deliver_all().await, 0);
    world
        .accept(&token, "new", "a@b.co")
        .await
        .expect("the repetition rotated the token");
    // What happened to the invitation since then does not change the response.
    assert!(resend(&world, &request).await == first);
}

#[tokio::test]
async fn a_repeated_resend_consumes_no_quota() {
    let quotas = QuotaLimits {
        organization_daily: Some(3),
        address_daily: Some(2),
        invitation_resends: Some(1),
        ..QuotaLimits::OFF
    };
    let mut world = World::builder().quotas(quotas).start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let request = with_request_id(&invitation.id);
    let first = resend(&world, &request).await;
    assert!(resend(&world, &request).await == first);
    let without = resend_request(&invitation.id);
    let refused = world.client().resend(without).await;
    assert_eq!(reason(refused), "QUOTA_EXCEEDED");
    world.invite(&["c@b.co"]).await;
    world.deliver_all().await;
}

#[tokio::test]
async fn concurrent_resends_with_one_request_id_send_one_email() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let request = with_request_id(&invitation.id);
    let calls = (0..6).map(|_| {
        let (mut client, request) = (world.client(), request.clone());
        async move { client.resend(request).await.unwrap().into_inner() }
    });
    let answers = run_concurrently(calls).await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn a_request_id_of_a_resend_belongs_to_one_request_for_24_hours() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    let (other, _) = world.invite_one("c@b.co").await;
    let request = with_request_id(&invitation.id);
    resend(&world, &request).await;
    for changed in [
        ResendRequest {
            invitation_id: other.id.clone(),
            ..request.clone()
        },
        ResendRequest {
            rotate_token: false,
            ..request.clone()
        },
    ] {
        let refused = world.client().resend(changed).await;
        assert_eq!(reason(refused), "REQUEST_ID_REUSED");
    }
    assert_eq!(world.deliver_all().await, 1);
    world.clock.advance(Duration::hours(24));
    resend(&world, &request).await;
    assert_eq!(world.deliver_all().await, 1, "the request id was forgotten");
}

#[tokio::test]
async fn a_refused_resend_does_not_use_up_its_request_id() {
    let mut world = World::start().await;
    let (invitation, _) = world.invite_one("a@b.co").await;
    world.suppress("", &["a@b.co"]).await;
    let request = with_request_id(&invitation.id);
    let refused = world.client().resend(request.clone()).await;
    assert_eq!(reason(refused), "EMAIL_SUPPRESSED");
    world.lift_suppression("", "a@b.co").await;
    resend(&world, &request).await;
    assert_eq!(world.deliver_all().await, 1);
}

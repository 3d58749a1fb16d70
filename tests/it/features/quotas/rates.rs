//! The rate of a caller, and the rate of failed accepts of a user.

use std::time::Duration;

use invitations::proto::BulkCreateRequest;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::emails;
use crate::support::{
    UNKNOWN_ID, World, accept_request, bulk_resend_request, invite_request, reason, resend_request,
    status_reason,
};

#[tokio::test]
async fn a_caller_above_its_rate_learns_when_to_retry() {
    let mut world = World::builder().caller_rate(100).start().await;
    world.may_leave_mail();
    let dry_run = BulkCreateRequest {
        validate_only: true,
        ..invite_request(&emails("a", 10_000))
    };
    for _ in 0..2 {
        world.bulk_create(dry_run.clone()).await;
    }
    let mut client = world.client();
    let refused = client.bulk_create(invite_request(&emails("b", 50))).await;
    let refused = refused.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let delay = refused.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(delay, Some(Duration::from_millis(500)));
    assert_eq!(world.count("invitations").await, 0);
    let resent = client.resend(resend_request(UNKNOWN_ID)).await;
    assert_eq!(reason(resent), "RATE_LIMITED");
    let resent = client.bulk_resend(bulk_resend_request(&[UNKNOWN_ID])).await;
    assert_eq!(reason(resent), "RATE_LIMITED");
    // Other callers are not limited, and the caller may continue after the delay.
    let mut other = world.client_of("acme-only");
    let response = other.bulk_create(invite_request(&emails("c", 1))).await;
    assert_eq!(response.unwrap().into_inner().succeeded_count, 1);
    world.clock.advance(time::Duration::milliseconds(500));
    let response = world.invite(&emails("b", 50)).await;
    assert_eq!(response.succeeded_count, 50);
}

#[tokio::test]
async fn twenty_failed_accepts_within_a_minute_block_the_user_for_a_minute() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    for _ in 0..20 {
        let refused = world.accept(&token, "mallory", "m@b.co").await;
        assert_eq!(reason(refused), "EMAIL_MISMATCH");
    }
    let refused = world.accept(&token, "mallory", "a@b.co").await;
    let refused = refused.err().unwrap();
    let delay = refused.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(delay, Some(Duration::from_mins(1)));
    assert_eq!(status_reason(&refused), "RATE_LIMITED");
    let request = accept_request(&token, "mallory", "m@b.co");
    let other_caller = world.client_of("acme-only").accept(request).await;
    assert_eq!(reason(other_caller), "EMAIL_MISMATCH");
    world.clock.advance(time::Duration::minutes(1));
    world.accept(&token, "alice", "a@b.co").await.unwrap();
}

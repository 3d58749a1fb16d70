//! Quotas and the kinds of calls: bulk resend, atomic calls, dry runs, and repeated request ids.

use invitations::domain::quota::QuotaLimits;
use invitations::proto::{BulkCreateRequest, BulkResendRequest, OnExisting};

use super::{
    QuotaUsage, SECONDS_TO_MIDNIGHT, assert_refused, bulk_resend, create, create_outcomes, daily,
    emails, resend_outcomes, start, usage,
};
use crate::support::{
    bulk_resend_request, created_ids, invite_request, invite_to_other_request, item,
    new_request_id, reason,
};

#[tokio::test]
async fn bulk_resend_uses_the_daily_and_address_quotas() {
    let quotas = QuotaLimits {
        organization_daily: Some(5),
        address_daily: Some(2),
        ..QuotaLimits::OFF
    };
    let mut world = start(quotas).await;
    world.may_leave_mail();
    let ids = created_ids(&world.invite(&emails("a", 3)).await);
    let request = BulkResendRequest {
        request_id: new_request_id(),
        ..bulk_resend_request(&ids)
    };
    let dry_run = BulkResendRequest {
        validate_only: true,
        ..request.clone()
    };
    let before = usage(&world).await;
    let response = bulk_resend(&world, dry_run).await;
    assert_eq!(resend_outcomes(&response), ". . daily");
    assert_eq!(usage(&world).await, before);
    let response = bulk_resend(&world, request.clone()).await;
    assert_eq!(resend_outcomes(&response), ". . daily");
    let after = usage(&world).await;
    assert_eq!((after.organizations, after.addresses), (5, 5));
    // A repeated request id returns the same response and uses no quota, also on the next day.
    world.clock.advance(time::Duration::hours(7));
    assert!(bulk_resend(&world, request.clone()).await == response);
    assert_eq!(usage(&world).await, after);
    let new_request = BulkResendRequest {
        request_id: String::new(),
        ..request
    };
    let response = bulk_resend(&world, new_request).await;
    assert_eq!(resend_outcomes(&response), ". . .");
}

#[tokio::test]
async fn an_atomic_call_beyond_a_quota_creates_nothing() {
    let quotas = QuotaLimits {
        organization_pending: Some(100),
        organization_daily: Some(3),
        address_daily: Some(1),
        ..QuotaLimits::OFF
    };
    let mut world = start(quotas).await;
    world.may_leave_mail();
    let mut client = world.client();
    let atomic = |emails: &[&str]| BulkCreateRequest {
        atomic: true,
        ..invite_request(emails)
    };
    let usage_of = |count: i64| QuotaUsage {
        invitations: count,
        messages: count,
        organizations: count,
        addresses: count,
    };
    for validate_only in [true, false] {
        let request = BulkCreateRequest {
            validate_only,
            request_id: new_request_id(),
            ..atomic(&["a@b.co", "b@b.co", "c@b.co", "d@b.co"])
        };
        let refused = client.bulk_create(request).await.err().unwrap();
        let quota = "organization_daily";
        assert_refused(&refused, "organization", quota, SECONDS_TO_MIDNIGHT);
        assert_eq!(usage(&world).await, usage_of(0));
    }
    let request = atomic(&["a@b.co", "b@b.co", "c@b.co"]);
    assert_eq!(create(&world, request).await, ". . .");
    assert_eq!(usage(&world).await, usage_of(3));
    world.clock.advance(time::Duration::hours(6));
    let mut request = BulkCreateRequest {
        on_existing: OnExisting::Resend.into(),
        ..atomic(&["a@b.co"])
    };
    world.bulk_create(request.clone()).await;
    let refused = client.bulk_create(request.clone()).await.err().unwrap();
    // The clock is at 00:48, so the next day begins after 23 hours and 12 minutes.
    let to_next_day = (23 * 60 + 12) * 60;
    assert_refused(&refused, "address", "address_daily", to_next_day);
    // An invalid item takes precedence over a quota.
    request.invitations.push(item("broken"));
    let refused = client.bulk_create(request).await;
    assert_eq!(reason(refused), "ITEMS_FAILED");
}

#[tokio::test]
async fn a_dry_run_returns_the_results_of_the_call_and_uses_no_quota() {
    let quotas = QuotaLimits {
        organization_pending: Some(6),
        organization_daily: Some(4),
        address_daily: Some(1),
        ..QuotaLimits::OFF
    };
    let mut world = start(quotas).await;
    world.may_leave_mail();
    create(&world, invite_to_other_request(&["a1@example.net"])).await;
    let before = usage(&world).await;
    let request = invite_request(&emails("a", 6));
    let dry_run = BulkCreateRequest {
        validate_only: true,
        ..request.clone()
    };
    let expected = ". address . . . daily";
    assert_eq!(create(&world, dry_run.clone()).await, expected);
    assert_eq!(create(&world, dry_run).await, expected);
    assert_eq!(usage(&world).await, before);
    assert_eq!(create(&world, request).await, expected);
}

#[tokio::test]
async fn a_repeated_request_id_returns_the_first_response_and_uses_no_quota() {
    let mut world = start(daily(2)).await;
    world.may_leave_mail();
    let request = BulkCreateRequest {
        request_id: new_request_id(),
        ..invite_request(&emails("a", 3))
    };
    let first = world.bulk_create(request.clone()).await;
    assert_eq!(create_outcomes(&first), ". . daily");
    let before = usage(&world).await;
    world.clock.advance(time::Duration::hours(7));
    assert!(world.bulk_create(request).await == first);
    assert_eq!(usage(&world).await, before);
}

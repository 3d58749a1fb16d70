//! The quotas of an organization: invitations a day and pending invitations.

use invitations::domain::quota::QuotaLimits;
use invitations::proto::{BulkCreateRequest, ErrorReason, ItemError, OnExisting};

use super::{
    SECONDS_TO_MIDNIGHT, assert_refused, bulk_resend, create, create_outcomes, daily, emails,
    invite, pending, resend_outcomes, start, usage,
};
use crate::support::{
    bulk_resend_request, created, invite_request, invite_to_other_request, reason, resend_request,
};

#[tokio::test]
async fn the_daily_quota_of_an_organization_creates_the_first_items_that_fit() {
    let mut world = start(daily(5)).await;
    world.may_leave_mail();
    assert_eq!(invite(&world, "a", 4).await, ". . . .");
    let response = world.invite(&emails("b", 3)).await;
    assert_eq!(create_outcomes(&response), ". daily daily");
    assert_eq!((response.succeeded_count, response.failed_count), (1, 2));
    let error = response.results[2].error.clone().unwrap();
    assert_eq!(error.metadata["limit"], "5");
    assert_eq!(
        error.metadata["retry_after_seconds"],
        SECONDS_TO_MIDNIGHT.to_string()
    );
    assert_eq!(invite(&world, "c", 1).await, "daily");
    // Another organization has its own quota.
    let request = invite_to_other_request(&emails("d", 5));
    assert_eq!(create(&world, request).await, ". . . . .");
    let to_midnight = time::Duration::seconds(i64::try_from(SECONDS_TO_MIDNIGHT).unwrap());
    world.clock.advance(to_midnight - time::Duration::SECOND);
    assert_eq!(invite(&world, "e", 1).await, "daily");
    world.clock.advance(time::Duration::SECOND);
    assert_eq!(invite(&world, "f", 6).await, ". . . . . daily");
    assert_eq!(usage(&world).await.organizations, 15);
}

#[tokio::test]
async fn failed_items_use_no_quota() {
    let quotas = QuotaLimits {
        organization_pending: Some(2),
        ..daily(3)
    };
    let mut world = start(quotas).await;
    world.may_leave_mail();
    let mut request = invite_request(&[
        "broken",
        "a@b.co",
        "a@b.co",
        "grace@example.com",
        "b@b.co",
        "c@b.co",
    ]);
    request.invitations[5].notify = Some(false);
    let response = world.bulk_create(request).await;
    let reasons: Vec<_> = response
        .results
        .iter()
        .map(|result| result.error.as_ref().map(ItemError::reason))
        .collect();
    assert_eq!(
        reasons,
        [
            Some(ErrorReason::EmailInvalid),
            None,
            Some(ErrorReason::DuplicateInRequest),
            Some(ErrorReason::AlreadyMember),
            None,
            Some(ErrorReason::QuotaExceeded),
        ]
    );
    assert_eq!(usage(&world).await.organizations, 2);
}

#[tokio::test]
async fn the_pending_quota_limits_how_many_invitations_are_pending_at_once() {
    let mut world = start(pending(3)).await;
    let response = world.invite(&emails("a", 2)).await;
    assert_eq!(create_outcomes(&response), ". .");
    let first = created(&response.results[0]).id;
    let response = world.invite(&emails("b", 2)).await;
    assert_eq!(create_outcomes(&response), ". pending");
    let error = response.results[1].error.clone().unwrap();
    assert_eq!(error.metadata["retry_after_seconds"], "3600");
    // A pending invitation may be resent or replaced, and an invitation that ends makes room for another one.
    for on_existing in [OnExisting::Resend, OnExisting::Replace, OnExisting::Return] {
        let request = BulkCreateRequest {
            on_existing: on_existing.into(),
            ..invite_request(&emails("a", 2))
        };
        assert_eq!(create(&world, request).await, ". .");
    }
    assert_eq!(invite(&world, "c", 1).await, "pending");
    world.deliver_all().await;
    let token = world.mail_to("a0@example.net").token();
    world.accept(&token, "u", "a0@example.net").await.unwrap();
    let token = world.mail_to("a1@example.net").token();
    world.decline(&token).await.unwrap();
    assert_eq!(invite(&world, "d", 3).await, ". . pending");
    // Expired invitations are not counted, also before a sweep.
    world.clock.advance(time::Duration::days(31));
    assert_eq!(invite(&world, "e", 3).await, ". . .");
    let refused = world.client().resend(resend_request(&first)).await;
    assert_eq!(reason(refused), "INVITATION_REVOKED", "it was replaced");
    let recipients = world.recipients();
    assert!(recipients.contains(&"b0@example.net".to_owned()));
    world.deliver_all().await;
}

#[tokio::test]
async fn resending_an_expired_invitation_needs_room_in_the_pending_quota() {
    let mut world = start(pending(1)).await;
    let expired = created(&world.invite(&emails("a", 1)).await.results[0]).id;
    world.deliver_all().await;
    world.clock.advance(time::Duration::days(31));
    let pending = created(&world.invite(&emails("b", 1)).await.results[0]).id;
    let request = resend_request(&expired);
    let refused = world.client().resend(request.clone()).await.err().unwrap();
    assert_refused(&refused, "organization", "organization_pending", 3_600);
    let both = bulk_resend_request(&[&expired, &pending]);
    let response = bulk_resend(&world, both).await;
    assert_eq!(resend_outcomes(&response), "pending .");
    world.revoke(&pending).await;
    world.client().resend(request).await.unwrap();
    world.deliver_all().await;
}

#[tokio::test]
async fn quota_rows_of_past_days_are_deleted() {
    let quotas = QuotaLimits {
        address_daily: Some(1),
        ..daily(9)
    };
    let mut world = start(quotas).await;
    world.may_leave_mail();
    for day in 0..3 {
        invite(&world, &format!("day{day}-"), 2).await;
        world.clock.advance(time::Duration::days(1));
    }
    world.service.sweep().await.unwrap();
    let usage = usage(&world).await;
    assert_eq!(
        (usage.organizations, usage.addresses),
        (2, 2),
        "only yesterday is kept"
    );
}

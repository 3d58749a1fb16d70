//! The quotas of an address and of an invitation: emails a day, resends a day, and the pause between resends.

use invitations::proto::{BulkCreateRequest, OnExisting};

use super::{
    SECONDS_TO_MIDNIGHT, address, assert_refused, bulk_resend, create, resend_outcomes, resends,
    start, usage,
};
use crate::support::deadlocks::assert_no_deadlocks;
use crate::support::{
    bulk_resend_request, created, invite_request, invite_to_other_request, item_without_email,
    resend_request, run_concurrently,
};

#[tokio::test]
async fn the_address_quota_counts_emails_of_all_organizations() {
    let mut world = start(address(2)).await;
    world.may_leave_mail();
    let other = |email: &str| invite_to_other_request(&[email, "z@b.co"]);
    let first = created(&world.invite(&["a@b.co"]).await.results[0]);
    assert_eq!(create(&world, other("A@B.co")).await, ". .");
    let resend = resend_request(&first.id);
    let refused = world.client().resend(resend.clone()).await.err().unwrap();
    assert_refused(&refused, "address", "address_daily", SECONDS_TO_MIDNIGHT);
    let replace = BulkCreateRequest {
        on_existing: OnExisting::Replace.into(),
        ..other("a@b.co")
    };
    assert_eq!(create(&world, replace.clone()).await, "address .");
    // An invitation without an email is not counted.
    let without_email = BulkCreateRequest {
        invitations: vec![item_without_email("a@b.co")],
        ..replace
    };
    assert_eq!(create(&world, without_email).await, ".");
    assert_eq!(usage(&world).await.addresses, 4);
    let stored: String =
        sqlx::query_scalar("SELECT string_agg(q::text, ' ') FROM address_quotas q")
            .fetch_one(&mut world.database().await)
            .await
            .unwrap();
    assert!(!stored.contains("b.co"));
    world.clock.advance(time::Duration::hours(6));
    world.client().resend(resend).await.unwrap();
}

#[tokio::test]
async fn an_invitation_is_resent_after_a_pause_and_at_most_three_times_a_day() {
    let mut world = start(resends()).await;
    let invitation = created(&world.invite(&["a@b.co"]).await.results[0]);
    world.deliver_all().await;
    let request = resend_request(&invitation.id);
    let mut client = world.client();
    world.clock.advance(time::Duration::milliseconds(59_500));
    let refused = client.resend(request.clone()).await.err().unwrap();
    assert_refused(&refused, "invitation", "invitation_pause", 1);
    world.clock.advance(time::Duration::milliseconds(500));
    for _ in 0..3 {
        client.resend(request.clone()).await.unwrap();
        world.deliver_all().await;
        world.clock.advance(time::Duration::minutes(1));
    }
    let refused = client.resend(request.clone()).await.err().unwrap();
    let rest_of_day = 24 * 3_600 - 3 * 60;
    assert_refused(&refused, "invitation", "invitation_resends", rest_of_day);
    // The other methods that resend are limited in the same way.
    let resend_existing = BulkCreateRequest {
        on_existing: OnExisting::Resend.into(),
        ..invite_request(&["a@b.co", "b@b.co"])
    };
    for validate_only in [true, false] {
        let request = BulkCreateRequest {
            validate_only,
            ..resend_existing.clone()
        };
        assert_eq!(create(&world, request).await, "resends .");
    }
    let response = bulk_resend(&world, bulk_resend_request(&[&invitation.id])).await;
    assert_eq!(resend_outcomes(&response), "resends");
    assert_eq!(create(&world, resend_existing).await, "resends pause");
    let seconds = i64::try_from(rest_of_day).unwrap() - 1;
    world.clock.advance(time::Duration::seconds(seconds));
    assert!(client.resend(request.clone()).await.is_err());
    world.clock.advance(time::Duration::seconds(1));
    client.resend(request.clone()).await.unwrap();
    assert!(client.resend(request).await.is_err(), "the pause");
    world.deliver_all().await;
}

#[tokio::test]
async fn one_of_many_concurrent_resends_succeeds() {
    let mut world = start(resends()).await;
    let invitation = created(&world.invite(&["a@b.co"]).await.results[0]);
    world.deliver_all().await;
    world.clock.advance(time::Duration::minutes(2));
    let calls = (0..12).map(|number| {
        let mut client = world.client();
        let id = invitation.id.clone();
        async move {
            match number % 3 {
                0 => client.resend(resend_request(&id)).await.map(|_| 1),
                1 => {
                    let response = client.bulk_resend(bulk_resend_request(&[id])).await;
                    response.map(|response| response.into_inner().resent_count)
                }
                _ => {
                    let request = BulkCreateRequest {
                        on_existing: OnExisting::Resend.into(),
                        ..invite_request(&["a@b.co"])
                    };
                    let response = client.bulk_create(request).await;
                    response.map(|response| response.into_inner().succeeded_count)
                }
            }
        }
    });
    let responses = run_concurrently(calls).await;
    let resent: i32 = responses.into_iter().map(|count| count.unwrap_or(0)).sum();
    assert_eq!(resent, 1);
    assert_eq!(world.deliver_all().await, 1);
    assert_no_deadlocks(world.database().await).await;
}

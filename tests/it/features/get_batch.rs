//! `GetBatch`: the numbers of invitations of a batch in each state stay exact, whatever happens to the invitations.

mod random_acts;

use invitations::domain::ids::OrganizationId;
use invitations::proto::{
    BulkCreateRequest, DeliveryState, GetBatchRequest, InvitationState, WatchRequest,
};
use invitations::service::Retention;
use invitations::store::Connection;
use invitations::store::batches::{self, ProcessedItems};
use time::Duration;
use uuid::Uuid;

use crate::support::batch_counts::{
    BatchStateCounts, assert_batch_counts, get_batch, state_counts, wait_until_events_are_final,
};
use crate::support::relay::SmtpStep;
use crate::support::watch_stream::{WatchStream, watch_request};
use crate::support::{
    ACME, OTHER, START, World, bulk_revoke_all, created, get_batch_request, invite_request,
    numbered_emails, reason, resend_request,
};

#[tokio::test]
async fn counts_follow_a_batch_from_queued_to_expired() {
    let mut world = World::start().await;
    let mut emails = numbered_emails("p", "b.co", 0..6);
    emails.push("broken".to_owned());
    let batch_id = world.invite(&emails).await.batch_id;
    let batch = get_batch(&world, ACME, &batch_id).await;
    assert_eq!(
        (batch.item_count, batch.failed_count, batch.invitation_count),
        (7, 1, 6)
    );
    assert_eq!(batch.create_time.unwrap().seconds, START.unix_timestamp());
    let of = |states: &[(InvitationState, i64)],
              deliveries: &[(DeliveryState, i64)]|
     -> BatchStateCounts {
        let states = states
            .iter()
            .map(|(state, count)| ((*state).into(), *count));
        let deliveries = deliveries
            .iter()
            .map(|(state, count)| ((*state).into(), *count));
        (states.collect(), deliveries.collect())
    };
    let pending = [(InvitationState::Pending, 6)];
    let expected = of(&pending, &[(DeliveryState::Queued, 6)]);
    assert_eq!(state_counts(&batch), expected);
    for reply in [
        "450 4.7.1 later",
        "554 5.7.1 not from you",
        "550 5.1.1 no such user",
    ] {
        world.relay.reply_once(SmtpStep::Rcpt, reply);
    }
    world.deliver_all().await;
    for is_folded in [false, true] {
        if is_folded {
            wait_until_events_are_final(&world).await;
            assert!(world.service.fold().await.unwrap() > 0);
            assert_eq!(
                world.service.fold().await.unwrap(),
                0,
                "a second fold found events"
            );
        }
        let deliveries = [
            (DeliveryState::Deferred, 1),
            (DeliveryState::Failed, 1),
            (DeliveryState::Bounced, 1),
            (DeliveryState::Sent, 3),
        ];
        let batch = get_batch(&world, ACME, &batch_id).await;
        assert_eq!(state_counts(&batch), of(&pending, &deliveries));
    }
    // The invitations expire before the sweeper writes that.
    world.clock.advance(Duration::days(60));
    let batch = get_batch(&world, ACME, &batch_id).await;
    assert_eq!(
        state_counts(&batch).0,
        of(&[(InvitationState::Expired, 6)], &[]).0
    );
    world.service.sweep().await.unwrap();
    assert_eq!(world.deliver_all().await, 0);
    assert_batch_counts(&world).await;
}

#[tokio::test]
async fn a_call_whose_items_all_fail_creates_a_batch_and_a_dry_run_creates_none() {
    let world = World::start().await;
    let answer = world.invite(&["broken", "also broken"]).await;
    let batch = get_batch(&world, ACME, &answer.batch_id).await;
    assert_eq!((batch.item_count, batch.failed_count), (2, 2));
    assert_eq!(batch.invitation_count, 0);
    assert!(batch.state_counts.is_empty() && batch.delivery_state_counts.is_empty());
    let request = BulkCreateRequest {
        validate_only: true,
        ..invite_request(&["a@b.co"])
    };
    world.bulk_create(request).await;
    assert_eq!(world.count("batches").await, 1);
}

#[tokio::test]
async fn a_batch_is_not_found_in_another_organization() {
    let mut world = World::start().await;
    let batch_id = world.invite(&["a@b.co"]).await.batch_id;
    for (organization_id, batch_id) in [
        (OTHER, batch_id.clone()),
        ("unknown", batch_id.clone()),
        (ACME, Uuid::new_v4().to_string()),
    ] {
        let request = GetBatchRequest {
            organization_id: organization_id.to_owned(),
            batch_id,
        };
        let answer = world.client().get_batch(request).await;
        assert_eq!(reason(answer), "BATCH_NOT_FOUND");
    }
    let request = get_batch_request(&batch_id);
    let answer = world.client_of("other-only").get_batch(request).await;
    assert_eq!(reason(answer), "ORGANIZATION_DENIED");
    world.deliver_all().await;
}

#[tokio::test]
async fn a_growing_batch_shows_its_items_so_far() {
    let mut world = World::start().await;
    let batch_id = world.invite(&["a@b.co", "broken"]).await.batch_id;
    world.clock.advance(Duration::minutes(1));
    let organization_id = OrganizationId::parse(ACME).unwrap();
    let more = ProcessedItems {
        organization_id: &organization_id,
        batch_id: Uuid::parse_str(&batch_id).unwrap(),
        items: 3,
        failed: 3,
        now: START + Duration::minutes(1),
    };
    batches::add_items(&mut Connection::new(&mut world.database().await), more)
        .await
        .unwrap();
    let batch = get_batch(&world, ACME, &batch_id).await;
    assert_eq!((batch.item_count, batch.failed_count), (5, 4));
    let seconds = batch.update_time.unwrap().seconds - batch.create_time.unwrap().seconds;
    assert_eq!(seconds, 60);
    world.deliver_all().await;
}

#[tokio::test]
async fn a_transaction_with_more_events_than_the_limit_of_a_fold_is_folded_completely() {
    let mut world = World::start().await;
    world.may_leave_mail();
    for number in 0..5 {
        world.invite(&[&format!("person{number}@b.co")]).await;
    }
    wait_until_events_are_final(&world).await;
    world.service.fold().await.unwrap();
    // A call that changes five batches writes a row of events for each of them.
    let revoke = bulk_revoke_all();
    world.client().bulk_revoke(revoke).await.unwrap();
    world.invite(&["late@b.co"]).await;
    wait_until_events_are_final(&world).await;
    let mut database = world.database().await;
    assert_eq!(
        batches::fold_events(&mut Connection::new(&mut database), 2)
            .await
            .unwrap(),
        5
    );
    assert_eq!(
        batches::fold_events(&mut Connection::new(&mut database), 2)
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        batches::fold_events(&mut Connection::new(&mut database), 2)
            .await
            .unwrap(),
        0
    );
    assert_batch_counts(&world).await;
}

#[tokio::test]
async fn concurrent_folds_lose_no_count() {
    let mut world = World::start().await;
    world.may_leave_mail();
    for round in 0..10 {
        let folding = (0..4).map(|_| world.service.fold());
        let emails: Vec<String> = (0..3)
            .map(|number| format!("r{round}n{number}@b.co"))
            .collect();
        let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        let (folded, _) = tokio::join!(futures::future::join_all(folding), world.invite(&emails));
        for folded in folded {
            folded.unwrap();
        }
    }
    wait_until_events_are_final(&world).await;
    world.service.fold().await.unwrap();
    let unfolded =
        "invitation_events WHERE transaction_id >= (SELECT folded_before FROM event_fold)";
    assert_eq!(world.count(unfolded).await, 0);
    assert_batch_counts(&world).await;
}

#[tokio::test]
async fn a_purged_batch_is_deleted_with_its_counts_and_is_not_recreated() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let answer = world.invite(&["a@b.co"]).await;
    let id = created(&answer.results[0]).id;
    wait_until_events_are_final(&world).await;
    world.service.fold().await.unwrap();
    let retention = Retention {
        batches: Some(std::time::Duration::from_hours(24 * 20)),
        ..Retention::default()
    };
    world.service.purge(&retention).await.unwrap();
    get_batch(&world, ACME, &answer.batch_id).await;
    world.clock.advance(Duration::days(21));
    world.service.purge(&retention).await.unwrap();
    let request = get_batch_request(&answer.batch_id);
    let answer = world.client().get_batch(request).await;
    assert_eq!(reason(answer), "BATCH_NOT_FOUND");
    let resend = resend_request(&id);
    world.client().resend(resend).await.unwrap();
    wait_until_events_are_final(&world).await;
    world.service.fold().await.unwrap();
    assert_eq!(world.count("batch_counts").await, 0);
}

/// The statements that an operator runs after restoring a dump, from the documentation.
fn statements_after_restore() -> &'static str {
    let text = include_str!("../../../docs/events.md");
    let (_, text) = text.split_once("```sql\n").unwrap();
    text.split_once("```").unwrap().0
}

#[tokio::test]
async fn counts_are_exact_after_a_dump_is_restored_into_another_cluster() {
    for shift in [1_000_000_i64, -500] {
        let mut world = World::start().await;
        world.may_leave_mail();
        world.invite(&["folded@b.co"]).await;
        wait_until_events_are_final(&world).await;
        world.service.fold().await.unwrap();
        world.invite(&["fresh@b.co"]).await;
        // Shifts the transaction ids as if another cluster had written the rows.
        let mut database = world.database().await;
        for statement in [
            "UPDATE invitation_events SET transaction_id = (transaction_id::text::bigint + $1)::text::xid8",
            "UPDATE event_fold SET folded_before = (folded_before::text::bigint + $1)::text::xid8",
            "UPDATE batches SET transaction_id = (transaction_id::text::bigint + $1)::text::xid8",
        ] {
            sqlx::query(statement)
                .bind(shift)
                .execute(&mut database)
                .await
                .unwrap();
        }
        assert_batch_counts(&world).await;
        sqlx::raw_sql(statements_after_restore())
            .execute(&mut database)
            .await
            .unwrap();
        assert_batch_counts(&world).await;
        let late = world.invite(&["late@b.co"]).await;
        assert_batch_counts(&world).await;
        wait_until_events_are_final(&world).await;
        assert_eq!(world.service.fold().await.unwrap(), 1);
        assert_batch_counts(&world).await;
        let request = WatchRequest {
            batch_id: late.batch_id,
            ..watch_request()
        };
        let watching = WatchStream::begin(world.client(), request).await;
        assert_eq!(watching.events.len(), 1);
    }
}

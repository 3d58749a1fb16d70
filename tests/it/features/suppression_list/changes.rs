//! Adding and lifting suppressions.

use futures::future::join_all;
use invitations::domain::suppression::SuppressionReason as Reason;
use invitations::proto::{
    AddSuppressionOutcome, AddSuppressionsRequest, ErrorReason, LiftSuppressionOutcome,
    LiftSuppressionResult, SuppressionReason,
};
use invitations::store::Connection;
use invitations::store::suppressions::{self, SuppressionRow};
use time::{Duration, OffsetDateTime};
use tonic_types::StatusExt as _;

use super::{
    add_as, add_outcomes, add_request, all_suppressions, lift_as, lift_request, timestamp,
};
use crate::support::deadlocks::assert_no_deadlocks;
use crate::support::suppression_rows::{suppression_row, write_suppressions};
use crate::support::{START, World, numbered_emails, reason};

use AddSuppressionOutcome::{Added, Failed, Kept, Updated};
use LiftSuppressionOutcome::{Lifted, NotSuppressed};

#[tokio::test]
async fn each_address_has_a_result_at_its_index() {
    let world = World::start().await;
    let request = add_request("", &["a@b.co", "what", " A@B.co\t", "ü@b.co", "c@b.co"]);
    let answer = add_as(&world, "all", request.clone()).await.unwrap();
    assert_eq!(answer.failed_count, 3);
    let indexes: Vec<i32> = answer.results.iter().map(|result| result.index).collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4]);
    let expected = [Added, Failed, Failed, Failed, Added];
    assert_eq!(add_outcomes(&answer.results), expected);
    let errors: Vec<_> = answer
        .results
        .iter()
        .filter_map(|result| result.error.as_ref())
        .collect();
    let reasons: Vec<_> = errors.iter().map(|error| error.reason()).collect();
    assert_eq!(
        reasons,
        [
            ErrorReason::EmailInvalid,
            ErrorReason::DuplicateInRequest,
            ErrorReason::EmailUnsupported
        ]
    );
    assert_eq!(errors[1].metadata["first_index"], "0");

    let again = add_as(&world, "all", request.clone()).await.unwrap();
    let expected = [Updated, Failed, Failed, Failed, Updated];
    assert_eq!(add_outcomes(&again.results), expected);
    let request = lift_request("", &["what", "A@b.co", "b@b.co", "a@b.co"]);
    let answer = lift_as(&world, "all", request).await.unwrap();
    let lifted: Vec<_> = answer
        .results
        .iter()
        .map(LiftSuppressionResult::outcome)
        .collect();
    let expected = [
        LiftSuppressionOutcome::Failed,
        Lifted,
        NotSuppressed,
        LiftSuppressionOutcome::Failed,
    ];
    assert_eq!((lifted, answer.failed_count), (expected.to_vec(), 2));
    assert_eq!(all_suppressions(&world).await.len(), 1);
}

#[tokio::test]
async fn the_stronger_of_two_suppressions_is_kept_in_either_order() {
    let world = World::start().await;
    let mut database = world.database().await;
    let ends: [Option<OffsetDateTime>; 3] = [
        Some(START + Duration::days(1)),
        Some(START + Duration::days(2)),
        None,
    ];
    let all: Vec<SuppressionRow> = Reason::ALL
        .into_iter()
        .flat_map(|reason| {
            ends.map(|expires_at| SuppressionRow {
                expires_at,
                ..suppression_row("", "a@b.co", reason)
            })
        })
        .collect();
    let strength = |row: &SuppressionRow| {
        let end = row.expires_at.unwrap_or(START + Duration::days(1_000));
        (end, row.reason)
    };
    for one in &all {
        for other in &all {
            sqlx::query("DELETE FROM suppressions")
                .execute(&mut database)
                .await
                .unwrap();
            for row in [one, other] {
                let rows = [row.clone()];
                suppressions::upsert_many(&mut Connection::new(&mut database), &rows, START)
                    .await
                    .unwrap();
            }
            let filter = suppressions::SuppressionFilter::default();
            let found = suppressions::list(
                &mut Connection::new(&mut database),
                &filter,
                None,
                10,
                START,
            )
            .await
            .unwrap();
            let stronger = if strength(one) > strength(other) {
                one
            } else {
                other
            };
            assert_eq!(
                (found[0].reason, found[0].expires_at),
                (stronger.reason, stronger.expires_at),
                "{one:?} {other:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_manual_suppression_never_shortens_an_existing_one() {
    let world = World::start().await;
    let complaint = suppression_row("", "a@b.co", Reason::Complaint);
    write_suppressions(&world, &[complaint]).await;
    let request = |days| AddSuppressionsRequest {
        suppressions: crate::support::requests::new_suppressions(
            vec!["a@b.co".to_owned(), "c@b.co".to_owned()],
            Some(timestamp(START + Duration::days(days))),
        ),
        ..Default::default()
    };
    for (days, expected) in [(2, [Kept, Added]), (1, [Kept, Kept]), (3, [Kept, Updated])] {
        let answer = add_as(&world, "all", request(days)).await.unwrap();
        assert_eq!(add_outcomes(&answer.results), expected, "{days}");
    }
    let mut reasons: Vec<_> = all_suppressions(&world)
        .await
        .iter()
        .map(|entry| (entry.reason(), entry.expire_time))
        .collect();
    reasons.sort_by_key(|(reason, _)| *reason as i32);
    let end = Some(timestamp(START + Duration::days(3)));
    assert_eq!(
        reasons,
        [
            (SuppressionReason::Complaint, None),
            (SuppressionReason::Manual, end)
        ]
    );
}

#[tokio::test]
async fn a_suppression_with_an_expire_time_ends_at_that_time() {
    let world = World::start().await;
    let request = |end: OffsetDateTime| AddSuppressionsRequest {
        suppressions: crate::support::requests::new_suppressions(
            vec!["a@b.co".to_owned()],
            Some(timestamp(end)),
        ),
        ..Default::default()
    };
    for past in [START, START - Duration::days(1)] {
        let status = add_as(&world, "all", request(past)).await.err().unwrap();
        let details = status.get_error_details();
        let violation = details.bad_request().unwrap().field_violations[0].clone();
        assert_eq!(violation.field, "expire_time");
    }
    add_as(&world, "all", request(START + Duration::days(1)))
        .await
        .unwrap();
    world
        .clock
        .advance(Duration::days(1) - Duration::seconds(1));
    assert_eq!(all_suppressions(&world).await.len(), 1);
    world.clock.advance(Duration::seconds(1));
    assert!(all_suppressions(&world).await.is_empty());
    // The row still exists, but the suppression is not returned any more.
    let again = add_as(&world, "all", request(START + Duration::days(9))).await;
    assert_eq!(add_outcomes(&again.unwrap().results), [Added]);
    world.clock.advance(Duration::days(8));
    let request = lift_request("", &["a@b.co"]);
    let lifted = lift_as(&world, "all", request).await.unwrap();
    assert_eq!(lifted.results[0].outcome(), NotSuppressed);
}

#[tokio::test]
async fn ten_thousand_addresses_are_added_or_lifted_in_one_call() {
    let world = World::start().await;
    for (count, expected) in [(0, "ITEMS_EMPTY"), (10_001, "TOO_MANY_ITEMS")] {
        let emails = numbered_emails("p", "b.co", 0..count);
        let added = add_as(&world, "all", add_request("", &emails)).await;
        assert_eq!(reason(added), expected);
        let lifted = lift_as(&world, "all", lift_request("", &emails)).await;
        assert_eq!(reason(lifted), expected);
    }
    let emails = numbered_emails("p", "b.co", 0..10_000);
    let added = add_as(&world, "all", add_request("", &emails)).await;
    let outcomes = add_outcomes(&added.unwrap().results);
    assert!(outcomes.iter().all(|outcome| *outcome == Added));
    assert_eq!(world.invite(&emails).await.failed_count, 10_000);
    let lifted = lift_as(&world, "all", lift_request("", &emails)).await;
    let mut lifted = lifted.unwrap().results.into_iter();
    assert!(lifted.all(|result| result.outcome() == Lifted));
    assert!(all_suppressions(&world).await.is_empty());
}

#[tokio::test]
async fn concurrent_calls_on_the_same_addresses_do_not_deadlock() {
    let world = World::start().await;
    let mut emails = numbered_emails("p", "b.co", 0..500);
    let mut calls = Vec::new();
    for round in 0..16 {
        emails.reverse();
        let (world, emails) = (&world, emails.clone());
        calls.push(async move {
            if round % 2 == 0 {
                add_as(world, "all", add_request("", &emails))
                    .await
                    .map(drop)
            } else {
                lift_as(world, "all", lift_request("", &emails))
                    .await
                    .map(drop)
            }
        });
    }
    for answer in join_all(calls).await {
        answer.unwrap();
    }
    assert_no_deadlocks(world.database().await).await;
}

//! Adding and lifting suppressions.

use futures::future::join_all;
use invitations::domain::suppression::SuppressionReason as Reason;
use invitations::proto::{
    AddSuppressionOutcome, AddSuppressionsRequest, ErrorReason, LiftSuppressionOutcome,
    LiftSuppressionResult, NewSuppression, SuppressionReason,
};
use invitations::store::Connection;
use invitations::store::suppressions::{self, SuppressionRow};
use prost_types::Timestamp;
use time::{Duration, OffsetDateTime};

use super::{
    add_as, add_outcomes, add_request, all_suppressions, lift_as, lift_request, timestamp,
};
use crate::support::deadlocks::assert_no_deadlocks;
use crate::support::suppression_rows::{suppression_row, write_suppressions};
use crate::support::{START, World, create_request, item_without_email, numbered_emails, reason};

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
async fn each_address_has_its_own_reason_and_end() {
    let world = World::start().await;
    let day = |days| Some(timestamp(START + Duration::days(days)));
    let new = |email: &str, reason: SuppressionReason, expire_time| NewSuppression {
        email: email.to_owned(),
        reason: reason.into(),
        expire_time,
    };
    let request = AddSuppressionsRequest {
        suppressions: vec![
            new("a@b.co", SuppressionReason::Unspecified, None),
            new("b@b.co", SuppressionReason::HardBounce, None),
            new("c@b.co", SuppressionReason::HardBounce, day(7)),
            new("d@b.co", SuppressionReason::Complaint, None),
            new("e@b.co", SuppressionReason::Unsubscribed, day(9)),
        ],
        ..Default::default()
    };
    let answer = add_as(&world, "all", request).await.unwrap();
    assert_eq!(add_outcomes(&answer.results), [Added; 5]);
    let mut entries: Vec<_> = all_suppressions(&world)
        .await
        .iter()
        .map(|entry| (entry.reason(), entry.expire_time.map(|end| end.seconds)))
        .collect();
    entries.sort_by_key(|(reason, end)| (*reason as i32, *end));
    let end = |days| Some((START + Duration::days(days)).unix_timestamp());
    let expected = [
        (SuppressionReason::HardBounce, end(7)),
        (SuppressionReason::HardBounce, end(180)),
        (SuppressionReason::Complaint, None),
        (SuppressionReason::Unsubscribed, end(9)),
        (SuppressionReason::Manual, None),
    ];
    assert_eq!(entries, expected);
    // An imported bounce stops emails, but not invitations without an email.
    let quiet = create_request(vec![
        item_without_email("b@b.co"),
        item_without_email("d@b.co"),
    ]);
    assert_eq!(world.bulk_create(quiet).await.failed_count, 1);
    // A weaker reason with the same end changes nothing.
    let weaker = AddSuppressionsRequest {
        suppressions: vec![
            new("d@b.co", SuppressionReason::Declined, None),
            new("e@b.co", SuppressionReason::HardBounce, day(9)),
            new("e@b.co", SuppressionReason::Complaint, day(9)),
        ],
        ..Default::default()
    };
    let answer = add_as(&world, "all", weaker).await.unwrap();
    assert_eq!(add_outcomes(&answer.results), [Kept, Kept, Failed]);
    let stronger = AddSuppressionsRequest {
        suppressions: vec![new("e@b.co", SuppressionReason::Complaint, day(9))],
        ..Default::default()
    };
    let answer = add_as(&world, "all", stronger).await.unwrap();
    assert_eq!(add_outcomes(&answer.results), [Updated]);
}

#[tokio::test]
async fn an_address_with_a_malformed_reason_or_end_fails_without_affecting_the_others() {
    let world = World::start().await;
    let new = |email: &str, reason, expire_time| NewSuppression {
        email: email.to_owned(),
        reason,
        expire_time,
    };
    let malformed = Timestamp {
        seconds: 0,
        nanos: -1,
    };
    let request = AddSuppressionsRequest {
        suppressions: vec![
            new("a@b.co", 0, None),
            new("b@b.co", 99, None),
            new("c@b.co", 0, Some(timestamp(START))),
            new("d@b.co", 0, Some(malformed)),
            new("what", 99, Some(timestamp(START - Duration::days(1)))),
            new("", 0, None),
        ],
        ..Default::default()
    };
    let answer = add_as(&world, "all", request).await.unwrap();
    assert_eq!(answer.failed_count, 5);
    let violations: Vec<Vec<_>> = answer
        .results
        .iter()
        .map(|result| {
            let violations = result.error.iter().flat_map(|error| &error.violations);
            violations
                .map(|it| (it.field.as_str(), it.reason()))
                .collect()
        })
        .collect();
    let invalid = |field| (field, ErrorReason::FieldInvalid);
    let email = ("email", ErrorReason::EmailInvalid);
    let expected = [
        vec![],
        vec![invalid("reason")],
        vec![invalid("expire_time")],
        vec![invalid("expire_time")],
        vec![email, invalid("reason"), invalid("expire_time")],
        vec![email],
    ];
    assert_eq!(violations, expected);
    assert_eq!(all_suppressions(&world).await.len(), 1);
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

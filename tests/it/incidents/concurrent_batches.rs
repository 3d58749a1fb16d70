//! Concurrent calls with a known result: batches in opposite order, and sixty-four accepts of one invitation.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use invitations::proto::{
    AcceptPolicy, AcceptResponse, BulkCreateRequest, CreateOutcome, CreateResult, ErrorReason,
    ItemError, NewInvitation, OnExisting,
};
use tokio::sync::Barrier;
use tonic::Status;

use crate::support::{
    World, accept_request, invite_request, item_reason, item_without_email, numbered_emails,
    reason, status_reason,
};

const PEOPLE: usize = 300;
const CALLERS: usize = 16;
const CONCURRENT_ACCEPTS: usize = 64;

/// The outcome of each item of a call, with its error, or the status of the call.
type ItemOutcomes = Result<Vec<(CreateOutcome, Option<ErrorReason>)>, Status>;

fn outcome_and_reason(result: &CreateResult) -> (CreateOutcome, Option<ErrorReason>) {
    (
        result.outcome(),
        result.error.as_ref().map(ItemError::reason),
    )
}

/// Lets all callers invite the same people concurrently, every second one in reverse order.
async fn invite_concurrently(world: &World, on_existing: OnExisting) -> Vec<ItemOutcomes> {
    let calls = (0..CALLERS).map(|caller| {
        let mut emails = numbered_emails("p", "b.co", 0..PEOPLE);
        if caller % 2 == 1 {
            emails.reverse();
        }
        let request = BulkCreateRequest {
            on_existing: on_existing.into(),
            ..invite_request(&emails)
        };
        let mut client = world.client();
        tokio::spawn(async move {
            let answer = client.bulk_create(request).await?.into_inner();
            Ok(answer.results.iter().map(outcome_and_reason).collect())
        })
    });
    let answers = join_all(calls).await;
    answers.into_iter().map(|answer| answer.unwrap()).collect()
}

/// Counts the pending invitations, their distinct addresses, and the deadlocks.
async fn pending_addresses_deadlocks(world: &World) -> (i64, i64, i64) {
    sqlx::query_as(
        "SELECT count(*), count(DISTINCT email_normalized),
                (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database())
           FROM invitations WHERE state = 'pending'",
    )
    .fetch_one(&mut world.database().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn sixteen_callers_for_the_same_people_in_opposite_order_invite_each_once() {
    for on_existing in [OnExisting::Fail, OnExisting::Return] {
        let mut world = World::start().await;
        let mut created = 0;
        for answer in invite_concurrently(&world, on_existing).await {
            // Concurrent calls wait for each other, so no call fails.
            for (outcome, error) in answer.expect("the call failed") {
                match outcome {
                    CreateOutcome::Created => created += 1,
                    CreateOutcome::Existing => assert_eq!(on_existing, OnExisting::Return),
                    _ => assert_eq!(error, Some(ErrorReason::AlreadyInvited)),
                }
            }
        }
        assert_eq!(created, PEOPLE, "{on_existing:?}");
        assert_eq!(
            pending_addresses_deadlocks(&world).await,
            (300, 300, 0),
            "{on_existing:?}"
        );
        assert_eq!(world.deliver_all().await, PEOPLE);
    }
}

#[tokio::test]
async fn sixteen_callers_that_resend_or_replace_leave_one_pending_invitation_for_each() {
    let mut world = World::start().await;
    for on_existing in [OnExisting::Resend, OnExisting::Replace] {
        let mut succeeded = 0;
        for answer in invite_concurrently(&world, on_existing).await {
            match answer {
                Ok(outcomes) => {
                    assert_eq!(outcomes.len(), PEOPLE);
                    succeeded += 1;
                }
                Err(status) => assert_eq!(status_reason(&status), "CONFLICT"),
            }
        }
        assert!(succeeded > 0, "{on_existing:?}");
        assert_eq!(
            pending_addresses_deadlocks(&world).await,
            (300, 300, 0),
            "{on_existing:?}"
        );
    }
    world.deliver_all().await;
    // Each person received only the email of the last call.
    assert_eq!(world.mailbox().len(), PEOPLE);
}

/// Lets sixty-four calls accept one invitation concurrently. Its policy allows every address.
async fn accept_concurrently(
    world: &World,
    user_id: impl Fn(usize) -> String,
) -> Vec<Result<AcceptResponse, Status>> {
    let item = NewInvitation {
        accept_policy: AcceptPolicy::AnyEmail.into(),
        ..item_without_email("a@b.co")
    };
    let token = world.create_with_link(item).await;
    let barrier = Arc::new(Barrier::new(CONCURRENT_ACCEPTS));
    let calls = (0..CONCURRENT_ACCEPTS).map(|number| {
        let mut client = world.client();
        let request = accept_request(&token, &user_id(number), "x@b.co");
        let barrier = Arc::clone(&barrier);
        tokio::spawn(async move {
            barrier.wait().await;
            // Sixty-four is the limit of concurrent calls, so the server may refuse one and ask for a retry.
            loop {
                match client.accept(request.clone()).await {
                    Err(status) if status.code() == tonic::Code::Unavailable => {}
                    answer => return answer.map(tonic::Response::into_inner),
                }
            }
        })
    });
    let answers = join_all(calls).await;
    answers.into_iter().map(|answer| answer.unwrap()).collect()
}

#[tokio::test]
async fn sixty_four_concurrent_accepts_of_one_user_create_one_membership() {
    let world = World::start().await;
    let answers = accept_concurrently(&world, |_| "new".to_owned()).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()).collect();
    let joined = answers
        .iter()
        .filter(|answer| !answer.already_member)
        .count();
    assert_eq!((answers.len(), joined), (CONCURRENT_ACCEPTS, 1));
    let first = answers[0].membership.clone().unwrap();
    assert!(
        answers
            .iter()
            .all(|answer| answer.membership.as_ref() == Some(&first))
    );
}

#[tokio::test]
async fn one_of_sixty_four_concurrent_users_with_one_link_becomes_a_member() {
    let world = World::start().await;
    let answers = accept_concurrently(&world, |number| format!("user{number}")).await;
    let (accepted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(accepted.len(), 1);
    let reasons: HashSet<String> = refused.into_iter().map(reason).collect();
    assert_eq!(reasons, HashSet::from(["ALREADY_ACCEPTED".to_owned()]));
    let members: Vec<String> =
        sqlx::query_scalar("SELECT user_id FROM memberships WHERE invitation_id IS NOT NULL")
            .fetch_all(&mut world.database().await)
            .await
            .unwrap();
    let response = accepted.into_iter().next().unwrap().unwrap();
    assert_eq!(members, [response.membership.unwrap().user_id]);
}

#[tokio::test]
async fn one_call_never_invites_an_address_twice_in_different_spellings() {
    let mut world = World::start().await;
    let spelled = [
        "A@b.co",
        "a@B.CO",
        " a@b.co ",
        "a@b.co\t",
        "c@b\u{fc}cher.example",
        "C@xn--bcher-kva.example",
    ];
    let answer = world.invite(&spelled).await;
    let created: BTreeSet<i64> = answer
        .results
        .iter()
        .filter(|result| result.outcome() == CreateOutcome::Created)
        .map(|result| result.index)
        .collect();
    assert_eq!(created, BTreeSet::from([0, 4]));
    let twice = item_reason(&answer.results[1]);
    assert_eq!(twice, ErrorReason::DuplicateInRequest);
    assert_eq!(world.deliver_all().await, 2);
}

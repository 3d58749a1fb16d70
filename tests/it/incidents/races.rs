//! Races with a known end: batches in opposite order, and sixty-four people at one door.

use std::collections::{BTreeSet, HashSet};

use invitations::proto::{
    AcceptPolicy, BulkCreateRequest, CreateOutcome, ErrorReason, NewInvitation, OnExisting,
};

use crate::support::{
    World, accept_request, create_request, invite_request, item, item_reason, reason,
};

const PEOPLE: usize = 300;
const CALLERS: usize = 16;
const RACERS: usize = 64;

/// Calls of many callers for the same people, every other one backward; the outcomes, call by call.
async fn storm(
    world: &World,
    on_existing: OnExisting,
) -> Vec<Result<Vec<(CreateOutcome, Option<ErrorReason>)>, tonic::Status>> {
    let calls = (0..CALLERS).map(|caller| {
        let mut emails: Vec<String> = (0..PEOPLE).map(|p| format!("p{p}@b.co")).collect();
        if caller % 2 == 1 {
            emails.reverse();
        }
        let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        let request = BulkCreateRequest {
            on_existing: on_existing.into(),
            ..invite_request(&emails)
        };
        let mut client = world.client();
        tokio::spawn(async move { client.bulk_create(request).await })
    });
    let answers = futures::future::join_all(calls).await;
    let outcomes = |answer: invitations::proto::BulkCreateResponse| {
        let outcome = |result: &invitations::proto::BulkCreateResult| {
            (
                result.outcome(),
                result
                    .error
                    .as_ref()
                    .map(invitations::proto::ItemError::reason),
            )
        };
        answer.results.iter().map(outcome).collect()
    };
    answers
        .into_iter()
        .map(|answer| answer.unwrap().map(|answer| outcomes(answer.into_inner())))
        .collect()
}

/// How many invitations are pending, for how many addresses, and how many deadlocks there were.
async fn figures(world: &World) -> (i64, i64, i64) {
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
        for answer in storm(&world, on_existing).await {
            // Nobody is told to come again: they wait for each other.
            for (outcome, error) in answer.expect("no call fails") {
                match outcome {
                    CreateOutcome::Created => created += 1,
                    CreateOutcome::Existing => assert_eq!(on_existing, OnExisting::Return),
                    _ => assert_eq!(error, Some(ErrorReason::AlreadyInvited)),
                }
            }
        }
        assert_eq!(created, PEOPLE, "{on_existing:?}");
        assert_eq!(figures(&world).await, (300, 300, 0), "{on_existing:?}");
        assert_eq!(world.deliver_all().await, PEOPLE);
    }
}

#[tokio::test]
async fn sixteen_callers_that_send_again_or_replace_leave_one_pending_for_each() {
    let mut world = World::start().await;
    for on_existing in [OnExisting::Resend, OnExisting::Replace] {
        let mut done = 0;
        for answer in storm(&world, on_existing).await {
            match answer {
                Ok(outcomes) => {
                    assert_eq!(outcomes.len(), PEOPLE);
                    done += 1;
                }
                Err(status) => assert_eq!(reason(Err::<(), _>(status)), "CONFLICT"),
            }
        }
        assert!(done > 0, "{on_existing:?}");
        assert_eq!(figures(&world).await, (300, 300, 0), "{on_existing:?}");
    }
    world.deliver_all().await;
    // Of all that was asked for, each reader got one mail.
    assert_eq!(world.mailbox().len(), PEOPLE);
}

/// Lets sixty-four users accept one open invitation at once.
async fn rush(
    world: &World,
    user_id: impl Fn(usize) -> String,
) -> Vec<Result<invitations::proto::AcceptResponse, tonic::Status>> {
    let request = BulkCreateRequest {
        invitations: vec![NewInvitation {
            accept_policy: AcceptPolicy::AnyEmail.into(),
            notify: Some(false),
            ..item("a@b.co")
        }],
        return_link: true,
        ..create_request(vec![])
    };
    let made = world.client().bulk_create(request).await.unwrap();
    let link = made.into_inner().results.remove(0).link;
    let token = link.split_once("#token=").unwrap().1.to_owned();
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(RACERS));
    let calls = (0..RACERS).map(|number| {
        let mut client = world.client();
        let request = accept_request(&token, &user_id(number), "x@b.co");
        let barrier = std::sync::Arc::clone(&barrier);
        tokio::spawn(async move {
            barrier.wait().await;
            // Sixty-four calls are what the server has room for, so one may be asked to come again.
            loop {
                match client.accept(request.clone()).await {
                    Err(status) if status.code() == tonic::Code::Unavailable => {}
                    answer => return answer.map(tonic::Response::into_inner),
                }
            }
        })
    });
    let answers = futures::future::join_all(calls).await;
    answers.into_iter().map(|answer| answer.unwrap()).collect()
}

#[tokio::test]
async fn sixty_four_accepts_of_one_user_are_one_membership() {
    let world = World::start().await;
    let answers = rush(&world, |_| "new".to_owned()).await;
    let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap()).collect();
    let joined = answers
        .iter()
        .filter(|answer| !answer.already_member)
        .count();
    assert_eq!((answers.len(), joined), (RACERS, 1));
    let first = answers[0].membership.clone().unwrap();
    assert!(
        answers
            .iter()
            .all(|answer| answer.membership.as_ref() == Some(&first))
    );
}

#[tokio::test]
async fn of_sixty_four_users_with_one_link_one_gets_in() {
    let world = World::start().await;
    let answers = rush(&world, |number| format!("user{number}")).await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    let reasons: HashSet<String> = lost.into_iter().map(reason).collect();
    assert_eq!(reasons, HashSet::from(["ALREADY_ACCEPTED".to_owned()]));
    let members: Vec<String> =
        sqlx::query_scalar("SELECT user_id FROM memberships WHERE invitation_id IS NOT NULL")
            .fetch_all(&mut world.database().await)
            .await
            .unwrap();
    let winner = won.into_iter().next().unwrap().unwrap().membership.unwrap();
    assert_eq!(members, [winner.user_id]);
}

#[tokio::test]
async fn one_call_never_invites_an_address_twice_however_it_is_spelled() {
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
    let created: BTreeSet<i32> = answer
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

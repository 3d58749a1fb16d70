//! Rounds of random concurrent operations on one invitation. The linearizability checker judges the results.
//!
//! `INVITATIONS_TEST_ROUNDS` sets the number of rounds and `INVITATIONS_TEST_SEED` the random seed. A failure prints the
//! seed of its round.

mod round;
mod tasks;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::StreamExt as _;
use futures::future::join_all;
use invitations::clock::MockClock;
use invitations::proto::{AcceptPolicy, NewInvitation};
use invitations::service::Service;
use invitations::store::{Store, StoreConfig};
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use sqlx::PgPool;
use tokio::sync::Barrier;
use uuid::Uuid;

use self::round::Round;
use self::tasks::random_tasks;
use super::linearizability::{
    CompletedOperation, Model, Operation, OperationResult, Phase, final_states,
};
use crate::support::services::{context, store_config};
use crate::support::{KEYS, START, World, create_request, created_ids, item_without_email};

const ROUNDS_DEFAULT: u64 = 200;
const CONCURRENT_ROUNDS: usize = 6;

/// Reads a number from the environment.
pub(super) fn number_from_env(name: &str, default: u64) -> u64 {
    let text = std::env::var(name);
    text.map_or(default, |text| text.parse().expect("a number"))
}

impl Round {
    /// Runs random tasks concurrently and checks their results. Returns the number of operations.
    async fn check(self: Arc<Self>, seed: u64) -> usize {
        let mut random = SmallRng::seed_from_u64(seed);
        let tasks = random_tasks(&mut random);
        let (token, _) = self.token().await;
        let barrier = Arc::new(Barrier::new(tasks.len()));
        let running = tasks.iter().map(|task| {
            let (round, barrier) = (Arc::clone(&self), Arc::clone(&barrier));
            let (task, token) = (*task, token.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                round.run(task, token).await
            })
        });
        let (mut history, mut moved) = (Vec::new(), None);
        for task in join_all(running).await {
            let (operations, moved_by_task) = task.unwrap();
            moved = moved.or(moved_by_task);
            for mut operation in operations {
                // A preview verifies the token before it reads the state.
                let is_second_step = operation.operation == Operation::ReadState;
                operation.after = is_second_step.then(|| history.len() - 1);
                history.push(operation);
            }
        }
        let description = || format!("round seed {seed}\nmoved {moved:?}\n{history:#?}");
        let final_states = final_states(&history, moved);
        assert!(
            !final_states.is_empty(),
            "no order explains {}",
            description()
        );
        self.check_rows(&history, &final_states, description).await;
        history.len()
    }

    /// Asserts that the rows agree with one of the final states, and that there are no other memberships.
    async fn check_rows(
        &self,
        history: &[CompletedOperation],
        final_states: &HashSet<Model>,
        description: impl Fn() -> String,
    ) {
        let (state, generation, by, error): (String, i32, Option<String>, Option<String>) =
            sqlx::query_as(
                "SELECT state, generation, ended_by_user_id, last_accept_error FROM invitations WHERE id = $1",
            )
            .bind(self.id)
            .fetch_one(&self.pool)
            .await
            .unwrap();
        let members: Vec<(String, Option<Uuid>)> = sqlx::query_as(
            "SELECT user_id, invitation_id FROM memberships
              WHERE invitation_id = $1 OR user_id LIKE $2 || '%'",
        )
        .bind(self.id)
        .bind(format!("r{}u", self.number))
        .fetch_all(&self.pool)
        .await
        .unwrap();
        let is_possible = final_states.iter().any(|model| {
            let (name, member) = match model.phase {
                Phase::Pending => ("pending", None),
                Phase::Accepted(user) => ("accepted", Some(self.user_id(user))),
                Phase::Declined => ("declined", None),
                Phase::Revoked => ("revoked", None),
            };
            let expected: Vec<_> = member
                .iter()
                .map(|user| (user.clone(), Some(self.id)))
                .collect();
            name == state
                && i64::from(model.generation) == i64::from(generation)
                && by == member
                && members == expected
        });
        let rows = format!("{state} {generation} {by:?} {error:?} {members:?}");
        assert!(
            is_possible,
            "rows {rows} agree with none of {final_states:?} {}",
            description()
        );
        // The row stores the last refused accept. It must be one of the history.
        let has_expired =
            |operation: &CompletedOperation| operation.result == OperationResult::Expired;
        let is_error_expected = match error.as_deref() {
            None => true,
            Some("INVITATION_EXPIRED") => state != "accepted" && history.iter().any(has_expired),
            Some(_) => false,
        };
        assert!(is_error_expected, "rows {rows} {}", description());
    }
}

/// Creates invitations that users with any address may accept.
async fn invite(world: &World, from: u64, count: u64) -> Vec<Uuid> {
    let open = |number: u64| NewInvitation {
        accept_policy: AcceptPolicy::AnyEmail.into(),
        ..item_without_email(&format!("r{number}@b.co"))
    };
    let request = create_request((from..from + count).map(open).collect());
    let response = world.bulk_create(request).await;
    let ids = created_ids(&response);
    ids.iter().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_concurrent_calls_are_linearizable() {
    let mut world = World::start().await;
    // Resends queue emails that no worker delivers.
    world.may_leave_mail();
    let rounds = number_from_env("INVITATIONS_TEST_ROUNDS", ROUNDS_DEFAULT);
    let seed = number_from_env("INVITATIONS_TEST_SEED", rand::random_range(0..1 << 48));
    eprintln!("INVITATIONS_TEST_SEED={seed} INVITATIONS_TEST_ROUNDS={rounds}");
    let config = StoreConfig {
        connections_max: 20,
        ..store_config()
    };
    let store = Store::new(&world.database_url(), config).unwrap();
    let pool = PgPool::connect(&world.database_url()).await.unwrap();
    let mut operations = 0;
    for begin in (0..rounds).step_by(1_000) {
        let ids = invite(&world, begin, (rounds - begin).min(1_000)).await;
        let rounds = ids.into_iter().zip(begin..).map(|(id, number)| {
            // Each round moves only its own clock.
            let clock = Arc::new(MockClock::new(START));
            let round = Round {
                number,
                id,
                service: Service::new(store.clone(), context(&clock, KEYS)),
                clock,
                pool: pool.clone(),
                next_time: AtomicU64::new(0),
            };
            Arc::new(round).check(seed + number)
        });
        let counts: Vec<usize> = futures::stream::iter(rounds)
            .buffer_unordered(CONCURRENT_ROUNDS)
            .collect()
            .await;
        operations += counts.iter().sum::<usize>();
    }
    let without_invitation = "memberships m
          WHERE m.invitation_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM invitations i
                             WHERE i.id = m.invitation_id AND i.state = 'accepted'
                               AND i.ended_by_user_id = m.user_id)";
    assert_eq!(world.count(without_invitation).await, 0);
    assert!(operations as u64 >= rounds * 10, "{operations}");
    pool.close().await;
}

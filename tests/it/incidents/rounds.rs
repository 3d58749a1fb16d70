//! Everything that can happen to one invitation at once: drawn at random, let go at one moment, and judged by a model.
//!
//! `INVITATIONS_TEST_ROUNDS` says how many rounds, `INVITATIONS_TEST_SEED` where chance begins; a failure names both of
//! what failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::StreamExt as _;
use invitations::clock::{Clock, MockClock};
use invitations::domain::expiry::Expiry;
use invitations::domain::ids::{OrganizationId, UserId};
use invitations::domain::invitation::StateName;
use invitations::domain::keyring::Keyring;
use invitations::domain::link::{LinkMode, LinkTemplate};
use invitations::domain::token::{Token, TokenSubject};
use invitations::domain::user::User;
use invitations::proto::{AcceptPolicy, BulkCreateRequest, NewInvitation};
use invitations::service::{
    Accept, Context, Decline, PreviewInvitation, Resend, Revoke, Service, ServiceError,
};
use invitations::store::{Store, StoreConfig};
use rand::prelude::{IndexedRandom as _, SliceRandom as _};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;
use time::Duration;
use tokio::sync::Barrier;
use uuid::Uuid;

use super::linearity::{Call, Event, Model, Phase, Told, endings};
use crate::support::services::store_config;
use crate::support::{ACME, KEYS, START, World, create_request, created, item, test_actor};

/// Rounds where nobody says how many.
const ROUNDS: u64 = 200;
/// Rounds at once.
const LANES: usize = 6;
/// How many calls a round may have.
const CALLS: [usize; 6] = [16, 16, 20, 24, 32, 64];
/// Users who try to get in.
const USERS: u8 = 5;

/// A number from the environment, or another.
pub(super) fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name);
    text.map_or(otherwise, |text| text.parse().expect("a number"))
}

/// What one task of a round does.
#[derive(Debug, Clone, Copy)]
enum Task {
    Accept(u8),
    Decline,
    Revoke,
    Resend,
    /// Resends with a new link, then accepts by it.
    Rotate(u8),
    Preview,
    /// Moves the clock past the expiry.
    Expire,
}

/// The tasks of a round: mostly people who want in, and a few that get in their way.
fn draw(chance: &mut SmallRng) -> Vec<Task> {
    let count = *CALLS.choose(chance).unwrap();
    let mut tasks = Vec::new();
    if chance.random_bool(0.3) {
        tasks.push(Task::Expire);
    }
    for _ in 0..chance.random_range(0..=3) {
        tasks.push(Task::Rotate(chance.random_range(0..USERS)));
    }
    for _ in 0..chance.random_range(0..=2) {
        tasks.push(Task::Resend);
    }
    let one_in = |chance: &mut SmallRng, task| chance.random_bool(0.4).then_some(task);
    tasks.extend(one_in(chance, Task::Revoke));
    tasks.extend(one_in(chance, Task::Decline));
    // One user alone, or several.
    let users = if chance.random_bool(0.3) { 1 } else { USERS };
    while tasks.len() < count {
        let task = match chance.random_range(0..10) {
            0 => Task::Preview,
            1 if users > 1 => Task::Decline,
            2 if users > 1 => Task::Revoke,
            _ => Task::Accept(chance.random_range(0..users)),
        };
        tasks.push(task);
    }
    tasks.shuffle(chance);
    tasks
}

/// One invitation and what is done to it.
struct Round {
    number: u64,
    id: Uuid,
    service: Service,
    clock: Arc<MockClock>,
    pool: PgPool,
    moment: AtomicU64,
}

impl Round {
    fn now(&self) -> u64 {
        self.moment.fetch_add(1, Ordering::SeqCst)
    }

    fn user_id(&self, user: u8) -> String {
        format!("r{}u{user}", self.number)
    }

    /// The link as it is now, and the generation it is of.
    async fn token(&self) -> (Token, u32) {
        let row: (i32, Vec<u8>, String) = sqlx::query_as(
            "SELECT generation, nonce, email_normalized FROM invitations WHERE id = $1",
        )
        .bind(self.id)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        let generation = u32::try_from(row.0).unwrap();
        let subject = TokenSubject {
            organization_id: ACME,
            invitation_id: self.id,
            generation,
            nonce: row.1.try_into().unwrap(),
            email_normalized: &row.2,
        };
        let keyring = Keyring::parse(KEYS).unwrap();
        (Token::derive(&keyring, 1, &subject).unwrap(), generation)
    }

    async fn accept(&self, user: u8, token: Token, generation: u32) -> Option<Event> {
        let request = Accept {
            token,
            user: User {
                id: UserId::parse(&self.user_id(user)).unwrap(),
                name: String::new(),
                emails_normalized: Vec::new(),
            },
            is_self: false,
            actor: test_actor(),
        };
        let began = self.now();
        let answer = self.service.run(request).await;
        let told = match answer {
            Ok(outcome) => {
                assert_eq!(outcome.membership.user_id, self.user_id(user));
                assert_eq!(outcome.invitation.id, self.id);
                if outcome.is_already_member {
                    Told::Again
                } else {
                    Told::Done
                }
            }
            Err(error) => told(&error)?,
        };
        let call = Call::Accept { user, generation };
        Some(self.event(call, told, began))
    }

    fn event(&self, call: Call, told: Told, began: u64) -> Event {
        Event {
            call,
            told,
            began,
            ended: self.now(),
            after: None,
        }
    }

    async fn resend(&self, rotates: bool) -> Option<Event> {
        let request = Resend {
            organization_id: OrganizationId::parse(ACME).unwrap(),
            id: self.id,
            rotate_token: rotates,
            expiry: Expiry::Default,
            actor: test_actor(),
        };
        let began = self.now();
        let answer = self.service.run(request).await;
        let told = answer.map_or_else(|error| told(&error), |_| Some(Told::Done))?;
        Some(self.event(Call::Resend { rotates }, told, began))
    }

    async fn preview(&self, token: Token, generation: u32) -> Vec<Event> {
        let began = self.now();
        let answer = self
            .service
            .run(PreviewInvitation {
                token,
                actor: test_actor(),
            })
            .await;
        let prove = |told| self.event(Call::Prove { generation }, told, began);
        match answer {
            Ok(preview) => {
                let seen = match preview.state.name() {
                    StateName::Pending => Told::Pending,
                    StateName::Accepted => Told::AlreadyAccepted,
                    StateName::Declined => Told::Declined,
                    StateName::Revoked => Told::Revoked,
                    StateName::Expired => Told::Expired,
                };
                vec![prove(Told::Done), self.event(Call::Look, seen, began)]
            }
            Err(error) => told(&error).map(prove).into_iter().collect(),
        }
    }

    /// Does a task; what it was told, call by call.
    async fn run(&self, task: Task, token: Token) -> (Vec<Event>, Option<(u64, u64)>) {
        let one = |event: Option<Event>| (event.into_iter().collect(), None);
        match task {
            Task::Accept(user) => one(self.accept(user, token, 1).await),
            Task::Resend => one(self.resend(false).await),
            Task::Preview => (self.preview(token, 1).await, None),
            Task::Decline => {
                let began = self.now();
                let request = Decline {
                    token,
                    suppress: false,
                    email_normalized: None,
                    actor: test_actor(),
                };
                let answer = self.service.run(request).await;
                let told = answer.map_or_else(|error| told(&error), |_| Some(Told::Done));
                let call = Call::Decline { generation: 1 };
                one(told.map(|told| self.event(call, told, began)))
            }
            Task::Revoke => {
                let request = Revoke {
                    organization_id: OrganizationId::parse(ACME).unwrap(),
                    id: self.id,
                    by_user_id: None,
                    actor: test_actor(),
                };
                let began = self.now();
                let answer = self.service.run(request).await;
                let told = answer.map_or_else(|error| told(&error), |_| Some(Told::Done));
                one(told.map(|told| self.event(Call::Revoke, told, began)))
            }
            Task::Rotate(user) => {
                let mut events: Vec<Event> = self.resend(true).await.into_iter().collect();
                let (newest, generation) = self.token().await;
                events.extend(self.accept(user, newest, generation).await);
                (events, None)
            }
            Task::Expire => {
                let began = self.now();
                self.clock.advance(Duration::days(31));
                (Vec::new(), Some((began, self.now())))
            }
        }
    }

    /// Lets all tasks go at once and judges what they were told; how many calls that was.
    async fn judge(self: Arc<Self>, seed: u64) -> usize {
        let mut chance = SmallRng::seed_from_u64(seed);
        let tasks = draw(&mut chance);
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
        let (mut events, mut moved) = (Vec::new(), None);
        for task in futures::future::join_all(running).await {
            let (told, movement) = task.unwrap();
            moved = moved.or(movement);
            for mut event in told {
                // A preview looks after it has proven itself.
                event.after = (event.call == Call::Look).then(|| events.len() - 1);
                events.push(event);
            }
        }
        let story = || format!("round seed {seed}\nmoved {moved:?}\n{events:#?}");
        let endings = endings(&events, moved);
        assert!(!endings.is_empty(), "no order explains {}", story());
        self.check_rows(&events, &endings, story).await;
        events.len()
    }

    /// The rows are those of one of the endings, and there is nothing beside them.
    async fn check_rows(
        &self,
        events: &[Event],
        endings: &std::collections::HashSet<Model>,
        story: impl Fn() -> String,
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
        let is_ending = endings.iter().any(|ending| {
            let (name, winner) = match ending.phase {
                Phase::Pending => ("pending", None),
                Phase::Accepted(user) => ("accepted", Some(self.user_id(user))),
                Phase::Declined => ("declined", None),
                Phase::Revoked => ("revoked", None),
            };
            let expected: Vec<_> = winner
                .iter()
                .map(|user| (user.clone(), Some(self.id)))
                .collect();
            name == state
                && i64::from(ending.generation) == i64::from(generation)
                && by == winner
                && members == expected
        });
        let rows = format!("{state} {generation} {by:?} {error:?} {members:?}");
        assert!(is_ending, "rows {rows} end none of {endings:?} {}", story());
        let is_told = match error.as_deref() {
            None => true,
            Some("EXPIRED") => {
                state != "accepted" && events.iter().any(|event| event.told == Told::Expired)
            }
            Some(_) => false,
        };
        assert!(is_told, "rows {rows} {}", story());
    }
}

/// What a refusal means to the model; `None` for one that did nothing because others were quicker.
fn told(error: &ServiceError) -> Option<Told> {
    match error.reason().code() {
        "TOKEN_INVALID" => Some(Told::TokenInvalid),
        "EXPIRED" => Some(Told::Expired),
        "ALREADY_ACCEPTED" => Some(Told::AlreadyAccepted),
        "DECLINED" => Some(Told::Declined),
        "REVOKED" => Some(Told::Revoked),
        "CONFLICT" => None,
        other => panic!("{other} was not foreseen"),
    }
}

/// Invitations that anybody with the link may take.
async fn invite(world: &World, from: u64, count: u64) -> Vec<Uuid> {
    let open = |number: u64| NewInvitation {
        accept_policy: AcceptPolicy::AnyEmail.into(),
        notify: Some(false),
        ..item(&format!("r{number}@b.co"))
    };
    let request = BulkCreateRequest {
        invitations: (from..from + count).map(open).collect(),
        ..create_request(vec![])
    };
    let made = world.client().bulk_create(request).await.unwrap();
    let results = made.into_inner().results;
    let id = |result| created(result).id.parse().unwrap();
    results.iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_at_once_happened_one_after_the_other() {
    let mut world = World::start().await;
    // What is sent again queues mails, which nobody is here to read.
    world.may_leave_mail();
    let rounds = number("INVITATIONS_TEST_ROUNDS", ROUNDS);
    let seed = number("INVITATIONS_TEST_SEED", rand::random_range(0..1 << 48));
    eprintln!("INVITATIONS_TEST_SEED={seed} INVITATIONS_TEST_ROUNDS={rounds}");
    let config = StoreConfig {
        connections_max: 20,
        ..store_config()
    };
    let store = Store::new(&world.database_url(), config).unwrap();
    let pool = PgPool::connect(&world.database_url()).await.unwrap();
    let keyring = Arc::new(Keyring::parse(KEYS).unwrap());
    let links = LinkTemplate::new("https://app.example.com/join", LinkMode::Fragment);
    let links = Arc::new(links.unwrap());
    let mut calls = 0;
    for begin in (0..rounds).step_by(1_000) {
        let ids = invite(&world, begin, (rounds - begin).min(1_000)).await;
        let rounds = ids.into_iter().zip(begin..).map(|(id, number)| {
            // A clock of its own: that of one round must not end the others'.
            let clock = Arc::new(MockClock::new(START));
            let round = Round {
                number,
                id,
                service: Service::new(
                    store.clone(),
                    Context::new(
                        Arc::clone(&clock) as Arc<dyn Clock>,
                        Arc::clone(&keyring),
                        Arc::clone(&links),
                    ),
                ),
                clock,
                pool: pool.clone(),
                moment: AtomicU64::new(0),
            };
            Arc::new(round).judge(seed + number)
        });
        let told: Vec<usize> = futures::stream::iter(rounds)
            .buffer_unordered(LANES)
            .collect()
            .await;
        calls += told.iter().sum::<usize>();
    }
    let doubled: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM memberships m
          WHERE m.invitation_id IS NOT NULL
            AND NOT EXISTS (SELECT FROM invitations i
                             WHERE i.id = m.invitation_id AND i.state = 'accepted'
                               AND i.ended_by_user_id = m.user_id)",
    )
    .fetch_one(&mut world.database().await)
    .await
    .unwrap();
    assert_eq!(doubled, 0);
    assert!(calls as u64 >= rounds * 10, "{calls}");
    pool.close().await;
}

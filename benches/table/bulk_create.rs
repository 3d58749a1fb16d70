//! BulkCreate beside the same rows by the statement of `store::invitations::insert_many`, with as many callers over as
//! many connections.
//!
//! Both leave the same rows in `invitations` and `outbox`. Items are an address alone: no metadata, note or `request_id`.
//! Each time includes the commit; messages and rows are made before it.

use std::time::Instant;

use anyhow::ensure;
use invitations::proto::{BulkCreateRequest, NewInvitation};
use invitations::store::Store;

use crate::arguments::Arguments;
use crate::contest::{Contest, Outcome, Turn, hold, together};
use crate::database::Database;
use crate::meter::Meter;
use crate::people::{INVITER, ORGANIZATION, People};
use crate::pool::{self, STORE_CONFIG};
use crate::service::{Client, Service, authorized};
use crate::yardstick;

/// Items of a call, callers, calls of each caller in a turn, and rounds: fewer where one takes long.
const SIZES: [(usize, usize, usize, usize); 8] = [
    (10, 1, 40, 15),
    (100, 1, 20, 15),
    (1_000, 1, 4, 15),
    (10_000, 1, 1, 15),
    (10, 8, 20, 15),
    (100, 8, 8, 15),
    (1_000, 8, 2, 11),
    (10_000, 8, 1, 7),
];
/// Rounds in a smoke run, which leaves the largest ones out.
const QUICK_ROUNDS: usize = 3;
const QUICK_ROWS_MAX: usize = 10_000;
const WARM_UP_ROUNDS: usize = 2;

/// BulkCreate and the pool.
struct BulkCreate {
    size: usize,
    calls: usize,
    clients: Vec<Client>,
    store: Store,
    people: People,
}

/// Measures it, and what the yardstick is worth, in a database of their own.
pub(crate) async fn run(server_url: &str, arguments: &Arguments) -> anyhow::Result<Vec<Outcome>> {
    let database = Database::create(server_url).await?;
    let service = Service::start(&database).await?;
    let mut meter = Meter::new(&database, Some(service.pid())).await?;
    let store = Store::new(database.url(), STORE_CONFIG)?;
    let mut people = People::new();
    let mut outcomes = Vec::new();
    let mut written = 0;
    for (size, callers, calls, rounds) in SIZES {
        if arguments.quick && size * callers > QUICK_ROWS_MAX {
            continue;
        }
        let rounds = arguments.rounds(WARM_UP_ROUNDS, rounds, QUICK_ROUNDS);
        let mut contest = BulkCreate {
            size,
            calls,
            clients: service.clients(callers).await?,
            store: store.clone(),
            people,
        };
        outcomes.push(hold(&mut contest, &database, &mut meter, rounds).await?);
        people = contest.people;
        written += arguments.sides() * size * callers * calls * (rounds.warm_up + rounds.timed);
    }
    if !arguments.alone {
        let (of_statement, rows) = yardstick::run(&database, &store, people, arguments).await?;
        outcomes.extend(of_statement);
        written += rows;
    }
    let found = usize::try_from(database.count_invitations().await?)?;
    ensure!(
        found == written,
        "{found} invitations were found where {written} were timed"
    );
    store.close().await;
    drop(meter);
    service.stop().await?;
    database.drop().await?;
    Ok(outcomes)
}

impl Contest for BulkCreate {
    const SAME_ROWS: &'static [&'static str] = &["invitations", "outbox", "invitation_events"];

    fn name(&self) -> &'static str {
        "BulkCreate"
    }

    fn reference_name(&self) -> &'static str {
        "the statement"
    }

    fn size(&self) -> usize {
        self.size
    }

    fn callers(&self) -> usize {
        self.clients.len()
    }

    async fn ours(&mut self) -> anyhow::Result<Turn> {
        turn(&self.clients, &mut self.people, self.size, self.calls).await
    }

    async fn reference(&mut self) -> anyhow::Result<Turn> {
        let mut jobs = Vec::new();
        for _ in &self.clients {
            let mut batches = Vec::new();
            for _ in 0..self.calls {
                batches.push(self.people.batch(self.size)?);
            }
            let store = self.store.clone();
            jobs.push(async move {
                let mut latencies = Vec::new();
                for batch in batches {
                    latencies.push(pool::insert(&store, batch).await?);
                }
                Ok(latencies)
            });
        }
        together(self.size * self.calls * self.clients.len(), jobs).await
    }
}

/// Each client makes so many calls of so many people, one after another.
pub(crate) async fn turn(
    clients: &[Client],
    people: &mut People,
    size: usize,
    calls: usize,
) -> anyhow::Result<Turn> {
    let mut jobs = Vec::new();
    for client in clients {
        let mut requests = Vec::new();
        for _ in 0..calls {
            requests.push(authorized(request(people.emails(size)))?);
        }
        let mut client = client.clone();
        jobs.push(async move {
            let mut latencies = Vec::new();
            for request in requests {
                let started = Instant::now();
                let response = client.bulk_create(request).await?.into_inner();
                latencies.push(started.elapsed());
                let created = usize::try_from(response.created_count)?;
                ensure!(created == size, "{created} of {size} were created");
            }
            Ok(latencies)
        });
    }
    together(size * calls * clients.len(), jobs).await
}

/// A request of which nothing but addresses is said.
pub(crate) fn request(emails: Vec<String>) -> BulkCreateRequest {
    BulkCreateRequest {
        organization_id: ORGANIZATION.to_owned(),
        inviter_user_id: INVITER.to_owned(),
        invitations: emails.into_iter().map(invitation).collect(),
        ..Default::default()
    }
}

/// An item that is an address alone.
pub(crate) fn invitation(email: String) -> NewInvitation {
    NewInvitation {
        email,
        ..Default::default()
    }
}

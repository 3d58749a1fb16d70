//! BulkCreateStream beside as many rows by statements of 1,000 rows each, one after another over the pool.
//!
//! Both make their rows as they go along. The latencies of the stream are the times from one answer to the next.

use std::time::Instant;

use anyhow::{bail, ensure};
use futures::stream;
use invitations::proto::{
    BulkCreateStreamHeader, BulkCreateStreamItem, BulkCreateStreamRequest, CreateOutcome,
};
use invitations::store::Store;

use crate::arguments::Arguments;
use crate::bulk_create;
use crate::contest::{Contest, Outcome, Turn, hold};
use crate::database::Database;
use crate::meter::Meter;
use crate::people::{INVITER, ORGANIZATION, People};
use crate::pool::{self, STORE_CONFIG};
use crate::service::{Client, Service, authorized};

/// Items of a stream, rounds before it counts, and rounds that do.
const SIZES: [(usize, usize, usize); 2] = [(100_000, 1, 5), (1_000_000, 0, 1)];
/// The same in a smoke run.
const QUICK_SIZES: [(usize, usize, usize); 2] = [(5_000, 1, 2), (20_000, 0, 1)];
/// Items of a message.
const MESSAGE_ITEMS: usize = 500;
/// Rows of a statement.
const STATEMENT_ROWS: usize = 1_000;

struct BulkCreateStream {
    size: usize,
    client: Client,
    store: Store,
    people: People,
}

/// Measures it in a database of its own.
pub(crate) async fn run(server_url: &str, arguments: &Arguments) -> anyhow::Result<Vec<Outcome>> {
    let database = Database::create(server_url).await?;
    let service = Service::start(&database).await?;
    let mut meter = Meter::new(&database, Some(service.pid())).await?;
    let store = Store::new(database.url(), STORE_CONFIG)?;
    let sizes = if arguments.quick { QUICK_SIZES } else { SIZES };
    let mut people = People::new();
    let mut outcomes = Vec::new();
    let mut written = 0;
    for (size, warm_up, timed) in sizes {
        let mut contest = BulkCreateStream {
            size,
            client: service.client().await?,
            store: store.clone(),
            people,
        };
        let rounds = arguments.rounds(warm_up, timed, timed);
        outcomes.push(hold(&mut contest, &database, &mut meter, rounds).await?);
        people = contest.people;
        written += arguments.sides() * size * (warm_up + timed);
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

impl Contest for BulkCreateStream {
    const SAME_ROWS: &'static [&'static str] = &["invitations", "outbox"];

    fn name(&self) -> &'static str {
        "BulkCreateStream"
    }

    fn reference_name(&self) -> &'static str {
        "statements of 1,000"
    }

    fn size(&self) -> usize {
        self.size
    }

    fn callers(&self) -> usize {
        1
    }

    async fn ours(&mut self) -> anyhow::Result<Turn> {
        let messages = stream::iter(messages(self.people.some(self.size), self.size));
        let started = Instant::now();
        let answers = self.client.bulk_create_stream(authorized(messages)?);
        let mut answers = answers.await?.into_inner();
        let mut latencies = Vec::new();
        let mut created = 0;
        let mut last = Instant::now();
        while let Some(answer) = answers.message().await? {
            if answer.results.is_empty() {
                continue;
            }
            latencies.push(last.elapsed());
            last = Instant::now();
            for result in answer.results {
                if result.outcome() != CreateOutcome::Created {
                    bail!("item {} was not created", result.index);
                }
                created += 1;
            }
        }
        let took = started.elapsed();
        ensure!(
            created == self.size,
            "{created} of {} were created",
            self.size
        );
        Ok(Turn {
            items: created,
            took,
            latencies,
        })
    }

    async fn reference(&mut self) -> anyhow::Result<Turn> {
        let mut latencies = Vec::new();
        let started = Instant::now();
        for _ in 0..self.size / STATEMENT_ROWS {
            let batch = self.people.batch(STATEMENT_ROWS)?;
            latencies.push(pool::insert(&self.store, batch).await?);
        }
        Ok(Turn {
            items: self.size,
            took: started.elapsed(),
            latencies,
        })
    }
}

/// The header, and messages that are made as the server takes them.
fn messages(mut people: People, size: usize) -> impl Iterator<Item = BulkCreateStreamRequest> {
    let header = BulkCreateStreamRequest {
        header: Some(BulkCreateStreamHeader {
            organization_id: ORGANIZATION.to_owned(),
            inviter_user_id: INVITER.to_owned(),
            ..Default::default()
        }),
        items: Vec::new(),
    };
    let items = (0..size / MESSAGE_ITEMS).map(move |_| BulkCreateStreamRequest {
        header: None,
        items: people.emails(MESSAGE_ITEMS).into_iter().map(item).collect(),
    });
    std::iter::once(header).chain(items)
}

fn item(email: String) -> BulkCreateStreamItem {
    BulkCreateStreamItem {
        key: String::new(),
        invitation: Some(bulk_create::invitation(email)),
    }
}

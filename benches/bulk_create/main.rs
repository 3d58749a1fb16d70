//! BulkCreate beside the database alone: what a client waits for, and what the same rows cost in the same statement.
//!
//! Each round writes `n` fresh addresses three times, in turn and in changing order: by BulkCreate through a loopback
//! socket; by the statement of `store::invitations::insert_many`, sent with literals by psql and timed by it; and by
//! `insert_many` itself over the service's pool. All three leave the same rows in the same tables. Items are an address
//! alone: no metadata, note or `request_id`. No worker delivers. Each time includes the commit.
//!
//! `BENCH_DATABASE_URL` names a durable Postgres; a database `invitations_bench` is made there and dropped. psql must be
//! in the PATH. `make bench` sees to both; `scripts/bench 1000` measures one size alone.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark is configured by its environment and reports to a terminal"
)]

mod database;
mod people;
mod psql;
mod service;

use std::env;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use database::Database;
use people::People;
use psql::Psql;
use service::Running;

/// How many items, and how many rounds are timed: fewer where one takes long.
const SIZES: [(usize, usize); 4] = [(10, 61), (100, 41), (1_000, 31), (10_000, 15)];
/// Rounds before those: connections, caches, and the five executions after which Postgres keeps a plan.
const WARM_UP_ROUNDS: usize = 6;

/// The three roads.
struct Roads {
    running: Running,
    psql: Psql,
    people: People,
}

/// What the three roads took, one time for each round.
#[derive(Default)]
struct Times {
    grpc: Vec<Duration>,
    psql: Vec<Duration>,
    pool: Vec<Duration>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server_url = env::var("BENCH_DATABASE_URL").context(
        "BENCH_DATABASE_URL must name a durable Postgres; `make bench` starts one and runs this",
    )?;
    // cargo adds --bench; everything else is a size.
    let wanted: Vec<usize> = env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .map(|argument| {
            argument
                .parse()
                .with_context(|| format!("{argument:?} is not a number of items"))
        })
        .collect::<anyhow::Result<_>>()?;
    let database = Database::create(&server_url).await?;
    println!("{}; load {}", database.describe().await?, load());
    let mut roads = Roads {
        running: Running::start(database.url()).await?,
        psql: Psql::start(database.url())?,
        people: People::new(),
    };
    println!("  items  rounds   gRPC ms   psql ms   pool ms  gRPC rows/s  gRPC/psql  gRPC/pool");
    let mut written = 0;
    for (size, rounds) in SIZES {
        if !wanted.is_empty() && !wanted.contains(&size) {
            continue;
        }
        let times = roads.measure(size, rounds).await?;
        report(size, rounds, &times);
        written += 3 * size * (WARM_UP_ROUNDS + rounds);
    }
    let found = database.count_invitations().await?;
    ensure!(
        usize::try_from(found)? == written,
        "{found} invitations were found where {written} were timed"
    );
    println!(
        "p50 of each; ratios are of rows a second, 1 is as fast as the statement alone; load {}",
        load()
    );
    roads.psql.stop()?;
    roads.running.stop().await?;
    database.drop().await
}

impl Roads {
    async fn measure(&mut self, size: usize, rounds: usize) -> anyhow::Result<Times> {
        let mut times = Times::default();
        for round in 0..WARM_UP_ROUNDS + rounds {
            let mut took = Times::default();
            for turn in 0..3 {
                // Whoever comes first may find other pages in memory, so everybody does.
                match (round + turn) % 3 {
                    0 => took.grpc.push(self.grpc(size).await?),
                    1 => took.psql.push(self.psql(size)?),
                    _ => took.pool.push(self.pool(size).await?),
                }
            }
            if round >= WARM_UP_ROUNDS {
                times.grpc.append(&mut took.grpc);
                times.psql.append(&mut took.psql);
                times.pool.append(&mut took.pool);
            }
        }
        Ok(times)
    }

    async fn grpc(&mut self, size: usize) -> anyhow::Result<Duration> {
        self.running.bulk_create(self.people.emails(size)).await
    }

    fn psql(&mut self, size: usize) -> anyhow::Result<Duration> {
        let statement = psql::statement(&self.people.batch(size)?)?;
        self.psql.time(&statement)
    }

    async fn pool(&mut self, size: usize) -> anyhow::Result<Duration> {
        self.running.insert(self.people.batch(size)?).await
    }
}

fn report(size: usize, rounds: usize, times: &Times) {
    let millis = |times: &[Duration]| median(times).as_secs_f64() * 1_000.0;
    let (grpc, psql, pool) = (
        millis(&times.grpc),
        millis(&times.psql),
        millis(&times.pool),
    );
    #[expect(clippy::cast_precision_loss, reason = "sizes are far below 2^53")]
    let rate = size as f64 / grpc * 1_000.0;
    println!(
        "{size:7} {rounds:7} {grpc:9.2} {psql:9.2} {pool:9.2} {rate:12.0} {:10.2} {:10.2}",
        psql / grpc,
        pool / grpc
    );
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// How busy the machine was in the last minute, where it tells.
fn load() -> String {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|line| Some(line.split_whitespace().next()?.to_owned()))
        .unwrap_or_else(|| "unknown".to_owned())
}

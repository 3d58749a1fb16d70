//! Delivery beside what the same relay takes from Postfix's own source: mails a second, and claims.
//!
//! Each turn queues mails to different people and drains them with the program's worker and templates over a number of
//! connections: claimed from a durable Postgres, written, sent, and settled there, each right after its 250. In its turn,
//! `smtp-source` sends one and the same mail of the same size over as many connections, and settles nothing. "20 ms" is
//! the same relay at that distance, and the reference there the worker itself, a command at a time.
//!
//! The worker runs in this process: memory and time of cores are those of the benchmark, which does little else meanwhile.

mod queue;
mod sink;

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use invitations::clock::SystemClock;
use invitations::delivery::{
    Ambiguous, DeliveryConfig, DomainCaps, LaneConfig, Mailroom, Route, Worker,
};
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::keyring::Keyring;
use invitations::domain::link::{LinkMode, LinkTemplate};
use invitations::domain::public_url::PublicUrl;
use invitations::mail::message::{Composer, Sender};
use invitations::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use invitations::mail::transport::Transport;
use invitations::store::Store;

use crate::arguments::Arguments;
use crate::contest::{Contest, Outcome, Turn, hold};
use crate::database::Database;
use crate::delay;
use crate::meter::Meter;
use crate::people::KEYS;
use crate::pool::STORE_CONFIG;
use queue::Queue;
use sink::Sink;

/// Connections, mails of a turn, and rounds.
const NEAR: [(usize, usize, usize); 3] = [(1, 2_000, 5), (4, 4_000, 5), (16, 8_000, 5)];
const FAR: [(usize, usize, usize); 3] = [(1, 100, 3), (4, 200, 3), (16, 400, 3)];
/// Mails and rounds of a smoke run.
const QUICK_MAILS: usize = 200;
const QUICK_ROUNDS: usize = 2;
/// About what one of our mails weighs on the wire.
const MAIL_BYTES: usize = 16_000;
const ROUND_TRIP: Duration = Duration::from_millis(20);
const WAITING: i32 = 1_000_000;
const CANCELED: i32 = 50_000;
const QUICK_WAITING: i32 = 20_000;
const CLAIMS: usize = 1_000;
const QUICK_CLAIMS: usize = 100;
const CLAIM_MAILS: i64 = 20;

/// What the mails have to get over.
#[derive(Clone, Copy)]
enum Distance {
    /// Nothing; beside the source.
    Near(SocketAddr),
    /// The round trip; beside a command at a time.
    Far(SocketAddr),
}

struct Drain<'a> {
    store: &'a Store,
    queue: &'a mut Queue,
    sink: &'a Sink,
    distance: Distance,
    connections: usize,
    mails: usize,
}

/// Measures it in a database of its own.
pub(crate) async fn run(server_url: &str, arguments: &Arguments) -> anyhow::Result<Vec<Outcome>> {
    let programs = env::var("BENCH_POSTFIX")
        .context("BENCH_POSTFIX must name a folder with smtp-sink and smtp-source")?;
    let database = Database::create(server_url).await?;
    let mut meter = Meter::new(&database, Some(process::id())).await?;
    let sink = Sink::start(&PathBuf::from(programs))?;
    let mut queue = Queue::open(database.url()).await?;
    let store = Store::new(database.url(), STORE_CONFIG)?;
    let near = Distance::Near(sink.address());
    let far = Distance::Far(delay::listen(sink.address(), ROUND_TRIP).await?);
    let mut outcomes = Vec::new();
    for (distance, sizes) in [(near, NEAR), (far, FAR)] {
        for (connections, mails, rounds) in sizes {
            let mut drain = Drain {
                store: &store,
                queue: &mut queue,
                sink: &sink,
                distance,
                connections,
                mails: if arguments.quick { QUICK_MAILS } else { mails },
            };
            let rounds = arguments.rounds(1, rounds, QUICK_ROUNDS);
            outcomes.push(hold(&mut drain, &database, &mut meter, rounds).await?);
        }
    }
    claims(&mut queue, arguments.quick).await?;
    drop((queue, meter));
    let left = database
        .count("SELECT count(*) FROM outbox WHERE state = 'queued' AND organization_id = 'bench'")
        .await?;
    ensure!(left == 0, "{left} mails were left in the queue");
    store.close().await;
    database.drop().await?;
    Ok(outcomes)
}

/// Says how long it takes to claim from a long queue: nothing stands beside that, so that it is a line and no row.
async fn claims(queue: &mut Queue, is_quick: bool) -> anyhow::Result<()> {
    let (waiting, count) = if is_quick {
        (QUICK_WAITING, QUICK_CLAIMS)
    } else {
        (WAITING, CLAIMS)
    };
    queue.fill_outbox(waiting, CANCELED).await?;
    let mut times = queue.claims(count, CLAIM_MAILS).await?;
    let first = times[0];
    times.sort_unstable();
    println!(
        "claim of {CLAIM_MAILS} with {waiting} waiting and {CANCELED} canceled before them: p50 {:.2} ms, p99 {:.2} ms, \
         the first {:.2} ms\n",
        millis(times[count / 2]),
        millis(times[count * 99 / 100]),
        millis(first)
    );
    Ok(())
}

impl Contest for Drain<'_> {
    // The source writes none.
    const SAME_ROWS: &'static [&'static str] = &[];

    fn name(&self) -> &'static str {
        match self.distance {
            Distance::Near(_) => "delivery",
            Distance::Far(_) => "delivery at 20 ms",
        }
    }

    fn reference_name(&self) -> &'static str {
        match self.distance {
            Distance::Near(_) => "smtp-source",
            Distance::Far(_) => "lockstep",
        }
    }

    fn size(&self) -> usize {
        1
    }

    fn callers(&self) -> usize {
        self.connections
    }

    async fn ours(&mut self) -> anyhow::Result<Turn> {
        let (Distance::Near(relay) | Distance::Far(relay)) = self.distance;
        self.drain(relay, true).await
    }

    async fn reference(&mut self) -> anyhow::Result<Turn> {
        match self.distance {
            Distance::Near(_) => self.sink.feed(self.connections, self.mails, MAIL_BYTES),
            Distance::Far(relay) => self.drain(relay, false).await,
        }
    }
}

impl Drain<'_> {
    /// Goes from a full queue to an empty one.
    async fn drain(&mut self, relay: SocketAddr, pipelining: bool) -> anyhow::Result<Turn> {
        self.queue.fill(self.mails).await?;
        let mut worker = worker(self.store, relay, self.connections, pipelining)?;
        let started = Instant::now();
        worker.deliver_all().await?;
        let took = started.elapsed();
        let sent = usize::try_from(self.queue.count("sent").await?)?;
        ensure!(sent == self.mails, "{sent} of {} were sent", self.mails);
        Ok(Turn {
            items: sent,
            took,
            latencies: Vec::new(),
        })
    }
}

fn worker(
    store: &Store,
    relay: SocketAddr,
    connections: usize,
    pipelining: bool,
) -> anyhow::Result<Worker> {
    let keyring = Arc::new(Keyring::parse(KEYS)?);
    let links = LinkTemplate::new("https://example.com/join", LinkMode::Fragment)
        .context("the link's base is no URL")?;
    let sender = Sender::parse("Invitations", "invites@example.com", None)?;
    let mailroom = Mailroom {
        store: store.clone(),
        clock: Arc::new(SystemClock),
        tagger: AddressTagger::new(&keyring),
        keyring,
        links: Arc::new(links),
        composer: Composer::new(sender).map_err(|error| anyhow!(error))?,
        message_id_domain: "example.com".to_owned(),
        bounce_mailbox: Some("bounces@example.com".to_owned()),
        public_url: PublicUrl::parse("https://invitations.example.com"),
    };
    let transport = SmtpTransport::new(SmtpConfig {
        host: relay.ip().to_string(),
        port: relay.port(),
        tls: SmtpTls::None,
        extra_roots_pem: None,
        credentials: None,
        hello_name: "bench.example.com".to_owned(),
        pipelining,
        timeouts: SmtpTimeouts::default(),
        limits: SmtpLimits::default(),
    })?;
    let config = DeliveryConfig {
        lanes: vec![LaneConfig {
            name: "sink".to_owned(),
            weight: 1,
            route: Route::Each {
                transport: Transport::Smtp(transport),
                connections,
            },
            rate_max: None,
            domain_caps: DomainCaps::default(),
            pause: Duration::from_secs(30),
        }],
        lease_duration: Duration::from_mins(2),
        poll_interval: Duration::from_secs(1),
        drain_timeout: Duration::from_secs(5),
        ambiguous: Ambiguous::Retry,
    };
    Ok(Worker::new(mailroom, config))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

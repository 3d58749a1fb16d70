//! Delivery beside what the same relay takes from Postfix's own source: mails a second, claims, memory.
//!
//! Each round queues mails to different people and drains them with the program's worker and templates over a number of
//! connections: claimed from a durable Postgres, written, sent, and settled there, each right after its 250. Beside it,
//! `smtp-source` sends one and the same mail of the same size over as many connections, and settles nothing. "far" is
//! the same relay behind 20 ms of round trip.
//!
//! `BENCH_DATABASE_URL` names a durable Postgres and `BENCH_POSTFIX` a folder with `smtp-sink` and `smtp-source`;
//! `scripts/bench delivery` sees to both.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a benchmark is configured by its environment, times itself and reports to a terminal"
)]

#[path = "../bulk_create/database.rs"]
mod database;
#[path = "../smtp/delay.rs"]
mod delay;
mod queue;
mod sink;

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use invitations::clock::SystemClock;
use invitations::delivery::{
    Ambiguous, DeliveryConfig, DomainCaps, LaneConfig, Mailroom, Route, Worker,
};
use invitations::domain::address_tag::Tagger;
use invitations::domain::keyring::Keyring;
use invitations::domain::link::{LinkMode, LinkTemplate};
use invitations::domain::public_url::PublicUrl;
use invitations::mail::message::{Composer, Sender};
use invitations::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use invitations::mail::transport::Transport;
use invitations::store::{Store, StoreConfig};
use tokio::sync::Notify;

use database::Database;
use queue::Queue;
use sink::{Sink, per_second};

const KEY: &str = "1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const CONNECTIONS: [usize; 3] = [1, 4, 16];
/// Mails of a round, near and far.
const MAILS_NEAR: usize = 10_000;
const MAILS_FAR: usize = 400;
/// About what one of our mails weighs on the wire.
const MAIL_OCTETS: usize = 16_000;
const ROUND_TRIP: Duration = Duration::from_millis(20);
const WAITING: i32 = 1_000_000;
const CANCELED: i32 = 50_000;
const CLAIMS: usize = 1_000;
const CLAIM_MAILS: i64 = 20;
const STORE_CONFIG: StoreConfig = StoreConfig {
    connections_max: 16,
    acquire_timeout: Duration::from_secs(5),
    statement_timeout: Duration::from_secs(30),
    lock_timeout: Duration::from_secs(2),
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server_url = env::var("BENCH_DATABASE_URL")
        .context("BENCH_DATABASE_URL must name a durable Postgres; scripts/bench starts one")?;
    let programs = env::var("BENCH_POSTFIX")
        .context("BENCH_POSTFIX must name a folder with smtp-sink and smtp-source")?;
    let database = Database::create(&server_url).await?;
    println!("{}; load {}", database.describe().await?, load());
    let sink = Sink::start(&PathBuf::from(programs))?;
    let mut queue = Queue::open(database.url()).await?;
    let store = Store::new(database.url(), STORE_CONFIG)?;

    println!("relay  connections  pipelining  mails/s  smtp-source/s  ratio  memory MiB");
    for connections in CONNECTIONS {
        let source = sink.source_rate(connections, MAILS_NEAR, MAIL_OCTETS)?;
        let rate = drain(
            &store,
            &mut queue,
            sink.address(),
            connections,
            true,
            MAILS_NEAR,
        )
        .await?;
        println!(
            "near   {connections:11}  yes         {rate:7.0}  {source:13.0}  {:5.2}  {:10}",
            rate / source,
            memory()
        );
    }
    let far = delay::listen(sink.address(), ROUND_TRIP).await?;
    for connections in CONNECTIONS {
        let lockstep = drain(&store, &mut queue, far, connections, false, MAILS_FAR).await?;
        let rate = drain(&store, &mut queue, far, connections, true, MAILS_FAR).await?;
        println!("far    {connections:11}  no          {lockstep:7.0}");
        println!(
            "far    {connections:11}  yes         {rate:7.0}  {:.2} times lockstep",
            rate / lockstep
        );
    }

    queue.fill_outbox(WAITING, CANCELED).await?;
    let mut times = queue.claims(CLAIMS, CLAIM_MAILS).await?;
    let first = times[0];
    times.sort_unstable();
    println!(
        "claim of {CLAIM_MAILS} with {WAITING} waiting and {CANCELED} canceled before them: p50 {:.2} ms, p99 {:.2} ms, the first {:.2} ms",
        millis(times[CLAIMS / 2]),
        millis(times[CLAIMS * 99 / 100]),
        millis(first)
    );
    println!("load {}", load());
    drop(queue);
    ensure!(
        database.count_invitations().await? == 0,
        "mails were left in the queue"
    );
    store.close().await;
    database.drop().await
}

/// Mails a second from a full queue to an empty one.
async fn drain(
    store: &Store,
    queue: &mut Queue,
    relay: SocketAddr,
    connections: usize,
    pipelining: bool,
    mails: usize,
) -> anyhow::Result<f64> {
    queue.fill(mails).await?;
    let mut worker = worker(store, relay, connections, pipelining)?;
    let started = Instant::now();
    worker.deliver_all().await?;
    let took = started.elapsed();
    let sent = usize::try_from(queue.count("sent").await?)?;
    ensure!(sent == mails, "{sent} of {mails} were sent");
    Ok(per_second(mails, took))
}

fn worker(
    store: &Store,
    relay: SocketAddr,
    connections: usize,
    pipelining: bool,
) -> anyhow::Result<Worker> {
    let keyring = Arc::new(Keyring::parse(KEY)?);
    let links = LinkTemplate::new("https://example.com/join", LinkMode::Fragment)
        .context("the link's base is no URL")?;
    let sender = Sender::parse("Invitations", "invites@example.com", None)?;
    let mailroom = Mailroom {
        store: store.clone(),
        clock: Arc::new(SystemClock),
        tagger: Tagger::new(&keyring),
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
    Ok(Worker::new(mailroom, config, Arc::new(Notify::new())))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// The most memory this process ever had, in MiB, where the system tells.
fn memory() -> String {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some((kib / 1_024).to_string())
        })
        .unwrap_or_else(|| "unknown".to_owned())
}

/// How busy the machine was in the last minute, where it tells.
fn load() -> String {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|line| Some(line.split_whitespace().next()?.to_owned()))
        .unwrap_or_else(|| "unknown".to_owned())
}

//! The composition root: connects all components, starts and stops them in order, and runs the background tasks, each
//! until the process stops. Has no business rule.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::connections::raise_file_limit;
use crate::database_clock::DatabaseClock;
use crate::delivery::{MessageBuilder, Reaper, Worker};
use crate::domain::address_tag::AddressTagger;
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::grpc::GrpcServer;
use crate::http;
use crate::service::{BacklogAlarm, Context, GetBacklog, NotReady, Retention, Service};
use crate::settings::{MigrateArgs, ProcessRole, Settings};
use crate::shutdown::{self, Tasks};
use crate::store::{Listener, Store};

/// Time between two checks at startup whether the database is ready.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time that shutdown may take in addition to the drain delay and the two drain timeouts.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// Time between two looks at the backlog, and so between two warnings that emails are not sent.
const BACKLOG_INTERVAL: Duration = Duration::from_mins(1);
/// Time between two settings of the clock by the clock of the database. Quartz clocks drift by less than a millisecond
/// meanwhile.
const CLOCK_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two folds of new events into the counts of their batches.
const FOLD_INTERVAL: Duration = Duration::from_secs(1);

/// What the tasks of a process share.
struct Components {
    clock: Arc<DatabaseClock>,
    keyring: Arc<Keyring>,
    links: Arc<LinkTemplate>,
    store: Store,
    service: Service,
}

impl Components {
    fn new(settings: &Settings) -> anyhow::Result<Self> {
        let clock = Arc::clone(&settings.clock);
        let keyring = Arc::new(settings.keyring.clone());
        let links = Arc::new(settings.links.clone());
        let url = settings.database_url.expose_secret();
        let store = Store::with_clock(url, settings.store, Arc::clone(&clock))
            .context("cannot use the database URL")?;
        let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let context = Context::new(as_clock, Arc::clone(&keyring), Arc::clone(&links))
            .with_quotas(settings.quotas)
            .with_events_kept(settings.retention.events);
        let service = Service::new(store.clone(), context);
        Ok(Self {
            clock,
            keyring,
            links,
            store,
            service,
        })
    }
}

pub async fn migrate(config: &MigrateArgs) -> anyhow::Result<()> {
    Store::migrate(config.database_url.expose_secret())
        .await
        .context("cannot migrate the database")
}

/// Serves until SIGTERM or SIGINT. A second signal ends the process at once.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    raise_file_limit();
    let stop_timeout = settings.drain_delay
        + settings.grpc.drain_timeout
        + settings.delivery.drain_timeout
        + STOP_MARGIN;
    let stopping = CancellationToken::new();
    let serving = run(settings, stopping.clone());
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        signal = shutdown::requested() => signal?,
    }
    tracing::info!("stopping");
    stopping.cancel();
    tokio::select! {
        ended = &mut serving => ended,
        signal = shutdown::requested() => { signal?; bail!("stopped at once by a second signal") }
        () = tokio::time::sleep(stop_timeout) => bail!("stopping took too long"),
    }
}

/// Starts everything in order, waits for `stopping` and stops everything in order.
async fn run(settings: Settings, stopping: CancellationToken) -> anyhow::Result<()> {
    let components = Components::new(&settings)?;
    let server = bind_grpc(&settings, &components).await?;
    let health = server.health().clone();
    let http = bind_http(&settings, &components, &server).await?;

    // The servers stop before the background tasks, so they have a token of their own.
    let closing = CancellationToken::new();
    let answering = server.run(closing.clone());
    tokio::pin!(answering);
    let tasks = Tasks::default();
    if let Some(http) = http {
        tasks.spawn("http", http.run(closing.clone()));
    }
    tokio::select! {
        () = &mut answering => return ended_early(),
        () = stopping.cancelled() => return Ok(()),
        ready = wait_until_ready(&components) => ready?,
    }

    let watching = health.clone().watch(
        components.service.clone(),
        components.clock.agreement(),
        tasks.stopping().clone(),
    );
    tasks.spawn("health", watching);
    spawn_common(&tasks, &components);
    let (drain_delay, drain_timeout) = (settings.drain_delay, settings.delivery.drain_timeout);
    if settings.role != ProcessRole::Api {
        spawn_worker(&tasks, settings, &components);
    }
    tracing::info!("serving");
    tokio::select! {
        () = &mut answering => return ended_early(),
        () = stopping.cancelled() => {}
    }

    health.drain().await;
    tokio::select! {
        () = &mut answering => return ended_early(),
        () = tokio::time::sleep(drain_delay) => {}
    }
    closing.cancel();
    let ((), is_stopped) = tokio::join!(answering, tasks.stop(drain_timeout + STOP_MARGIN));
    if !is_stopped {
        bail!("the background tasks did not end in time");
    }
    components.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn bind_grpc(settings: &Settings, components: &Components) -> anyhow::Result<GrpcServer> {
    let server = GrpcServer::bind(
        settings.grpc.clone(),
        components.service.clone(),
        settings.callers.clone(),
        components.keyring.clone(),
    )
    .await
    .map_err(|error| anyhow!(error))
    .with_context(|| format!("cannot listen at {}", settings.grpc.listen))?;
    tracing::info!(server.address = %server.local_addr()?, server.role = ?settings.role, "listening");
    Ok(server)
}

/// Binds the HTTP server if the settings have one. Its readiness is that of the gRPC server.
async fn bind_http(
    settings: &Settings,
    components: &Components,
    grpc: &GrpcServer,
) -> anyhow::Result<Option<http::HttpServer>> {
    let Some(config) = settings.http.clone() else {
        return Ok(None);
    };
    let listen = config.listen;
    let server = http::HttpServer::bind(
        config,
        components.service.clone(),
        components.clock.clone(),
        grpc.health().readiness(),
    )
    .await
    .with_context(|| format!("cannot listen for HTTP at {listen}"))?;
    tracing::info!(http.address = %server.local_addr()?, "listening for HTTP");
    Ok(Some(server))
}

/// The gRPC server ended before it was stopped, which is always an error.
fn ended_early() -> anyhow::Result<()> {
    bail!("the gRPC server ended unexpectedly")
}

/// Waits until the database is migrated and commits writes. Refuses keys that do not fit the database.
async fn wait_until_ready(components: &Components) -> anyhow::Result<()> {
    let mut logged = String::new();
    loop {
        let obstacle = match components.service.verify().await {
            Ok(()) => return Ok(()),
            Err(mismatch @ NotReady::Keys(_)) => return Err(mismatch.into()),
            Err(obstacle) => anyhow!(obstacle),
        };
        let obstacle = format!("{obstacle:#}");
        if obstacle != logged {
            tracing::warn!(obstacle, "not ready to serve, waiting");
            logged = obstacle;
        }
        tokio::time::sleep(READY_POLL_INTERVAL).await;
    }
}

/// Spawns what runs in every process. A process that only answers calls also warns if no process delivers emails.
fn spawn_common(tasks: &Tasks, components: &Components) {
    let listener = Listener::new(components.store.clone());
    tasks.spawn("listener", listener.run(tasks.stopping().clone()));
    spawn_loop(tasks, "clock", set_clock(components.store.clone()));
    spawn_loop(tasks, "backlog", watch_backlog(components.service.clone()));
}

/// Spawns delivery and the periodic jobs of the database.
fn spawn_worker(tasks: &Tasks, settings: Settings, components: &Components) {
    let store = &components.store;
    let clock = Arc::clone(&components.clock) as Arc<dyn Clock>;
    let lease_duration = settings.delivery.lease_duration;
    let reaper = Reaper::new(store.clone(), Arc::clone(&clock), lease_duration);
    let builder = MessageBuilder {
        tagger: AddressTagger::new(&components.keyring),
        keyring: Arc::clone(&components.keyring),
        links: Arc::clone(&components.links),
        composer: settings.composer,
        message_id_domain: settings.message_id_domain,
        bounce_mailbox: settings.bounce_mailbox,
        public_url: settings.public_url,
    };
    let worker = Worker::new(store.clone(), clock, builder, settings.delivery);
    tasks.spawn("worker", worker.run(tasks.stopping().clone()));
    tasks.spawn("reaper", reaper.run(tasks.stopping().clone()));
    let service = &components.service;
    spawn_loop(tasks, "folder", fold(service.clone()));
    let sweep = sweep(service.clone(), settings.sweep_interval, settings.retention);
    spawn_loop(tasks, "sweeper", sweep);
}

/// Spawns a task that loops forever. It is cancelled at its next await when the process stops; what it awaits is
/// either a sleep or work that finishes in a task of its own.
fn spawn_loop(tasks: &Tasks, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    let stopping = tasks.stopping().clone();
    tasks.spawn(name, async move {
        stopping.run_until_cancelled(task).await;
    });
}

/// Keeps the clock of the process equal to that of the database. While the database is unavailable, health says so.
async fn set_clock(store: Store) {
    loop {
        tokio::time::sleep(CLOCK_INTERVAL).await;
        if let Err(error) = store.set_clock().await {
            let error: &dyn Error = &error;
            tracing::debug!(error, "cannot read the clock of the database");
        }
    }
}

async fn watch_backlog(service: Service) {
    let mut alarm = BacklogAlarm::default();
    loop {
        tokio::time::sleep(BACKLOG_INTERVAL).await;
        let backlog = service.run(GetBacklog).await;
        let updated = backlog.map(|backlog| alarm.update(&backlog));
        warn_if_failed("count the backlog", updated);
    }
}

async fn fold(service: Service) {
    loop {
        warn_if_failed("fold events", service.fold().await);
        tokio::time::sleep(FOLD_INTERVAL).await;
    }
}

/// Expires invitations, queues reminders and deletes what has passed its retention.
async fn sweep(service: Service, interval: Duration, retention: Retention) {
    loop {
        warn_if_failed("expire invitations", service.sweep().await);
        warn_if_failed("queue reminders", service.remind().await);
        warn_if_failed("delete old rows", service.purge(&retention).await);
        tokio::time::sleep(interval).await;
    }
}

fn warn_if_failed<T>(what: &str, result: Result<T, impl Error + 'static>) {
    if let Err(error) = result {
        tracing::warn!(error = &error as &dyn Error, "cannot {what}");
    }
}

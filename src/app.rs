//! The composition root: the only file that knows every component. It knows no business rule.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, SystemClock};
use crate::delivery::{Mailroom, Reaper, Worker};
use crate::domain::address_tag::AddressTagger;
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::grpc::{Health, Server};
use crate::http;
use crate::service::{BacklogAlarm, CheckKeys, Context, GetBacklog, Retention, Service};
use crate::settings::Settings;
use crate::settings::arguments::{MigrateConfig, Role};
use crate::shutdown::{self, Tasks};
use crate::store::{Listener, Store};

/// How often to ask whether the database is there and migrated, at start.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Longest time from the first signal to the end of the process, beside the announced delay.
const STOP_MARGIN: Duration = Duration::from_secs(5);
/// How often to look whether mails get out, and so how often the log is told that they do not.
const BACKLOG_INTERVAL: Duration = Duration::from_mins(1);
/// How often events are folded into counts: what comes meanwhile is read by whoever counts.
const FOLD_INTERVAL: Duration = Duration::from_secs(1);

/// Brings the schema up to date.
pub async fn migrate(config: &MigrateConfig) -> anyhow::Result<()> {
    Store::migrate(config.database_url.expose_secret())
        .await
        .context("cannot migrate the database")
}

/// Serves until SIGTERM or SIGINT; a second one ends the process at once.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
    let most = settings.drain_delay
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
        () = tokio::time::sleep(most) => bail!("stopping took too long"),
    }
}

/// Everything between start and stop, in order.
async fn run(settings: Settings, stopping: CancellationToken) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let keyring = Arc::new(settings.keyring.clone());
    let links = Arc::new(settings.links.clone());
    let store = Store::new(settings.database_url(), settings.store)
        .context("cannot use the database URL")?;
    let context = Context::new(Arc::clone(&clock), Arc::clone(&keyring), Arc::clone(&links))
        .with_quotas(settings.quotas)
        .with_events_kept(settings.retention.events);
    let service = Service::new(store.clone(), context);
    let server = listen(&settings, &service, &keyring).await?;
    let health = server.health().clone();
    let http = listen_http(&settings, &service, &clock, &health).await?;

    // Calls and background work end one after the other, so each has its own signal.
    let closing = CancellationToken::new();
    let answering = server.run(closing.clone());
    tokio::pin!(answering);
    let tasks = Tasks::new();
    if let Some(http) = http {
        tasks.spawn("http", http.run(closing.clone()));
    }
    let ready = wait_until_ready(&store, &service);
    tokio::select! {
        ended = &mut answering => return by_itself(ended),
        () = stopping.cancelled() => return Ok(()),
        ready = ready => ready?,
    }

    tasks.spawn(
        "health",
        health
            .clone()
            .watch(service.clone(), tasks.stopping().clone()),
    );
    // In every process: one that only answers calls notices too that nobody delivers.
    tasks.spawn(
        "backlog",
        watch_backlog(service.clone(), tasks.stopping().clone()),
    );
    tasks.spawn(
        "listener",
        Listener::new(store.clone()).run(tasks.stopping().clone()),
    );
    let (drain_delay, drain_timeout) = (settings.drain_delay, settings.delivery.drain_timeout);
    if settings.role != Role::Api {
        spawn_background(&tasks, settings, &store, &service, &clock, &keyring, &links);
    }
    tracing::info!("serving");
    tokio::select! {
        ended = &mut answering => return by_itself(ended),
        () = stopping.cancelled() => {}
    }

    health.drain().await;
    tokio::select! {
        ended = &mut answering => return by_itself(ended),
        () = tokio::time::sleep(drain_delay) => {}
    }
    closing.cancel();
    let (answered, is_stopped) = tokio::join!(answering, tasks.stop(drain_timeout + STOP_MARGIN));
    answered?;
    if !is_stopped {
        bail!("background work did not end in time");
    }
    store.close().await;
    tracing::info!("stopped");
    Ok(())
}

async fn listen(
    settings: &Settings,
    service: &Service,
    keyring: &Arc<Keyring>,
) -> anyhow::Result<Server> {
    let callers = settings.callers.clone();
    let server = Server::bind(
        settings.grpc.clone(),
        service.clone(),
        callers,
        Arc::clone(keyring),
    )
    .await
    .map_err(|error| anyhow!(error))
    .with_context(|| format!("cannot listen at {}", settings.grpc.listen))?;
    tracing::info!(server.address = %server.local_addr()?, server.role = ?settings.role, "listening");
    Ok(server)
}

/// Listens for HTTP, where the settings say so. Whether it serves follows from gRPC health.
async fn listen_http(
    settings: &Settings,
    service: &Service,
    clock: &Arc<dyn Clock>,
    health: &Health,
) -> anyhow::Result<Option<http::Server>> {
    let Some(config) = settings.http.clone() else {
        return Ok(None);
    };
    let listen = config.listen;
    let readiness = health.readiness();
    let server = http::Server::bind(config, service.clone(), Arc::clone(clock), readiness)
        .await
        .with_context(|| format!("cannot listen for HTTP at {listen}"))?;
    tracing::info!(http.address = %server.local_addr()?, "listening for HTTP");
    Ok(Some(server))
}

/// The server ends when it is told to; anything else is a fault.
fn by_itself(ended: Result<(), tonic::transport::Error>) -> anyhow::Result<()> {
    ended?;
    bail!("the server ended by itself")
}

/// Waits for the database and its schema, and refuses keys that do not fit it.
async fn wait_until_ready(store: &Store, service: &Service) -> anyhow::Result<()> {
    let mut told = String::new();
    loop {
        let obstacle = match store.is_migrated().await {
            Ok(true) => break,
            Ok(false) => anyhow!("the database is not migrated; run `invitations migrate`"),
            Err(error) => anyhow!(error),
        };
        let obstacle = format!("{obstacle:#}");
        if obstacle != told {
            tracing::warn!(obstacle, "not ready to serve, waiting");
            told = obstacle;
        }
        tokio::time::sleep(READY_POLL_INTERVAL).await;
    }
    service
        .run(CheckKeys)
        .await
        .context("cannot check the keys")??;
    Ok(())
}

fn spawn_background(
    tasks: &Tasks,
    settings: Settings,
    store: &Store,
    service: &Service,
    clock: &Arc<dyn Clock>,
    keyring: &Arc<Keyring>,
    links: &Arc<LinkTemplate>,
) {
    let mailroom = Mailroom {
        tagger: AddressTagger::new(keyring),
        store: store.clone(),
        clock: Arc::clone(clock),
        keyring: Arc::clone(keyring),
        links: Arc::clone(links),
        composer: settings.composer,
        message_id_domain: settings.message_id_domain,
        bounce_mailbox: settings.bounce_mailbox,
        public_url: settings.public_url,
    };
    let lease_duration = settings.delivery.lease_duration;
    let worker = Worker::new(mailroom, settings.delivery);
    tasks.spawn("worker", worker.run(tasks.stopping().clone()));
    tasks.spawn(
        "reaper",
        Reaper::new(store.clone(), Arc::clone(clock), lease_duration).run(tasks.stopping().clone()),
    );
    tasks.spawn("folder", fold(service.clone(), tasks.stopping().clone()));
    tasks.spawn(
        "sweeper",
        sweep(
            service.clone(),
            settings.sweep_interval,
            settings.retention,
            tasks.stopping().clone(),
        ),
    );
}

/// Looks at the backlog until told to stop.
async fn watch_backlog(service: Service, stopping: CancellationToken) {
    let mut alarm = BacklogAlarm::default();
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(BACKLOG_INTERVAL) => {}
        }
        match service.run(GetBacklog).await {
            Ok(backlog) => alarm.update(&backlog),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot look at the backlog"
            ),
        }
    }
}

/// Folds events until told to stop.
async fn fold(service: Service, stopping: CancellationToken) {
    loop {
        tokio::select! {
            () = stopping.cancelled() => return,
            folded = service.fold() => if let Err(error) = folded {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot fold events");
            },
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(FOLD_INTERVAL) => {}
        }
    }
}

/// Sweeps until told to stop, reminds those whose invitation is about to be swept, and forgets what was kept for long
/// enough.
async fn sweep(
    service: Service,
    interval: Duration,
    retention: Retention,
    stopping: CancellationToken,
) {
    loop {
        // A sweep that is left alone ends its current batch and no more.
        tokio::select! {
            () = stopping.cancelled() => return,
            swept = service.sweep() => if let Err(error) = swept {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot sweep");
            },
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            reminded = service.remind() => if let Err(error) = reminded {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot queue reminders");
            },
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            purged = service.purge(&retention) => if let Err(error) = purged {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot purge");
            },
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

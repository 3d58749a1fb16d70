//! The composition root: connects all components, starts them in order and stops them in order. Has no business rule.

mod background;
mod components;

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::grpc::GrpcServer;
use crate::http;
use crate::service::CheckKeys;
use crate::settings::{MigrateArgs, ProcessRole, Settings};
use crate::shutdown::{self, Tasks};
use crate::store::Store;

use self::components::Components;

/// Time between two checks at startup whether the database can be reached and is migrated.
const READY_POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Time that shutdown may take in addition to the drain delay and the two drain timeouts.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Brings the schema up to date.
pub async fn migrate(config: &MigrateArgs) -> anyhow::Result<()> {
    Store::migrate(config.database_url.expose_secret())
        .await
        .context("cannot migrate the database")
}

/// Serves until SIGTERM or SIGINT. A second signal ends the process at once.
pub async fn serve(settings: Settings) -> anyhow::Result<()> {
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
    let tasks = Tasks::new();
    if let Some(http) = http {
        tasks.spawn("http", http.run(closing.clone()));
    }
    tokio::select! {
        ended = &mut answering => return ended_early(ended),
        () = stopping.cancelled() => return Ok(()),
        ready = wait_until_ready(&components) => ready?,
    }

    let watching = health
        .clone()
        .watch(components.service.clone(), tasks.stopping().clone());
    tasks.spawn("health", watching);
    background::spawn_common(&tasks, &components);
    let (drain_delay, drain_timeout) = (settings.drain_delay, settings.delivery.drain_timeout);
    if settings.role != ProcessRole::Api {
        background::spawn_worker(&tasks, settings, &components);
    }
    tracing::info!("serving");
    tokio::select! {
        ended = &mut answering => return ended_early(ended),
        () = stopping.cancelled() => {}
    }

    health.drain().await;
    tokio::select! {
        ended = &mut answering => return ended_early(ended),
        () = tokio::time::sleep(drain_delay) => {}
    }
    closing.cancel();
    let (answered, is_stopped) = tokio::join!(answering, tasks.stop(drain_timeout + STOP_MARGIN));
    answered?;
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

/// The gRPC server ended before it was told to, which is always an error.
fn ended_early(ended: Result<(), tonic::transport::Error>) -> anyhow::Result<()> {
    ended?;
    bail!("the gRPC server ended unexpectedly")
}

/// Waits until the database can be reached and is migrated, then refuses keys that do not fit the database.
async fn wait_until_ready(components: &Components) -> anyhow::Result<()> {
    let mut logged = String::new();
    loop {
        let obstacle = match components.store.is_migrated().await {
            Ok(true) => break,
            Ok(false) => anyhow!("the database is not migrated; run `invitations migrate`"),
            Err(error) => anyhow!(error),
        };
        let obstacle = format!("{obstacle:#}");
        if obstacle != logged {
            tracing::warn!(obstacle, "not ready to serve, waiting");
            logged = obstacle;
        }
        tokio::time::sleep(READY_POLL_INTERVAL).await;
    }
    components
        .service
        .run(CheckKeys)
        .await
        .context("cannot check the keys")??;
    Ok(())
}

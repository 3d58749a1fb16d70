//! The listener exchanges notifications with other processes by LISTEN and NOTIFY, over a connection of its own.
//!
//! NOTIFY takes a lock on the whole database until its transaction ends, so it is never part of a transaction that does
//! anything else (ADR 25). A notification says that there is something to read, and not what. When notifications are
//! lost, a poll for new events, one for the whole process, takes their place.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures::FutureExt as _;
use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgListener, PgNotification, PgPoolOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::database::Store;
use super::error::Result;
use super::invitation_events::changed_organizations;
use super::pending_notifications::PendingNotifications;
use crate::entropy;

/// Distinguishes this connection from those of the pool in `pg_stat_activity`.
const APPLICATION_NAME: &str = "invitations-listener";
/// The channel for events. The payload is an organization id, or empty for all organizations.
const EVENTS_CHANNEL: &str = "invitations_events";
/// The channel for queued mail. The payload is empty.
const MAIL_CHANNEL: &str = "invitations_mail";
/// Shortest time between two publications. Commits in between are published together.
const PUBLISH_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// How long the connection may be silent before the listener checks that the server still answers.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long the server may take to answer anything.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before the listener reconnects. It doubles up to [`RECONNECT_PAUSE_MAX`].
const RECONNECT_PAUSE: Duration = Duration::from_millis(100);
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(10);
/// A connection that lasted this long resets the pause.
const STABLE_AFTER: Duration = Duration::from_secs(30);
/// Largest random part by which waits are shortened, so that replicas do not act in step.
const JITTER: f64 = 0.2;
const POLL_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Listener {
    store: Store,
    pub poll_interval: Duration,
}

impl Listener {
    /// A listener that publishes what is committed through `store`.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            poll_interval: POLL_INTERVAL,
        }
    }

    /// Publishes and receives notifications until `stopping` is cancelled.
    pub async fn run(self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = async { tokio::join!(self.stay_connected(), self.poll_events()); } => {}
        }
    }

    async fn stay_connected(&self) {
        let mut pause = RECONNECT_PAUSE;
        loop {
            let begin = Instant::now();
            // The exchange ends with an error only.
            if let Err(error) = self.exchange().await {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "the connection for notifications failed; until it is back, new events are found by polling"
                );
            }
            if begin.elapsed() >= STABLE_AFTER {
                pause = RECONNECT_PAUSE;
            }
            tokio::time::sleep(entropy::jittered(pause, JITTER)).await;
            pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
        }
    }

    async fn exchange(&self) -> Result<(), sqlx::Error> {
        let (mut listener, pid) = in_time(self.connect()).await?;
        // Notifications before the connection was made are lost.
        let mut missed = PendingNotifications::default();
        missed.add_mail_of_any_organization();
        self.store.notifier().wake(&missed);
        let mut published_at = Instant::now() - PUBLISH_INTERVAL_MIN;
        loop {
            let is_due = async {
                self.store.notifier().has_outgoing().await;
                tokio::time::sleep_until(published_at + PUBLISH_INTERVAL_MIN).await;
            };
            tokio::select! {
                received = listener.try_recv() => match received? {
                    Some(notification) => self.receive(&notification, pid),
                    None => return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
                },
                () = is_due => {
                    let notifications = self.store.notifier().take_outgoing();
                    in_time(publish(&mut listener, notifications)).await?;
                    published_at = Instant::now();
                }
                () = tokio::time::sleep(SILENCE_MAX) => {
                    in_time(listener.execute("-- store::listener::exchange\nSELECT")).await?;
                }
            }
            while let Some(notification) = listener.next_buffered() {
                self.receive(&notification, pid);
            }
        }
    }

    /// Connects and listens. Returns the connection and its process id on the server.
    async fn connect(&self) -> Result<(PgListener, u32), sqlx::Error> {
        let options = self.store.pool.connections.connect_options();
        let options = PgConnectOptions::clone(&options)
            .application_name(APPLICATION_NAME)
            // A notification may be lost, so its commit need not wait for the disk while it holds the lock.
            .options([("synchronous_commit", "off")]);
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .acquire_timeout(ANSWER_TIMEOUT)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&pool).await?;
        listener.eager_reconnect(false);
        let pid: i32 = sqlx::query_scalar("-- store::listener::connect\nSELECT pg_backend_pid()")
            .fetch_one(&mut listener)
            .await?;
        listener.listen_all([EVENTS_CHANNEL, MAIL_CHANNEL]).await?;
        Ok((listener, pid.unsigned_abs()))
    }

    fn receive(&self, notification: &PgNotification, own_pid: u32) {
        // The commit woke this process already.
        if notification.process_id() == own_pid {
            return;
        }
        let mut notifications = PendingNotifications::default();
        match (notification.channel(), notification.payload()) {
            (MAIL_CHANNEL, _) => notifications.mail_queued = true,
            (_, "") => notifications.all_organizations = true,
            (_, organization_id) => notifications.add_events(organization_id),
        }
        self.store.notifier().wake(&notifications);
    }

    /// Polls for new events while there are watchers.
    async fn poll_events(&self) {
        let mut from = None;
        loop {
            tokio::time::sleep(entropy::jittered(self.poll_interval, JITTER)).await;
            if !self.store.notifier().has_watchers() {
                from = None;
                continue;
            }
            match self.poll_once(from).boxed().await {
                Ok(horizon) => from = Some(horizon),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "polling for events failed");
                }
            }
        }
    }

    /// Wakes the watchers of every organization that has events of transaction `from` or later ones. Returns the
    /// transaction to poll from next time.
    async fn poll_once(&self, from: Option<i64>) -> Result<i64> {
        let changed = self
            .store
            .run("invitation_events.poll", move |connection| {
                Box::pin(changed_organizations(connection, from))
            })
            .await?;
        self.store.notifier().wake(&PendingNotifications {
            // Before the first poll, events of any organization may have been missed.
            all_organizations: changed.is_truncated || from.is_none(),
            organization_ids: changed.organization_ids.into_iter().collect(),
            mail_queued: false,
        });
        Ok(changed.horizon)
    }
}

async fn publish(
    listener: &mut PgListener,
    notifications: PendingNotifications,
) -> Result<(), sqlx::Error> {
    let mut outgoing: Vec<(&str, String)> = Vec::new();
    if notifications.all_organizations {
        outgoing.push((EVENTS_CHANNEL, String::new()));
    }
    let organization_ids = notifications.organization_ids.into_iter();
    outgoing.extend(organization_ids.map(|id| (EVENTS_CHANNEL, id)));
    if notifications.mail_queued {
        outgoing.push((MAIL_CHANNEL, String::new()));
    }
    let (channels, payloads): (Vec<&str>, Vec<String>) = outgoing.into_iter().unzip();
    sqlx::query(
        "-- store::listener::publish
        SELECT pg_notify(channel, payload) FROM UNNEST($1::text[], $2::text[]) AS t (channel, payload)",
    )
    .bind(channels)
    .bind(payloads)
    .execute(listener)
    .await?;
    Ok(())
}

async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let outcome = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
    outcome.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

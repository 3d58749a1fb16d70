//! The listener: tells other processes what was committed here, and hears from them, over one connection of its own.
//!
//! NOTIFY takes a lock over the whole database until its transaction ends, so it is never part of a transaction that does
//! anything else; ADR 25 says more. What is told says that there is something to look at, and never what. Where nothing is
//! heard, a look at all events that are new stands in, once for the whole process.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures::FutureExt as _;
use sqlx::Executor as _;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::commit_notifier::CommitNotifier;
use super::pending_notifications::PendingNotifications;
use super::{Store, StoreError, invitation_events};
use crate::entropy;

/// What the connection calls itself, so that an operator can tell it from those of the pool.
const APPLICATION_NAME: &str = "invitations-listener";
/// The channel of events; the payload is an organization, or nothing for all of them.
const EVENTS: &str = "invitations_events";
/// The channel of mail that was queued.
const MAIL: &str = "invitations_mail";
/// Shortest time from one telling to the next: what is committed meanwhile is told together.
const TELL_PAUSE: Duration = Duration::from_millis(20);
/// How long the connection may be silent before it is asked for a sign of life.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long the server may take to answer anything.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before the connection is made anew; it doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// See [`RETRY_PAUSE`].
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a connection must last for the next one to be made at once again.
const STEADY: Duration = Duration::from_secs(30);
/// How far chance shortens waits, so that replicas do not do the same in step.
const JITTER: f64 = 0.2;
/// How often to look for events that nobody told of.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Tells and hears.
#[derive(Debug, Clone)]
pub struct Listener {
    store: Store,
    notifier: CommitNotifier,
    look_interval: Duration,
}

impl Listener {
    /// A listener for the units of work of a store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self {
            notifier: store.notifier().clone(),
            store,
            look_interval: LOOK_INTERVAL,
        }
    }

    /// The same with another time between looks.
    #[must_use]
    pub fn with_look_interval(self, look_interval: Duration) -> Self {
        Self {
            look_interval,
            ..self
        }
    }

    /// Tells and hears until told to stop.
    pub async fn run(self, stopping: CancellationToken) {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = async { tokio::join!(self.stay_connected(), self.look_again()); } => {}
        }
    }

    /// Makes the connection anew whenever it ends.
    async fn stay_connected(&self) {
        let mut pause = RETRY_PAUSE;
        loop {
            let begin = Instant::now();
            // It ends by an error alone.
            if let Err(error) = self.converse().await {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "other processes cannot be told or heard for now; what is new is looked for instead"
                );
            }
            if begin.elapsed() >= STEADY {
                pause = RETRY_PAUSE;
            }
            tokio::time::sleep(entropy::jittered(pause, JITTER)).await;
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }

    async fn converse(&self) -> Result<(), sqlx::Error> {
        let (mut listener, pid) = in_time(self.connect()).await?;
        // What was told before was not heard.
        self.hear_everything();
        let mut told_at = Instant::now() - TELL_PAUSE;
        loop {
            let due = async {
                self.notifier.has_outgoing().await;
                tokio::time::sleep_until(told_at + TELL_PAUSE).await;
            };
            tokio::select! {
                heard = listener.try_recv() => match heard? {
                    Some(heard) => self.hear(&heard, pid),
                    None => return Err(io::Error::from(io::ErrorKind::ConnectionAborted).into()),
                },
                () = due => {
                    let notifications = self.notifier.take_outgoing();
                    in_time(tell(&mut listener, notifications)).await?;
                    told_at = Instant::now();
                }
                () = tokio::time::sleep(SILENCE_MAX) => {
                    in_time(listener.execute("-- store::listener::converse\nSELECT")).await?;
                }
            }
            while let Some(heard) = listener.next_buffered() {
                self.hear(&heard, pid);
            }
        }
    }

    async fn connect(&self) -> Result<(PgListener, u32), sqlx::Error> {
        let options = self.store.connect_options();
        let options = options
            .application_name(APPLICATION_NAME)
            // What is told may be lost, so nobody has to wait for a disk while the lock is held.
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
        listener.listen_all([EVENTS, MAIL]).await?;
        Ok((listener, pid.unsigned_abs()))
    }

    fn hear(&self, heard: &PgNotification, own_pid: u32) {
        // What this process told it knows.
        if heard.process_id() == own_pid {
            return;
        }
        let mut notifications = PendingNotifications::default();
        if heard.channel() == MAIL {
            notifications.mail_queued = true;
        } else if heard.payload().is_empty() {
            notifications.all_organizations = true;
        } else {
            notifications.add_events(heard.payload());
        }
        self.notifier.wake(&notifications);
    }

    fn hear_everything(&self) {
        let mut notifications = PendingNotifications::default();
        notifications.add_mail_of_any_organization();
        self.notifier.wake(&notifications);
    }

    /// Looks for events that nobody told of, as long as somebody waits for any.
    async fn look_again(&self) {
        let mut from = None;
        loop {
            tokio::time::sleep(entropy::jittered(self.look_interval, JITTER)).await;
            if !self.notifier.has_watchers() {
                from = None;
                continue;
            }
            let looked = self.look(from).boxed().await;
            match looked {
                Ok(horizon) => from = Some(horizon),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn Error, "cannot look for events");
                }
            }
        }
    }

    /// Rings for every organization that has events of this transaction or later ones; returns from where to look next
    /// time.
    async fn look(&self, from: Option<i64>) -> Result<i64, StoreError> {
        let news = self
            .store
            .run("invitation_events.news", move |connection| {
                Box::pin(async move { invitation_events::news(connection, from).await })
            })
            .await?;
        self.notifier.wake(&PendingNotifications {
            // Before the first look, nothing is known about what was missed.
            all_organizations: news.is_cut || from.is_none(),
            organization_ids: news.organization_ids.into_iter().collect(),
            mail_queued: false,
        });
        Ok(news.horizon)
    }
}

/// Tells other processes, in a transaction that does nothing else.
async fn tell(
    listener: &mut PgListener,
    notifications: PendingNotifications,
) -> Result<(), sqlx::Error> {
    let mut told: Vec<(&str, String)> = Vec::new();
    if notifications.all_organizations {
        told.push((EVENTS, String::new()));
    }
    told.extend(
        notifications
            .organization_ids
            .into_iter()
            .map(|id| (EVENTS, id)),
    );
    if notifications.mail_queued {
        told.push((MAIL, String::new()));
    }
    let (channels, payloads): (Vec<&str>, Vec<String>) = told.into_iter().unzip();
    sqlx::query(
        "-- store::listener::tell
        SELECT pg_notify(channel, payload) FROM UNNEST($1::text[], $2::text[]) AS t (channel, payload)",
    )
    .bind(channels)
    .bind(payloads)
    .execute(listener)
    .await?;
    Ok(())
}

/// Ends what waits for a network that says nothing.
async fn in_time<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let outcome = tokio::time::timeout(ANSWER_TIMEOUT, work).await;
    outcome.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
}

//! The connection pool: when a connection may be reused, how long it may be silent, and when it is closed.
//!
//! The driver leaves three cases open, which are handled here:
//!
//! * A connection that was left inside a transaction, which would swallow the next writes, is never reused.
//! * A network that drops every packet ends nothing by itself. So waiting for an answer has a timeout on this side too.
//! * A connection in doubt is closed, and nothing waits for that.
//! * A URL may have several servers. When the one in use fails, the pool looks for the one that accepts writes.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};
use tokio::time::Instant;

use super::database_servers::{DatabaseServers, Timeline, address};
use super::database_time;
use super::error::{Result, StoreError, Transient};
use crate::database_clock::DatabaseClock;
use crate::shutdown;

/// How much longer than the service waits for a statement the server may run it. The server ends statements that nothing
/// waits for any more. It must not end them earlier: it would answer that a commit succeeded whose standby is silent.
pub(super) const SERVER_MARGIN: Duration = Duration::from_secs(2);
/// The pause between two searches for the primary.
const SEARCH_PAUSE: Duration = Duration::from_secs(1);
/// How long a connection may be idle before it is checked when it is reused.
const UNCHECKED_IDLE_MAX: Duration = Duration::from_secs(1);
/// How long returning a connection to the pool may take: two round trips, which end an open transaction.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    pub connections_max: u32,
    /// How long a call waits for a connection before it fails because the service is overloaded.
    pub acquire_timeout: Duration,
    /// How long the service waits for the answer to a statement or a commit.
    pub statement_timeout: Duration,
    pub lock_timeout: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub(super) connections: PgPool,
    /// How long the server may send nothing.
    silence_max: Duration,
    servers: DatabaseServers,
    switched: Arc<Switch>,
}

/// When the pool began to use another server, the timeline of the server, and whether the pool looks for one.
#[derive(Debug, Default)]
struct Switch {
    last: Mutex<Option<Instant>>,
    timeline: Mutex<Option<Timeline>>,
    is_searching: AtomicBool,
}

impl Switch {
    /// Whether a connection of this age leads to the server that was used before.
    fn is_outdated(&self, age: Duration) -> bool {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| age >= last.elapsed())
    }

    fn timeline(&self) -> MutexGuard<'_, Option<Timeline>> {
        self.timeline.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection for one unit of work. It is closed when it is dropped before it was returned to the pool.
struct PooledConnection(Option<PoolConnection<Postgres>>);

impl Pool {
    pub(super) fn new(
        servers: DatabaseServers,
        config: StoreConfig,
        clock: Arc<DatabaseClock>,
    ) -> Self {
        let switched = Arc::<Switch>::default();
        let switch = Arc::clone(&switched);
        let connections = PgPoolOptions::new()
            .max_connections(config.connections_max)
            .acquire_timeout(config.acquire_timeout)
            // The server may be another one than before, with another clock.
            .after_connect(move |connection, _| {
                let clock = Arc::clone(&clock);
                Box::pin(async move { database_time::set(connection, &clock).await })
            })
            // Checked when it is returned, so that no unit of work waits for the check.
            .after_release(|connection, _| Box::pin(is_idle(connection)))
            .test_before_acquire(false)
            .before_acquire(move |connection, metadata| {
                let is_outdated = switch.is_outdated(metadata.age);
                Box::pin(async move {
                    let is_fresh = metadata.idle_for < UNCHECKED_IDLE_MAX;
                    Ok(!is_outdated && (is_fresh || is_idle(connection).await?))
                })
            })
            .connect_lazy_with(servers.first().clone());
        Self {
            connections,
            silence_max: config.statement_timeout,
            servers,
            switched,
        }
    }

    /// Finds the server that accepts writes, which is the one in use as long as that accepts them. New connections lead
    /// to it from now on.
    pub(super) async fn find_primary(&self) -> Result<PgConnectOptions> {
        let current = self.connections.connect_options();
        let last = *self.switched.timeline();
        let found = self.servers.find_primary_again(&current, last).await?;
        let (primary, timeline) = found;
        if timeline.is_some() {
            *self.switched.timeline() = timeline;
        }
        if address(&primary) != address(&self.connections.connect_options()) {
            tracing::warn!(
                database.host = primary.get_host(),
                database.port = primary.get_port(),
                "the primary is another server of the database URL now"
            );
            self.connections.set_connect_options(primary.clone());
            let mut last = self
                .switched
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *last = Some(Instant::now());
        }
        Ok(primary)
    }

    /// Looks for the primary in the background, because the server in use failed. A full pool looks like that too: the
    /// driver retries refused connections until the same timeout. The search then finds the server in use.
    fn search_primary(&self) {
        if self.servers.is_single() || self.switched.is_searching.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = self.clone();
        shutdown::background("search_primary", async move {
            while pool.find_primary().await.is_err() && !pool.connections.is_closed() {
                tokio::time::sleep(SEARCH_PAUSE).await;
            }
            // Another search soon would find the same server.
            tokio::time::sleep(SEARCH_PAUSE).await;
            pool.switched.is_searching.store(false, Ordering::Release);
        });
    }

    /// Runs a unit of work, on a connection that is not inside a transaction, until it ends or the server is silent for
    /// too long. The connection returns to the pool, unless it may be broken.
    pub(super) async fn run<T, E>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<StoreError> + Transient,
    {
        let outcome = self.run_once(work).await;
        if matches!(&outcome, Err(error) if error.invalidates_connection()) {
            self.search_primary();
        }
        outcome
    }

    async fn run_once<T, E>(
        &self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<StoreError> + Transient,
    {
        let connection = self.connections.acquire().await;
        let mut pooled = PooledConnection(Some(connection.map_err(StoreError::from)?));
        let driver = pooled.0.as_deref_mut().expect("not returned yet");
        match unless_silent(self.silence_max, work(driver)).await {
            Some(Err(error)) if error.invalidates_connection() => Err(error),
            Some(outcome) => {
                // The driver rolls back an open transaction on the way. The caller does not wait for that.
                if let Some(mut connection) = pooled.0.take() {
                    let returning = connection.return_to_pool();
                    // A connection that is not returned in time is dropped, which closes it.
                    shutdown::background("return", async move {
                        let _ = tokio::time::timeout(RETURN_TIMEOUT, returning).await;
                    });
                }
                outcome
            }
            None => Err(StoreError::timed_out().into()),
        }
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        // Closes the socket without the protocol's Terminate message, which would wait for the network.
        drop(self.0.take().map(PoolConnection::detach));
    }
}

/// Waits for work that waits for nothing but the network. Returns `None` when the work was not woken for `silence_max`.
/// Each wake-up restarts the timeout, so a slow network does not run into it.
async fn unless_silent<T>(silence_max: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut timeout = pin!(tokio::time::sleep(silence_max));
    poll_fn(|context| {
        let is_silent = timeout.as_mut().poll(context).is_ready();
        if let Poll::Ready(output) = work.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if is_silent {
            return Poll::Ready(None);
        }
        timeout.as_mut().reset(Instant::now() + silence_max);
        // Polled again to register the waker for the new deadline.
        timeout.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// Whether a connection is alive and not inside a transaction. The pool closes it if not.
///
/// The driver does not tell whether the server is inside a transaction, but fails to begin one if the statement that
/// should begin it did not. So this function begins one with such a statement.
async fn is_idle(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let begin = connection.begin_with("-- store::pool::is_idle\nSELECT");
    match begin.await {
        Err(sqlx::Error::BeginFailed) => Ok(true),
        Ok(_) => {
            tracing::warn!("a connection was left inside a transaction and is closed");
            Ok(false)
        }
        // A failed transaction answers every statement with an error.
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn slow_work_completes_and_silent_work_times_out() {
        let silence_max = Duration::from_secs(7);
        let slow = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(6)).await;
            }
        };
        assert_eq!(unless_silent(silence_max, slow).await, Some(()));
        let silent = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            std::future::pending::<()>().await;
        };
        let begin = Instant::now();
        assert_eq!(unless_silent(silence_max, silent).await, None);
        assert_eq!(begin.elapsed(), Duration::from_secs(13));
    }
}

//! The connection pool: when a connection may be reused, how long it may be silent, and when it is closed.
//!
//! The driver leaves three cases open, which are handled here:
//!
//! * A connection that was left inside a transaction would swallow the writes of the next unit of work. It is never
//!   reused.
//! * A network that drops every packet ends nothing by itself. So waiting for an answer has a timeout on this side too.
//! * A connection in doubt is closed, and nothing waits for that. A pool whose connections all wait for a dead network
//!   is useless.

use std::future::poll_fn;
use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, PgPool, Postgres};
use tokio::time::Instant;

use super::error::{StoreError, Transient};
use crate::shutdown;

/// How long after the statement timeout an answer may still arrive. The server ends a statement by itself, so a longer
/// silence means that the server or the network is gone.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);
/// How long a connection may be idle before it is checked when it is reused. If the server went away in a shorter time,
/// the next statement finds out.
const UNCHECKED_IDLE_MAX: Duration = Duration::from_secs(1);
/// How long returning a connection to the pool may take: two round trips, which end an open transaction.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long connecting outside the pool may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How the store connects to the database.
#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    pub connections_max: u32,
    /// How long a call waits for a connection before it fails because the service is overloaded.
    pub acquire_timeout: Duration,
    /// How long one statement may run.
    pub statement_timeout: Duration,
    /// How long one statement waits for a lock.
    pub lock_timeout: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Pool {
    connections: PgPool,
    silence_max: Duration,
}

/// A connection for one unit of work. It is closed when it is dropped without [`PooledConnection::run`].
#[derive(Debug)]
pub(super) struct PooledConnection {
    connection: Option<PoolConnection<Postgres>>,
    /// How long the server may send nothing.
    silence_max: Duration,
}

impl Pool {
    /// A pool that connects when a connection is first needed.
    pub(super) fn new(options: PgConnectOptions, config: StoreConfig) -> Self {
        let connections = PgPoolOptions::new()
            .max_connections(config.connections_max)
            .acquire_timeout(config.acquire_timeout)
            // Checked when it is returned, so that no unit of work waits for the check.
            .after_release(|connection, _| Box::pin(is_idle(connection)))
            .test_before_acquire(false)
            .before_acquire(|connection, metadata| {
                Box::pin(async move {
                    Ok(metadata.idle_for < UNCHECKED_IDLE_MAX || is_idle(connection).await?)
                })
            })
            .connect_lazy_with(options);
        Self {
            connections,
            silence_max: config.statement_timeout + ANSWER_MARGIN,
        }
    }

    /// Acquires a connection that is not inside a transaction.
    pub(super) async fn acquire(&self) -> Result<PooledConnection, StoreError> {
        let connection = self.connections.acquire().await?;
        Ok(PooledConnection {
            connection: Some(connection),
            silence_max: self.silence_max,
        })
    }

    /// Makes a connection outside the pool. Unlike [`Pool::acquire`], it returns the reason why it cannot connect.
    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        let connecting = PgConnection::connect_with(&self.connections.connect_options()).await;
        Ok(connecting?)
    }

    pub(super) fn connect_options(&self) -> PgConnectOptions {
        (*self.connections.connect_options()).clone()
    }

    /// Closes every connection. Waits for those that are in use.
    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

impl PooledConnection {
    /// Runs a unit of work until it ends or the server is silent for too long. The connection returns to the pool,
    /// unless it may be broken.
    pub(super) async fn run<T, E>(
        mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<StoreError> + Transient,
    {
        match unless_silent(self.silence_max, work(&mut self)).await {
            Some(Err(error)) if error.invalidates_connection() => Err(error),
            Some(outcome) => {
                self.return_to_pool();
                outcome
            }
            None => Err(timed_out().into()),
        }
    }

    /// The driver rolls back an open transaction on the way. The caller does not wait for that.
    fn return_to_pool(mut self) {
        if let Some(mut connection) = self.connection.take() {
            let returning = connection.return_to_pool();
            // A connection that is not returned in time is dropped, which closes it.
            shutdown::background("return", async move {
                let _ = tokio::time::timeout(RETURN_TIMEOUT, returning).await;
            });
        }
    }
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        // Closes the socket without the protocol's Terminate message, which would wait for the network.
        drop(self.connection.take().map(PoolConnection::detach));
    }
}

impl Deref for PooledConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_deref().expect(CONNECTION_PRESENT)
    }
}

impl DerefMut for PooledConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_deref_mut().expect(CONNECTION_PRESENT)
    }
}

const CONNECTION_PRESENT: &str = "the connection is only removed when its owner is consumed";

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

/// Ends work on a connection outside the pool after [`CONNECT_TIMEOUT`].
pub(super) async fn within_connect_timeout<T>(
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let outcome = tokio::time::timeout(CONNECT_TIMEOUT, work).await;
    outcome.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> StoreError {
    StoreError::Unavailable(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
}

/// Whether a connection is alive and not inside a transaction. The pool closes it if not.
///
/// Every answer of the server says whether it is inside a transaction. The driver keeps that to itself, but fails to
/// begin a transaction if the statement that should begin it did not. So this function begins one with a statement that
/// does not.
async fn is_idle(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let begun = connection
        .begin_with("-- store::pool::is_idle\nSELECT")
        .await;
    match begun {
        Err(sqlx::Error::BeginFailed) => Ok(true),
        Ok(transaction) => {
            drop(transaction);
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

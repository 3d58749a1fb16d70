//! The pool of connections: what is checked when one comes back, how long it may be away, and when it does not come back.
//!
//! Three things the driver leaves open are closed here. A connection inside a transaction that nobody knows of swallows
//! the writes of whoever comes next, so it is never lent. A network that swallows every packet ends nothing by itself,
//! so the wait for an answer has an end on this side too. And a connection in doubt is closed instead of waited for: a pool
//! whose connections all wait for a dead network is as good as none. Knows no unit of work and no retry.

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

use super::{StoreConfig, StoreError, Transient};
use crate::shutdown;

/// How much later than the longest statement its answer may come. The server ends a statement by itself: when nothing
/// is heard of it any more, the server is gone or the way to it.
const ANSWER_MARGIN: Duration = Duration::from_secs(2);
/// For how long a connection is taken to be as it was when it came back. A server that went away in that time is found out
/// by the statement that is asked of it next.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How long a connection may take to come back: two round trips, which end what was left open.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a connection of its own may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections to lend.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    connections: PgPool,
    patience: Duration,
}

/// A connection that is lent to one unit of work. Dropped without [`Lent::settle`], it is closed.
#[derive(Debug)]
pub(super) struct Lent {
    connection: Option<PoolConnection<Postgres>>,
    /// How long it may say nothing.
    patience: Duration,
}

impl Pool {
    /// A pool that connects when it has to.
    pub(super) fn new(options: PgConnectOptions, config: StoreConfig) -> Self {
        let connections = PgPoolOptions::new()
            .max_connections(config.connections_max)
            .acquire_timeout(config.acquire_timeout)
            // When it comes back, so that nobody waits for it.
            .after_release(|connection, _| Box::pin(is_idle(connection)))
            .test_before_acquire(false)
            .before_acquire(|connection, lately| {
                Box::pin(async move {
                    // A sign of life, of one that has been away from the server for a while.
                    Ok(lately.idle_for < TRUSTED_FOR || is_idle(connection).await?)
                })
            })
            .connect_lazy_with(options);
        Self {
            connections,
            patience: config.statement_timeout + ANSWER_MARGIN,
        }
    }

    /// Lends a connection that is in no transaction.
    pub(super) async fn lend(&self) -> Result<Lent, StoreError> {
        let connection = self.connections.acquire().await?;
        Ok(Lent {
            connection: Some(connection),
            patience: self.patience,
        })
    }

    /// Makes a connection that belongs to nobody else. Unlike [`Pool::lend`], it says why it could not.
    pub(super) async fn connect(&self) -> Result<PgConnection, StoreError> {
        let connecting = PgConnection::connect_with(&self.connections.connect_options()).await;
        Ok(connecting?)
    }

    /// How its connections are made.
    pub(super) fn connect_options(&self) -> PgConnectOptions {
        (*self.connections.connect_options()).clone()
    }

    /// Ends every connection; waits for those that are lent.
    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

impl Lent {
    /// Does a unit of work, for as long as the server says anything. The connection goes back, unless it is in doubt.
    pub(super) async fn settle<T, E>(
        mut self,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<StoreError> + Transient,
    {
        match unless_stalled(self.patience, work(&mut self)).await {
            Some(Err(error)) if error.doubts_connection() => Err(error),
            Some(outcome) => {
                self.give_back();
                outcome
            }
            None => Err(timed_out().into()),
        }
    }

    /// What was left open ends on the way, by a ROLLBACK that the driver has ready. Nobody waits for it.
    fn give_back(mut self) {
        if let Some(mut connection) = self.connection.take() {
            let returning = connection.return_to_pool();
            // One that does not come back in time is dropped, and so closed.
            shutdown::background("return", async move {
                let _ = tokio::time::timeout(RETURN_TIMEOUT, returning).await;
            });
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Closed without a farewell, which would have to wait for the network as well.
        drop(self.connection.take().map(PoolConnection::detach));
    }
}

impl Deref for Lent {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        self.connection.as_deref().expect(LENT)
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut PgConnection {
        self.connection.as_deref_mut().expect(LENT)
    }
}

const LENT: &str = "the connection is taken out only where its loan ends";

/// Waits for work that waits for the network alone; `None` once it has not been woken for so long. Whatever wakes it is
/// a sign of life, so a slow network costs it nothing.
async fn unless_stalled<T>(patience: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut stalled = pin!(tokio::time::sleep(patience));
    poll_fn(|context| {
        let is_stalled = stalled.as_mut().poll(context).is_ready();
        if let Poll::Ready(output) = work.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        if is_stalled {
            return Poll::Ready(None);
        }
        stalled.as_mut().reset(Instant::now() + patience);
        // Asked once more, so that it knows whom to wake.
        stalled.as_mut().poll(context).map(|()| None)
    })
    .await
}

/// Ends what waits for a connection of its own for too long.
pub(super) async fn in_time<T>(
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let outcome = tokio::time::timeout(CONNECT_TIMEOUT, work).await;
    outcome.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> StoreError {
    StoreError::Unavailable(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
}

/// Whether a connection is alive and in no transaction. One that is in doubt is closed by the pool.
///
/// The driver learns from every answer whether the server is inside a transaction, and keeps it for itself: all it does
/// with it is to refuse a transaction that did not begin. So this begins one with a statement that begins none.
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
        // Also what a transaction that has failed says to every statement.
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_may_take_any_time_that_is_not_silence() {
        let patience = Duration::from_secs(7);
        let slow = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(6)).await;
            }
        };
        assert_eq!(unless_stalled(patience, slow).await, Some(()));
        let silent = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            std::future::pending::<()>().await;
        };
        let begin = Instant::now();
        assert_eq!(unless_stalled(patience, silent).await, None);
        assert_eq!(begin.elapsed(), Duration::from_secs(13));
    }
}

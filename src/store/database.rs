//! The database: a pool of connections that runs units of work.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::Connection as _;
use tokio::time::Instant;

use super::commit_notifier::CommitNotifier;
use super::connection::Connection;
use super::database_servers::DatabaseServers;
use super::database_time;
use super::error::{Result, StoreError, Transient};
use super::pool::{Pool, SERVER_MARGIN, StoreConfig};
use crate::database_clock::DatabaseClock;
use crate::{entropy, shutdown};

/// Most attempts of a unit of work that lost against concurrent transactions, the first attempt included.
const ATTEMPTS_MAX: u32 = 4;
/// The pause before the second attempt. It doubles with each attempt, and half of it is random.
const RETRY_PAUSE: Duration = Duration::from_millis(10);
/// A transaction that has taken this long is not retried. It is the default of the lock timeout, so that a call whose
/// rows stay locked ends before its deadline. A deadlock is found after one second, so its victim is retried.
const RETRY_WITHIN: Duration = Duration::from_secs(2);
/// How long connecting outside the pool may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) pool: Pool,
    clock: Arc<DatabaseClock>,
    notifier: CommitNotifier,
}

/// What happens to a transaction whose work succeeded.
#[derive(Debug, Clone, Copy)]
enum TransactionEnd {
    Commit,
    Rollback,
}

impl Store {
    /// Prepares a pool for a `postgres://` URL, which may name several servers. It connects when a connection is first
    /// needed, so the process starts while the database is down, and reports that through its health checks.
    pub fn new(url: &str, config: StoreConfig) -> Result<Self> {
        Self::with_clock(url, config, Arc::default())
    }

    /// The same with a clock, which each new connection sets by the clock of the database before it is used.
    pub fn with_clock(url: &str, config: StoreConfig, clock: Arc<DatabaseClock>) -> Result<Self> {
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        let servers = DatabaseServers::parse(url)?.map(|options| {
            options.application_name("invitations").options([
                (
                    "statement_timeout",
                    millis(config.statement_timeout + SERVER_MARGIN),
                ),
                ("lock_timeout", millis(config.lock_timeout)),
                // The server ends a connection whose transaction was forgotten, so that the pool does not reuse it.
                ("idle_in_transaction_session_timeout", "10s".to_owned()),
                ("timezone", "UTC".to_owned()),
                // Every statement is short. Compiling a statement over 10,000 addresses takes longer than running it.
                ("jit", "off".to_owned()),
                // Health probes write a temporary file to the disk of the tables.
                ("temp_tablespaces", String::new()),
            ])
        });
        Ok(Self {
            pool: Pool::new(servers, config, Arc::clone(&clock)),
            clock,
            notifier: CommitNotifier::default(),
        })
    }

    /// Sets the clock of this store by the clock of the database.
    pub async fn set_clock(&self) -> Result<()> {
        let clock = Arc::clone(&self.clock);
        self.run("set_clock", move |connection| {
            let clock = Arc::clone(&clock);
            Box::pin(async move { Ok(database_time::set(connection.driver(), &clock).await?) })
        })
        .await
    }

    /// Runs a named unit of work on one connection without a transaction: a single statement, or several that may see
    /// different states of the database. It is retried when it lost against concurrent transactions.
    ///
    /// The work runs in a task of its own, so it completes even if the caller is cancelled. It fails when the server is
    /// silent for longer than [`StoreConfig::statement_timeout`].
    pub async fn run<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Connection<'_>) -> BoxFuture<'c, Result<T, E>>,
        F: Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Transient + Send + 'static,
    {
        let (pool, notifier) = (self.pool.clone(), self.notifier.clone());
        shutdown::detached(name, async move {
            retried(name, || {
                pool.run(async |driver| {
                    let mut connection = Connection::new(driver);
                    let outcome = work(&mut connection).await;
                    // Each statement committed by itself, even if a later one failed.
                    notifier.committed(connection.into_notifications());
                    outcome
                })
            })
            .await
        })
        .await
    }

    /// Runs a named transaction. It is committed if `work` returns `Ok`, rolled back otherwise, and retried when it
    /// lost against concurrent transactions.
    ///
    /// It runs in a task of its own, so cancelling the caller does not cancel it. A `BEGIN` that is cancelled halfway
    /// would leave the connection inside a transaction, and the next unit of work would lose its writes.
    pub async fn with_tx<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Connection<'_>) -> BoxFuture<'c, Result<T, E>>,
        F: Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Transient + Send + 'static,
    {
        self.transaction(name, TransactionEnd::Commit, work).await
    }

    /// Does what [`with_tx`](Self::with_tx) does, but rolls the transaction back even if `work` returns `Ok`: for dry
    /// runs, which return what the work would return and change nothing.
    pub async fn with_rolled_back_tx<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Connection<'_>) -> BoxFuture<'c, Result<T, E>>,
        F: Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Transient + Send + 'static,
    {
        self.transaction(name, TransactionEnd::Rollback, work).await
    }

    async fn transaction<T, E, F>(
        &self,
        name: &'static str,
        end: TransactionEnd,
        work: F,
    ) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Connection<'_>) -> BoxFuture<'c, Result<T, E>>,
        F: Send + Sync + 'static,
        T: Send + 'static,
        E: From<StoreError> + Transient + Send + 'static,
    {
        let (pool, notifier) = (self.pool.clone(), self.notifier.clone());
        shutdown::detached(name, async move {
            retried(name, || {
                pool.run(async |driver| {
                    let mut transaction = driver.begin().await.map_err(StoreError::from)?;
                    let mut connection = Connection::new(&mut transaction);
                    let output = work(&mut connection).await?;
                    let notifications = connection.into_notifications();
                    match end {
                        TransactionEnd::Commit => {
                            transaction.commit().await.map_err(StoreError::from)?;
                            notifier.committed(notifications);
                        }
                        TransactionEnd::Rollback => {
                            transaction.rollback().await.map_err(StoreError::from)?;
                        }
                    }
                    Ok(output)
                })
            })
            .await
        })
        .await
    }

    /// Wakes workers and watchers after each commit of this store.
    pub const fn notifier(&self) -> &CommitNotifier {
        &self.notifier
    }

    /// Closes every connection. Waits for units of work that still run.
    pub async fn close(&self) {
        self.pool.connections.close().await;
    }
}

async fn retried<T, E, W>(name: &'static str, work: impl Fn() -> W) -> Result<T, E>
where
    W: Future<Output = Result<T, E>>,
    E: Transient,
{
    let begin = Instant::now();
    let mut attempt = 1;
    loop {
        match work().await {
            Err(error)
                if error.is_transient()
                    && attempt < ATTEMPTS_MAX
                    && begin.elapsed() < RETRY_WITHIN =>
            {
                tracing::debug!(
                    transaction = name,
                    attempt,
                    "the transaction lost against concurrent transactions and is retried"
                );
                let pause = RETRY_PAUSE * 2_u32.pow(attempt - 1);
                tokio::time::sleep(entropy::jittered(pause, 0.5)).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

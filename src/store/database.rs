//! The database: a pool of connections that runs units of work, and the migrations.

use std::str::FromStr as _;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use super::commit_notifier::CommitNotifier;
use super::connection::Connection;
use super::error::{StoreError, Transient};
use super::pool::{self, Pool, StoreConfig};
use crate::{entropy, shutdown};

/// Most attempts of a unit of work that lost against concurrent transactions, the first attempt included.
const ATTEMPTS_MAX: u32 = 4;
/// The pause before the second attempt. It doubles with each attempt, and half of it is random.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    notifier: CommitNotifier,
}

impl Store {
    /// Prepares a pool for a `postgres://` URL. It connects when a connection is first needed, so the process starts
    /// while the database is down, and reports that through its health checks.
    pub fn new(url: &str, config: StoreConfig) -> Result<Self, StoreError> {
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        let options = PgConnectOptions::from_str(url)?
            .application_name("invitations")
            .options([
                ("statement_timeout", millis(config.statement_timeout)),
                ("lock_timeout", millis(config.lock_timeout)),
                // The server ends a connection whose transaction was forgotten, so that the pool does not reuse it.
                ("idle_in_transaction_session_timeout", "10s".to_owned()),
                ("timezone", "UTC".to_owned()),
                // Every statement is short. Compiling a statement over 10,000 addresses takes longer than running it.
                ("jit", "off".to_owned()),
            ]);
        Ok(Self {
            pool: Pool::new(options, config),
            notifier: CommitNotifier::default(),
        })
    }

    /// Applies the migrations that the database does not have yet.
    pub async fn migrate(url: &str) -> Result<(), StoreError> {
        // This connection has no statement timeout: creating an index on a large table takes long.
        let mut connection = PgConnection::connect(url).await?;
        sqlx::migrate!().run(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Whether the schema is at least as new as this program needs. A newer schema is accepted, because old and new
    /// programs run side by side during a deployment.
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        let newest = sqlx::migrate!()
            .iter()
            .map(|migration| migration.version)
            .max();
        pool::within_connect_timeout(async {
            // The pool would report a timeout instead of the reason why it cannot connect.
            let mut connection = self.pool.connect().await?;
            let applied = sqlx::query_scalar::<_, Option<i64>>(
                "-- store::is_migrated\nSELECT max(version) FROM _sqlx_migrations WHERE success",
            )
            .fetch_one(&mut connection)
            .await;
            match applied {
                Ok(applied) => Ok(applied >= newest),
                // undefined_table: no migration was ever applied.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
                    Ok(false)
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Checks that the database answers and accepts writes. A replica is of no use, nor is a primary that was demoted
    /// while the pool was connected to it.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.run("ping", |connection| {
            Box::pin(async {
                let is_read_only: bool = sqlx::query_scalar(
                    "-- store::ping\nSELECT current_setting('transaction_read_only')::boolean",
                )
                .fetch_one(connection.driver())
                .await?;
                if is_read_only {
                    return Err(StoreError::ReadOnly);
                }
                Ok(())
            })
        })
        .await
    }

    /// Runs a named unit of work on one connection without a transaction: a single statement, or several that may see
    /// different states of the database. It is retried when it lost against concurrent transactions.
    ///
    /// The work runs in a task of its own. When the caller is cancelled, the statement still completes and its
    /// connection returns to the pool. The work fails when the server has sent nothing for longer than
    /// [`StoreConfig::statement_timeout`] and a margin, even if the network drops every packet.
    pub async fn run<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Connection<'_>) -> BoxFuture<'c, Result<T, E>>
            + Send
            + Sync
            + 'static,
        T: Send + 'static,
        E: From<StoreError> + Transient + Send + 'static,
    {
        let (pool, notifier) = (self.pool.clone(), self.notifier.clone());
        shutdown::detached(name, async move {
            retried(name, || async {
                let pooled = pool.acquire().await?;
                pooled
                    .run(async |driver| {
                        let mut connection = Connection::new(driver);
                        let outcome = work(&mut connection).await;
                        // Each statement committed by itself, even if a later one failed.
                        notifier.committed(connection.into_notifications());
                        outcome
                    })
                    .await
            })
            .await
        })
        .await
    }

    /// Runs a named transaction. It is committed if `work` returns `Ok`, rolled back otherwise, and retried when it
    /// lost against concurrent transactions.
    ///
    /// The transaction runs in a task of its own, so cancelling the caller does not cancel it. A `BEGIN` that is
    /// cancelled halfway would leave the connection inside a transaction, and the next unit of work would lose its
    /// writes.
    pub async fn with_tx<T, E, F>(&self, name: &'static str, work: F) -> Result<T, E>
    where
        F: for<'c> Fn(&'c mut Connection<'_>) -> BoxFuture<'c, Result<T, E>>
            + Send
            + Sync
            + 'static,
        T: Send + 'static,
        E: From<StoreError> + Transient + Send + 'static,
    {
        let (pool, notifier) = (self.pool.clone(), self.notifier.clone());
        shutdown::detached(name, async move {
            retried(name, || async {
                let pooled = pool.acquire().await?;
                pooled
                    .run(async |driver| {
                        let mut transaction = driver.begin().await.map_err(StoreError::from)?;
                        let mut connection = Connection::new(&mut transaction);
                        let output = work(&mut connection).await?;
                        let notifications = connection.into_notifications();
                        transaction.commit().await.map_err(StoreError::from)?;
                        notifier.committed(notifications);
                        Ok(output)
                    })
                    .await
            })
            .await
        })
        .await
    }

    /// Wakes workers and watchers after each commit of this store.
    pub const fn notifier(&self) -> &CommitNotifier {
        &self.notifier
    }

    /// The options for a connection outside the pool.
    pub(super) fn connect_options(&self) -> PgConnectOptions {
        self.pool.connect_options()
    }

    /// Closes every connection. Waits for units of work that still run.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

async fn retried<T, E, W>(name: &'static str, work: impl Fn() -> W) -> Result<T, E>
where
    W: Future<Output = Result<T, E>>,
    E: Transient,
{
    let mut attempt = 1;
    loop {
        match work().await {
            Err(error) if error.is_transient() && attempt < ATTEMPTS_MAX => {
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

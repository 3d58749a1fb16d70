//! Postgres: the only place that knows SQL. One file for each table, each function beside its statement.
//!
//! A statement that changes more than one table stands in the file of the table it decides on. Times, ids and chance
//! come in as parameters. Knows no protocol, no mail and no use case.

pub mod audit_events;
pub mod backlog;
pub mod batches;
pub mod candidates;
mod commit_notifier;
mod connection;
pub mod dead_letters;
pub mod erasures;
mod error;
pub mod feedback_events;
pub mod idempotency_keys;
pub mod invitation_events;
pub mod invitation_row;
pub mod invitations;
mod listener;
pub mod listings;
pub mod mail_batches;
pub mod memberships;
pub mod organizations;
pub mod outbox;
mod pending_notifications;
mod pool;
pub mod quotas;
pub mod reminders;
pub mod settlements;
pub mod signing_keys;
pub mod stream_chunks;
pub mod subjects;
pub mod suppressions;
pub mod suspensions;
pub mod users;

use std::str::FromStr as _;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

pub use commit_notifier::{CommitNotifier, Subscription};
pub use connection::Connection;
pub use error::{Constraint, StoreError, Transient};
pub use listener::Listener;
pub use pending_notifications::PendingNotifications;

use self::pool::Pool;
use crate::{entropy, shutdown};

/// How often a transaction that lost against others is tried, the first time included.
const TRANSACTION_ATTEMPTS_MAX: u32 = 4;
/// The pause after the first lost try; it doubles each time, and half of it is chance.
const TRANSACTION_PAUSE: Duration = Duration::from_millis(10);

/// How the store connects.
#[derive(Debug, Clone, Copy)]
pub struct StoreConfig {
    /// Most connections held at once.
    pub connections_max: u32,
    /// How long a call waits for a connection before it answers that the service is overloaded.
    pub acquire_timeout: Duration,
    /// How long one statement may run.
    pub statement_timeout: Duration,
    /// How long one statement waits for a row that another transaction holds.
    pub lock_timeout: Duration,
}

/// What a purge took, of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// How many rows.
    pub count: i64,
    /// The time by which the oldest of them was due.
    pub oldest: Option<OffsetDateTime>,
}

/// The database, through a pool of connections.
#[derive(Clone, Debug)]
pub struct Store {
    pool: Pool,
    notifier: CommitNotifier,
}

impl Store {
    /// Prepares a pool over a `postgres://` URL. Connects lazily, so that a database that is away is a matter of
    /// health and not of start-up.
    pub fn new(url: &str, config: StoreConfig) -> Result<Self, StoreError> {
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        let options = PgConnectOptions::from_str(url)?
            .application_name("invitations")
            .options([
                ("statement_timeout", millis(config.statement_timeout)),
                ("lock_timeout", millis(config.lock_timeout)),
                // A connection that forgot its transaction loses it instead of poisoning whoever comes next.
                ("idle_in_transaction_session_timeout", "10s".to_owned()),
                ("timezone", "UTC".to_owned()),
                // Every statement is short; compiling one of ten thousand addresses takes longer than running it.
                ("jit", "off".to_owned()),
            ]);
        let pool = Pool::new(options, config);
        Ok(Self {
            pool,
            notifier: CommitNotifier::default(),
        })
    }

    /// Brings the schema up to date.
    pub async fn migrate(url: &str) -> Result<(), StoreError> {
        // A connection of its own, without the statement timeout: an index on a large table takes as long as it takes.
        let mut connection = PgConnection::connect(url).await?;
        sqlx::migrate!().run(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Whether the schema is the one this program was built for. A newer one is fine: old and new programs run side by
    /// side during a deployment.
    pub async fn is_migrated(&self) -> Result<bool, StoreError> {
        let newest = sqlx::migrate!()
            .iter()
            .map(|migration| migration.version)
            .max();
        pool::in_time(async {
            // Not through the pool, which would keep the reason for itself and say that it waited in vain.
            let mut connection = self.pool.connect().await?;
            let applied = sqlx::query_scalar::<_, Option<i64>>(
                "-- store::is_migrated\nSELECT max(version) FROM _sqlx_migrations WHERE success",
            )
            .fetch_one(&mut connection)
            .await;
            match applied {
                Ok(applied) => Ok(applied >= newest),
                // No table yet: nothing was ever migrated.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
                    Ok(false)
                }
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    /// Asks the database for a sign of life, and whether it takes writes: a replica, or a primary that was demoted under
    /// its connections, is of no use.
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

    /// Runs a named unit of work on one connection, without a transaction of its own: for one statement, or for
    /// several that need not agree. Tried again when it lost against others.
    ///
    /// Runs in a task of its own: when a caller goes away, the statement still ends and its connection goes back clean.
    /// Ends once the server has said nothing for longer than [`StoreConfig::statement_timeout`], whatever the network does.
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
                let lent = pool.lend().await?;
                lent.settle(async |driver| {
                    let mut connection = Connection::new(driver);
                    let outcome = work(&mut connection).await;
                    // Each statement was committed by itself, even if a later one failed.
                    notifier.committed(connection.into_notifications());
                    outcome
                })
                .await
            })
            .await
        })
        .await
    }

    /// Runs a named transaction: committed if `work` answers `Ok`, rolled back otherwise, tried again when it lost
    /// against others.
    ///
    /// Runs in a task of its own. A caller's cancellation drops only the wait for it: a `BEGIN` that is cut off
    /// half-way would leave the connection inside a transaction that swallows the next borrower's writes.
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
                let lent = pool.lend().await?;
                lent.settle(async |driver| {
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

    /// What wakes workers and watchers after each commit.
    #[must_use]
    pub const fn notifier(&self) -> &CommitNotifier {
        &self.notifier
    }

    /// How a connection is made that is not the pool's.
    fn connect_options(&self) -> PgConnectOptions {
        self.pool.connect_options()
    }

    /// Ends every connection; waits for those that are lent out.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Has the statements of this transaction planned for the values and tables they meet, not by a plan that is kept.
///
/// A plan that was made when a table was empty may read all of it, and lasts until the table is analyzed: for thousands
/// of addresses that is too long. Planning costs single statements more than it is worth to them.
pub async fn plan_afresh(connection: &mut Connection<'_>) -> Result<(), StoreError> {
    sqlx::query("-- store::plan_afresh\nSET LOCAL plan_cache_mode = force_custom_plan")
        .execute(connection.driver())
        .await?;
    Ok(())
}

/// What makes the plans of [`plan_pages`], until the transaction ends.
macro_rules! plans_of_pages {
    () => {
        "SET LOCAL plan_cache_mode = force_custom_plan; SET LOCAL enable_bitmapscan = off"
    };
}

/// [`plan_afresh`], for pages: what an index has in order is read in that order until the page is full. A planner that takes
/// an organization for small, because it grew since somebody looked, would gather all it has and sort it.
pub async fn plan_pages(connection: &mut Connection<'_>) -> Result<(), StoreError> {
    sqlx::raw_sql(concat!("-- store::plan_pages\n", plans_of_pages!()))
        .execute(connection.driver())
        .await?;
    Ok(())
}

/// Finds pages in a transaction of their own that begins as [`plan_pages`] has it: one round trip, where that takes two.
pub async fn find_pages<T, E>(
    connection: &mut Connection<'_>,
    find: impl AsyncFnOnce(&mut Connection<'_>) -> Result<T, E>,
) -> Result<T, E>
where
    E: From<StoreError>,
{
    let begun = connection.driver().begin_with(concat!(
        "-- store::find_pages\nBEGIN READ ONLY; ",
        plans_of_pages!()
    ));
    let mut transaction = begun.await.map_err(StoreError::from)?;
    let found = find(&mut Connection::new(&mut transaction)).await?;
    transaction.commit().await.map_err(StoreError::from)?;
    Ok(found)
}

async fn retried<T, E, W>(name: &'static str, work: impl Fn() -> W) -> Result<T, E>
where
    W: Future<Output = Result<T, E>>,
    E: Transient,
{
    let mut attempt = 1;
    loop {
        match work().await {
            Err(error) if error.is_transient() && attempt < TRANSACTION_ATTEMPTS_MAX => {
                tracing::debug!(
                    transaction = name,
                    attempt,
                    "the transaction lost against others"
                );
                let pause = TRANSACTION_PAUSE * 2_u32.pow(attempt - 1);
                tokio::time::sleep(entropy::jittered(pause, 0.5)).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}

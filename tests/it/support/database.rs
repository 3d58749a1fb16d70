//! A database for each test, cloned from a migrated template on the server of `DATABASE_URL`.

use std::str::FromStr as _;

use invitations::store::Store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

/// The name of the template that all tests of the process share.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();
/// Two concurrent clones of one template fail. The lock belongs to the server, so it also holds between test processes.
const LOCK: &str = "SELECT pg_advisory_lock(7265)";

/// A database that is dropped with its test.
pub(crate) struct Database {
    name: String,
}

impl Database {
    /// A migrated database without rows.
    pub(crate) async fn create() -> Self {
        let template = TEMPLATE.get_or_init(create_template).await;
        let name = new_name("test");
        let mut admin = admin().await;
        admin.execute(LOCK).await.unwrap();
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log");
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
        admin.close().await.unwrap();
        Self { name }
    }

    /// A database without tables.
    pub(crate) async fn create_empty() -> Self {
        let name = new_name("test");
        create(&mut admin().await, &name).await;
        Self { name }
    }

    pub(crate) fn url(&self) -> String {
        url_of(&self.name)
    }

    /// A connection that bypasses the service.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let dropped =
            block_on_thread(async move { drop_database(&mut admin().await, &name).await });
        // A database that stays behind is dropped by a later run.
        drop(dropped);
    }
}

/// The number of rows of `SELECT count(*) FROM {from}`, such as `invitations` or `outbox WHERE state = 'sent'`.
pub(crate) async fn count(database: &mut PgConnection, from: &str) -> i64 {
    let statement = AssertSqlSafe(format!("SELECT count(*) FROM {from}"));
    sqlx::query_scalar(statement)
        .fetch_one(database)
        .await
        .unwrap()
}

/// Runs a future to its end on a thread with a runtime of its own. For `drop`, which is not async and runs when the
/// runtime of the test is about to end.
pub(super) fn block_on_thread<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> std::thread::Result<T> {
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(future)
    });
    thread.join()
}

async fn create_template() -> String {
    let name = new_name("template");
    let mut admin = admin().await;
    admin.execute(LOCK).await.unwrap();
    for name in stale_databases(&mut admin).await {
        drop_database(&mut admin, &name).await;
    }
    create(&mut admin, &name).await;
    Store::migrate(&url_of(&name)).await.unwrap();
    admin.close().await.unwrap();
    name
}

/// The databases that earlier runs left behind. A run that is still active has connections to its databases, or created
/// them a moment ago.
async fn stale_databases(admin: &mut PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT datname FROM pg_database d
          WHERE datname ~ '^(test|template)_[0-9a-f]{32}$'
            AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname)
            AND (pg_stat_file('base/' || oid || '/PG_VERSION', true)).modification < now() - interval '1 hour'",
    )
    .fetch_all(admin)
    .await
    .unwrap()
}

async fn create(admin: &mut PgConnection, name: &str) {
    let statement = format!("CREATE DATABASE {name}");
    admin.execute(AssertSqlSafe(statement)).await.unwrap();
}

async fn drop_database(admin: &mut PgConnection, name: &str) {
    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    admin.execute(AssertSqlSafe(statement)).await.unwrap();
}

async fn admin() -> PgConnection {
    PgConnectOptions::from_str(&server())
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn new_name(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::new_v4().simple())
}

fn url_of(name: &str) -> String {
    let mut url = Url::parse(&server()).unwrap();
    url.set_path(name);
    url.into()
}

fn server() -> String {
    std::env::var("DATABASE_URL")
        .expect("DATABASE_URL names a Postgres server; `make test` starts one")
}

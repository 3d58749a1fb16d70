//! A database of its own for each test, cloned from a migrated template on the server of `DATABASE_URL`.

use std::str::FromStr as _;

use invitations::store::Store;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::sync::OnceCell;
use url::Url;
use uuid::Uuid;

/// One template for all tests of the process.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// A database that lives as long as its test.
pub(crate) struct Database {
    name: String,
}

impl Database {
    /// An empty, migrated database.
    pub(crate) async fn create() -> Self {
        let template = TEMPLATE.get_or_init(create_template).await;
        let name = format!("test_{}", Uuid::new_v4().simple());
        // Two clones of one template at once get in each other's way; the lock is the server's, so it holds between
        // test processes too.
        let mut admin = admin().await;
        admin
            .execute("SELECT pg_advisory_lock(7265)")
            .await
            .unwrap();
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log");
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
        admin.close().await.unwrap();
        Self { name }
    }

    /// A database nobody has migrated.
    pub(crate) async fn create_empty() -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let statement = format!("CREATE DATABASE {name}");
        admin()
            .await
            .execute(AssertSqlSafe(statement))
            .await
            .unwrap();
        Self { name }
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        url_of(&self.name)
    }

    /// A connection that looks at it past the service.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        // Dropping is not async, and the test's runtime is about to end.
        let dropping = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(async move {
                    let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
                    admin()
                        .await
                        .execute(AssertSqlSafe(statement))
                        .await
                        .unwrap();
                });
        });
        drop(dropping.join());
    }
}

async fn create_template() -> String {
    let name = format!("template_{}", Uuid::new_v4().simple());
    let mut admin = admin().await;
    admin
        .execute("SELECT pg_advisory_lock(7265)")
        .await
        .unwrap();
    // What earlier runs left behind; a run that is under way holds connections to its databases or has none yet.
    let stale: Vec<String> = sqlx::query_scalar(
        "SELECT datname FROM pg_database d
          WHERE datname ~ '^(test|template)_[0-9a-f]{32}$'
            AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datname = d.datname)
            AND (pg_stat_file('base/' || oid || '/PG_VERSION', true)).modification < now() - interval '1 hour'",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    for name in stale {
        let statement = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
        admin.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    admin
        .execute(AssertSqlSafe(format!("CREATE DATABASE {name}")))
        .await
        .unwrap();
    Store::migrate(&url_of(&name)).await.unwrap();
    admin.close().await.unwrap();
    name
}

async fn admin() -> PgConnection {
    PgConnectOptions::from_str(&server())
        .unwrap()
        .connect()
        .await
        .unwrap()
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

//! A fresh database on a durable Postgres server.

use std::collections::BTreeMap;
use std::env;

use anyhow::{Context as _, ensure};
use invitations::store::Store;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;

use crate::seed;

const NAME: &str = "invitations_bench";
const DROP: &str = "DROP DATABASE IF EXISTS invitations_bench WITH (FORCE)";

/// The number of rows of each table.
pub(crate) type RowCounts = BTreeMap<String, i64>;

#[derive(Clone)]
pub(crate) struct BenchDatabase {
    server_url: String,
    url: String,
}

impl BenchDatabase {
    /// Creates and migrates the database, with one organization and one inviter. With `BENCH_TEMPLATE` set, the database
    /// starts as a copy of that database.
    pub(crate) async fn create(server_url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(server_url).await?;
        sqlx::query(DROP).execute(&mut connection).await?;
        let template = env::var("BENCH_TEMPLATE").unwrap_or_else(|_| "template1".to_owned());
        let statement =
            format!(r#"CREATE DATABASE {NAME} TEMPLATE "{template}" STRATEGY file_copy"#);
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .with_context(|| format!("cannot copy the database {template}"))?;
        // Writes out the changes now, so that no measurement includes it.
        sqlx::query("CHECKPOINT").execute(&mut connection).await?;
        connection.close().await?;
        let mut url = Url::parse(server_url).context("BENCH_DATABASE_URL is not a URL")?;
        url.set_path(NAME);
        let database = Self {
            server_url: server_url.to_owned(),
            url: String::from(url),
        };
        Store::migrate(&database.url).await?;
        seed::insert_organization(&mut database.connect().await?).await?;
        Ok(database)
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// A partitioned table counts as one.
    pub(crate) async fn row_counts(&self) -> anyhow::Result<RowCounts> {
        let mut connection = self.connect().await?;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class
              WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
        )
        .fetch_all(&mut connection)
        .await?;
        let mut counts = RowCounts::new();
        for table in tables {
            let statement = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            let count = sqlx::query_scalar(statement)
                .fetch_one(&mut connection)
                .await?;
            counts.insert(table, count);
        }
        Ok(counts)
    }

    /// Does what autovacuum does some time after a table was filled, and writes everything out.
    pub(crate) async fn vacuum(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
            sqlx::query(statement).execute(&mut connection).await?;
        }
        Ok(())
    }

    pub(crate) async fn drop(self) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.server_url).await?;
        sqlx::query(DROP).execute(&mut connection).await?;
        Ok(())
    }
}

/// Returns the version of the server. Fails if the server may lose commits, because its figures would mean nothing.
pub(crate) async fn check_server(server_url: &str) -> anyhow::Result<String> {
    let mut connection = PgConnection::connect(server_url)
        .await
        .context("cannot connect to BENCH_DATABASE_URL")?;
    let (version, is_durable): (String, bool) = sqlx::query_as(
        "SELECT current_setting('server_version'),
                'on' = ALL (ARRAY[current_setting('fsync'), current_setting('synchronous_commit'),
                                  current_setting('full_page_writes')])",
    )
    .fetch_one(&mut connection)
    .await?;
    ensure!(
        is_durable,
        "fsync, synchronous_commit and full_page_writes must be on"
    );
    Ok(version)
}

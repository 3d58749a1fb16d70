//! A fresh database on a server that keeps what it says it has written.

use std::collections::BTreeMap;
use std::env;

use anyhow::{Context as _, ensure};
use invitations::store::Store;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use url::Url;

const NAME: &str = "invitations_bench";

/// How many rows each table has.
pub(crate) type Counts = BTreeMap<String, i64>;

/// The database, migrated.
pub(crate) struct Database {
    server_url: String,
    url: String,
    /// What it began with.
    invitations: i64,
}

impl Database {
    /// Makes it, and refuses a server that would be fast because it forgets.
    pub(crate) async fn create(server_url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(server_url)
            .await
            .context("cannot connect to BENCH_DATABASE_URL")?;
        let settings: Vec<String> = sqlx::query_scalar(
            "SELECT name FROM pg_settings
              WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes') AND setting = 'on'",
        )
        .fetch_all(&mut connection)
        .await?;
        ensure!(
            settings.len() == 3,
            "fsync, synchronous_commit and full_page_writes must be on; only {settings:?} are"
        );
        drop_if_exists(&mut connection).await?;
        let template = env::var("BENCH_TEMPLATE").unwrap_or_else(|_| "template1".to_owned());
        let statement = format!(
            r#"CREATE DATABASE invitations_bench TEMPLATE "{template}" STRATEGY file_copy"#
        );
        sqlx::query(AssertSqlSafe(statement))
            .execute(&mut connection)
            .await
            .with_context(|| format!("cannot make a copy of the database {template}"))?;
        // What was dropped and made is written out now, and not while somebody is timed.
        sqlx::query("CHECKPOINT").execute(&mut connection).await?;
        connection.close().await?;
        let mut url = Url::parse(server_url).context("BENCH_DATABASE_URL is no URL")?;
        url.set_path(NAME);
        let url = String::from(url);
        Store::migrate(&url).await?;
        let mut database = Self {
            server_url: server_url.to_owned(),
            url,
            invitations: 0,
        };
        database.sweep().await?;
        database.invitations = database.count_invitations().await?;
        Ok(database)
    }

    /// What expired in a template says so, as it would by now: the service that is measured sweeps nothing.
    async fn sweep(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let overdue = "UPDATE invitations SET state = 'expired' WHERE state = 'pending' AND expires_at <= now()";
        let swept = sqlx::query(overdue).execute(&mut connection).await?;
        connection.close().await?;
        if swept.rows_affected() > 0 {
            self.settle().await?;
        }
        Ok(())
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> anyhow::Result<PgConnection> {
        Ok(PgConnection::connect(&self.url).await?)
    }

    /// The version of a server.
    pub(crate) async fn describe(server_url: &str) -> anyhow::Result<String> {
        let mut connection = PgConnection::connect(server_url).await?;
        let version: String = sqlx::query_scalar("SHOW server_version")
            .fetch_one(&mut connection)
            .await?;
        Ok(format!("Postgres {version}, durable"))
    }

    /// How many rows each table has. A table in parts counts as one.
    pub(crate) async fn counts(&self) -> anyhow::Result<Counts> {
        let mut connection = self.connect().await?;
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT relname::text FROM pg_class
              WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition",
        )
        .fetch_all(&mut connection)
        .await?;
        let mut counts = Counts::new();
        for table in tables {
            let statement = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
            let count = sqlx::query_scalar(statement)
                .fetch_one(&mut connection)
                .await?;
            counts.insert(table, count);
        }
        Ok(counts)
    }

    /// A number that a query tells.
    pub(crate) async fn count(&self, query: &'static str) -> anyhow::Result<i64> {
        let mut connection = self.connect().await?;
        Ok(sqlx::query_scalar(query).fetch_one(&mut connection).await?)
    }

    /// How many invitations of ours were made that owe a mail: the others would be rows that a road left half done.
    pub(crate) async fn count_invitations(&self) -> anyhow::Result<i64> {
        let count = self
            .count(
                "SELECT count(*) FROM invitations i JOIN outbox o ON o.invitation_id = i.id AND o.state = 'queued'
                  WHERE i.organization_id = 'acme'",
            )
            .await?;
        Ok(count - self.invitations)
    }

    /// Has the planner know what is there, as it does some time after a table was filled.
    pub(crate) async fn settle(&self) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        for statement in ["VACUUM ANALYZE", "CHECKPOINT"] {
            sqlx::query(statement).execute(&mut connection).await?;
        }
        Ok(())
    }

    /// Deletes it.
    pub(crate) async fn drop(self) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(&self.server_url).await?;
        drop_if_exists(&mut connection).await
    }
}

async fn drop_if_exists(connection: &mut PgConnection) -> anyhow::Result<()> {
    sqlx::query("DROP DATABASE IF EXISTS invitations_bench WITH (FORCE)")
        .execute(connection)
        .await?;
    Ok(())
}

//! A fresh database on a server that keeps what it says it has written.

use anyhow::{Context as _, ensure};
use invitations::store::Store;
use sqlx::{Connection as _, PgConnection};
use url::Url;

const NAME: &str = "invitations_bench";

/// The database, migrated.
pub(crate) struct Database {
    server_url: String,
    url: String,
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
        sqlx::query("CREATE DATABASE invitations_bench")
            .execute(&mut connection)
            .await?;
        connection.close().await?;
        let mut url = Url::parse(server_url).context("BENCH_DATABASE_URL is no URL")?;
        url.set_path(NAME);
        let url = String::from(url);
        Store::migrate(&url).await?;
        Ok(Self {
            server_url: server_url.to_owned(),
            url,
        })
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The server's version.
    pub(crate) async fn describe(&self) -> anyhow::Result<String> {
        let mut connection = PgConnection::connect(&self.url).await?;
        let version: String = sqlx::query_scalar("SHOW server_version")
            .fetch_one(&mut connection)
            .await?;
        Ok(format!("Postgres {version}, durable"))
    }

    /// How many invitations there are that owe a mail: the others would be rows that a road left half done.
    pub(crate) async fn count_invitations(&self) -> anyhow::Result<i64> {
        let mut connection = PgConnection::connect(&self.url).await?;
        Ok(sqlx::query_scalar(
            "SELECT count(*) FROM invitations i JOIN outbox o ON o.invitation_id = i.id AND o.state = 'queued'",
        )
        .fetch_one(&mut connection)
        .await?)
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

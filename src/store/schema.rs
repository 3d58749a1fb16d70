//! The schema: its migrations, and whether a database has all of them.

use std::borrow::Cow;

use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};

use super::Connection;
use super::database::{CONNECT_TIMEOUT, Store};
use super::database_servers::DatabaseServers;
use super::error::{Result, StoreError};

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!();
    // During a deployment a process of the previous version may start, and run its migrations again.
    migrator.set_ignore_missing(true);
    migrator
}

impl Store {
    /// Applies the migrations that the database does not have yet.
    pub async fn migrate(url: &str) -> Result<()> {
        let primary = DatabaseServers::parse(url)?.find_primary().await?;
        // This connection has no statement timeout: creating an index on a large table takes long.
        let mut connection = PgConnection::connect_with(&primary).await?;
        migrator().run(&mut connection).await?;
        Ok(connection.close().await?)
    }

    /// Whether the schema is at least as new as this program needs. During a deployment it may be newer.
    pub async fn is_migrated(&self) -> Result<bool> {
        let primary = self.pool.find_primary().await?;
        let checked = async {
            // The pool would report a timeout instead of the reason why it cannot connect.
            let mut driver = PgConnection::connect_with(&primary).await?;
            is_current(&mut Connection::new(&mut driver)).await
        };
        let outcome = tokio::time::timeout(CONNECT_TIMEOUT, checked).await;
        outcome.unwrap_or_else(|_| Err(StoreError::timed_out()))
    }
}

/// Whether the database has every migration of this program with the same content. It may have newer migrations.
pub async fn is_current(connection: &mut Connection<'_>) -> Result<bool> {
    // Not checked when the program is built, because sqlx creates the table when it migrates.
    let applied = sqlx::query_as::<_, (i64, Vec<u8>)>(
        "-- store::schema::is_current\nSELECT version, checksum FROM _sqlx_migrations WHERE success",
    )
    .fetch_all(connection.driver())
    .await
    .map_err(StoreError::from);
    let applied = match applied {
        Ok(applied) => applied,
        // No migration was ever applied.
        Err(StoreError::Unprepared(_)) => return Ok(false),
        Err(error) => return Err(error),
    };
    let has = |version, checksum: &Cow<'_, [u8]>| {
        let mut applied = applied.iter();
        applied.any(|(applied, content)| *applied == version && content == checksum.as_ref())
    };
    Ok(migrator()
        .iter()
        .all(|migration| has(migration.version, &migration.checksum)))
}

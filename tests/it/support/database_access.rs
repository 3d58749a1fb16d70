//! Closes the database of a test and opens it again, as an outage would.

use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection};

use crate::support::database::Database;

/// Controls who may connect to the database of a test.
pub(crate) struct DatabaseAccess {
    /// A database cannot be closed over one of its own connections, so this one belongs to another database.
    admin: PgConnection,
    name: String,
}

impl DatabaseAccess {
    pub(crate) async fn of(database: &Database) -> Self {
        let options = PgConnectOptions::from_str(&database.url()).unwrap();
        let name = options.get_database().unwrap().to_owned();
        let admin = options.database("postgres").connect().await.unwrap();
        Self { admin, name }
    }

    /// Refuses new connections. Existing ones stay open.
    pub(crate) async fn deny(&mut self) {
        self.set_allowed(false).await;
    }

    pub(crate) async fn allow(&mut self) {
        self.set_allowed(true).await;
    }

    async fn set_allowed(&mut self, is_allowed: bool) {
        let statement = format!(
            "ALTER DATABASE {} ALLOW_CONNECTIONS {is_allowed}",
            self.name
        );
        self.admin.execute(AssertSqlSafe(statement)).await.unwrap();
    }

    /// Ends every connection to the database. Those of the service end first, so that none of them obtains a lock that
    /// a connection of the test held.
    pub(crate) async fn end_sessions(&mut self) {
        sqlx::query(
            "SELECT pg_terminate_backend(pid)
               FROM (SELECT pid FROM pg_stat_activity WHERE datname = $1 ORDER BY query NOT LIKE '-- store::%')
                 AS session",
        )
        .bind(&self.name)
        .execute(&mut self.admin)
        .await
        .unwrap();
    }
}

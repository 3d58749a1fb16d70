//! Settings of the database.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use humantime::parse_duration;
use secrecy::SecretString;

use crate::database_clock::DatabaseClock;
use crate::store::StoreConfig;

#[expect(clippy::struct_field_names, reason = "the fields name the flags")]
#[derive(Debug, Clone, Args)]
pub(super) struct DatabaseArgs {
    /// URL of the database (postgres://...), which may name several servers (see docs/failover.md)
    #[arg(long, env = "INVITATIONS_DATABASE_URL", hide_env_values = true)]
    pub(super) database_url: SecretString,
    /// Most connections to the database
    #[arg(long, env = "INVITATIONS_DATABASE_CONNECTIONS_MAX")]
    #[arg(default_value_t = 16)]
    pub(super) database_connections_max: u32,
    /// How long a call waits for a connection before it fails with UNAVAILABLE
    #[arg(long, env = "INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", default_value = "500ms", value_parser = parse_duration)]
    pub(super) database_acquire_timeout: Duration,
    /// How long the service waits for one statement or commit; a batch of 10,000 takes about half a second
    #[arg(long, env = "INVITATIONS_DATABASE_STATEMENT_TIMEOUT", default_value = "5s", value_parser = parse_duration)]
    pub(super) database_statement_timeout: Duration,
    /// How long one statement waits for a row or a table that another transaction has locked
    #[arg(long, env = "INVITATIONS_DATABASE_LOCK_TIMEOUT", default_value = "2s", value_parser = parse_duration)]
    pub(super) database_lock_timeout: Duration,
    /// How far the clock of this machine may differ from that of the database before health reports NOT_SERVING
    #[arg(long, env = "INVITATIONS_DATABASE_CLOCK_DIFFERENCE_MAX", default_value = "5s", value_parser = parse_duration)]
    pub(super) database_clock_difference_max: Duration,
}

impl DatabaseArgs {
    pub(super) fn clock(&self) -> Arc<DatabaseClock> {
        Arc::new(DatabaseClock::new(self.database_clock_difference_max))
    }

    pub(super) const fn store(&self) -> StoreConfig {
        StoreConfig {
            connections_max: self.database_connections_max,
            acquire_timeout: self.database_acquire_timeout,
            statement_timeout: self.database_statement_timeout,
            lock_timeout: self.database_lock_timeout,
        }
    }
}

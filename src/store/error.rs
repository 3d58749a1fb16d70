//! Errors of the database, grouped by what the caller can do about them.

use std::io;

use sqlx::error::DatabaseError;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// An address has at most one pending invitation in an organization.
    InvitationsPending,
    /// Any other constraint. Violating it is always a bug of the service.
    Other,
}

/// An error of the store. The text of the driver is only in the source chain, for the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the constraint {0:?} was violated")]
    Conflict(Constraint, #[source] sqlx::Error),
    /// Retrying the transaction may succeed.
    #[error("the transaction lost against concurrent transactions")]
    Contended(#[source] sqlx::Error),
    /// The database is down or overloaded.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// Every statement was checked against the schema when the program was built. So the database has another schema,
    /// or the role may not use it.
    #[error("the database lacks the schema or the privileges that this version needs")]
    Unprepared(#[source] sqlx::Error),
    /// A row contains a value that the service never writes.
    #[error("the column {0} contains an invalid value")]
    Inconsistent(&'static str),
    #[error("the migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Any other error. It is always a bug of the service.
    #[error("the database rejected a statement")]
    Database(#[source] sqlx::Error),
}

impl StoreError {
    /// The server did not answer in time.
    pub(super) fn timed_out() -> Self {
        Self::Unavailable(sqlx::Error::Io(io::ErrorKind::TimedOut.into()))
    }
}

/// An error that says whether to retry the work and whether to keep the connection.
pub trait Transient {
    /// Whether the same work may succeed if it is retried at once.
    fn is_transient(&self) -> bool;

    /// Whether to close the connection, because it may be broken or lead to a server that is no longer the primary.
    fn invalidates_connection(&self) -> bool;
}

impl Transient for StoreError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Contended(_))
    }

    fn invalidates_connection(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unprepared(_))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            // It ended the session, or prevented it. So it says nothing about the statement.
            sqlx::Error::Database(database) if is_fatal(database.as_ref()) => {
                Self::Unavailable(error)
            }
            sqlx::Error::Database(database) => match database.code().as_deref() {
                // serialization_failure, deadlock_detected, lock_not_available
                Some("40001" | "40P01" | "55P03") => Self::Contended(error),
                // read_only_sql_transaction, idle_in_transaction_session_timeout, and the classes: connection
                // exception, insufficient resources, operator intervention (shutdown, starting up, statement timeout)
                Some("25006" | "25P03") => Self::Unavailable(error),
                Some(code) if matches!(code.get(..2), Some("08" | "53" | "57")) => {
                    Self::Unavailable(error)
                }
                // feature not supported (a plan for a schema that has changed), invalid statement name, invalid
                // authorization, invalid database, invalid schema, syntax error or access rule violation
                Some(code)
                    if matches!(code.get(..2), Some("0A" | "26" | "28" | "3D" | "3F" | "42")) =>
                {
                    Self::Unprepared(error)
                }
                _ => match database.constraint() {
                    Some("invitations_pending_key") => {
                        Self::Conflict(Constraint::InvitationsPending, error)
                    }
                    Some(_) => Self::Conflict(Constraint::Other, error),
                    None => Self::Database(error),
                },
            },
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::BeginFailed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_) => Self::Unavailable(error),
            _ => Self::Database(error),
        }
    }
}

fn is_fatal(error: &dyn DatabaseError) -> bool {
    let error = error.try_downcast_ref::<PgDatabaseError>();
    let severity = error.map(PgDatabaseError::severity);
    matches!(severity, Some(PgSeverity::Fatal | PgSeverity::Panic))
}

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

//! What can go wrong in the database, in the few ways that make a difference to whoever asked.

/// A rule the schema keeps, by the name it has in the migrations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// One pending invitation for each address of an organization.
    InvitationsPending,
    /// Another one; always a fault of the service.
    Other,
}

impl Constraint {
    fn from_name(name: &str) -> Self {
        match name {
            "invitations_pending_key" => Self::InvitationsPending,
            _ => Self::Other,
        }
    }
}

/// A failure of the store. Driver text stays in the source chain, for the log alone.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A rule of the schema was broken.
    #[error("the constraint {0:?} was broken")]
    Conflict(Constraint, #[source] sqlx::Error),
    /// Other transactions were in the way; the same one may work in a moment.
    #[error("the transaction lost against others")]
    Contended(#[source] sqlx::Error),
    /// The database is away, or too busy.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// The database takes no writes.
    #[error("the database is read-only")]
    ReadOnly,
    /// A row holds what no row can hold.
    #[error("the column {0} holds an impossible value")]
    Inconsistent(&'static str),
    /// The schema could not be brought up to date.
    #[error("the migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// Everything else: a fault of the service.
    #[error("the database refused a statement")]
    Database(#[source] sqlx::Error),
}

/// An error that knows whether the same work may succeed if it is done again at once.
pub trait Transient {
    /// Whether trying again makes sense.
    fn is_transient(&self) -> bool;

    /// Whether the connection it came over should be closed: it may be broken, or lead to a server that is not the one
    /// to talk to any more.
    fn doubts_connection(&self) -> bool;
}

impl Transient for StoreError {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Contended(_))
    }

    fn doubts_connection(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::ReadOnly)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => match database.code().as_deref() {
                // serialization_failure, deadlock_detected, lock_not_available
                Some("40001" | "40P01" | "55P03") => Self::Contended(error),
                // read_only_sql_transaction, idle_in_transaction_session_timeout, and the classes: connection
                // exception, insufficient resources, operator intervention (shutdown, starting up, statement timeout)
                Some(code)
                    if ["25006", "25P03"].contains(&code)
                        || ["08", "53", "57"]
                            .iter()
                            .any(|class| code.starts_with(class)) =>
                {
                    Self::Unavailable(error)
                }
                _ => match database.constraint().map(Constraint::from_name) {
                    Some(constraint) => Self::Conflict(constraint, error),
                    None => Self::Database(error),
                },
            },
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_) => Self::Unavailable(error),
            _ => Self::Database(error),
        }
    }
}

//! Postgres. This is the only module that contains SQL.
//!
//! There is one file for each table, and each function stands beside its statement. A statement that changes several
//! tables stands in the file of the table whose rows decide what it does. Times, ids and random values are parameters.
//!
//! # Conventions of the statements
//!
//! * A `limit` is the largest number of rows that a function returns or changes.
//! * A statement that locks many rows and waits for them locks them in one order, so that overlapping statements wait
//!   for each other instead of deadlocking. Rows are ordered by their key, invitations by organization, address and id:
//!   an address may have many invitations. A statement that locks in another order uses `SKIP LOCKED`.
//! * An array of thousands of elements is joined by `CROSS JOIN LATERAL (... LIMIT 1)`, which looks up each element by
//!   itself. For a plain join, a planner without statistics may read a whole table.
//! * `= ANY ((SELECT $1::text[])::text[])` hides the array from the planner, which then plans for any array: it uses an
//!   index and does not look at each element.
//! * A range such as `(organization_id, id) >= ($1, $2)` together with an `ORDER BY` over the same columns is what one
//!   index holds. An equality would allow other indexes, and a planner without statistics may choose one of those.
//! * Several statements share some text. `sqlx::query!` accepts only string literals, so a macro beside the table adds
//!   the shared text to them, such as `query_with_events!`.

pub mod acceptances;
pub mod audit_events;
pub mod backlog;
pub mod batches;
pub mod candidates;
mod commit_notifier;
mod connection;
mod database;
mod database_servers;
mod database_time;
pub mod dead_letters;
pub mod erasures;
mod error;
pub mod feedback_events;
pub mod health_probes;
pub mod idempotency_keys;
pub mod invitation_events;
pub mod invitations;
mod listener;
pub mod listings;
pub mod mail_batches;
pub mod memberships;
pub mod organizations;
pub mod outbox;
mod pending_notifications;
pub mod planner;
mod pool;
mod purged;
pub mod quotas;
pub mod reminders;
pub mod schema;
pub mod settlements;
pub mod signing_keys;
pub mod stored_invitations;
pub mod stream_chunks;
pub mod subjects;
pub mod suppressions;
pub mod suspensions;
pub mod users;

use connection::{bytes_max, column};
use invitation_events::query_with_events;

pub use commit_notifier::{CommitNotifier, Subscription};
pub use connection::Connection;
pub use database::Store;
pub use error::{Constraint, Result, StoreError, Transient};
pub use listener::Listener;
pub use pending_notifications::PendingNotifications;
pub use pool::StoreConfig;
pub use purged::Purged;

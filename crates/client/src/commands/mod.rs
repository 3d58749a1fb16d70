//! One module per command: its arguments, its help, and how it runs.

pub(crate) mod accept;
pub(crate) mod audit;
pub(crate) mod batch;
pub(crate) mod bounce;
pub(crate) mod directory;
pub(crate) mod erase;
pub(crate) mod list;
pub(crate) mod outbox;
pub(crate) mod resend;
pub(crate) mod revoke;
pub(crate) mod send;
pub(crate) mod suppression;
pub(crate) mod watch;

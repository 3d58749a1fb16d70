//! The table of a port, which its limiter and its connections share.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::connection_table::ConnectionTable;

#[derive(Debug)]
pub(super) struct SharedTable {
    table: Mutex<ConnectionTable>,
    ended: Notify,
}

impl SharedTable {
    pub(super) fn new(table: ConnectionTable) -> Self {
        Self {
            table: Mutex::new(table),
            ended: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, ConnectionTable> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn remove(&self, number: u64) {
        self.lock().remove(number);
        self.ended.notify_one();
    }

    /// Completes when a connection has been removed.
    pub(super) fn removed(&self) -> Notified<'_> {
        self.ended.notified()
    }
}

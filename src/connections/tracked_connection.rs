//! One connection, as its server and its requests see it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::shared_table::SharedTable;

/// How long the peer of a connection that must close has to finish what has begun.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub struct TrackedConnection {
    number: u64,
    closing: CancellationToken,
    table: Arc<SharedTable>,
}

/// A request that counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct OpenRequest {
    connection: Arc<TrackedConnection>,
}

impl TrackedConnection {
    pub(super) const fn new(
        number: u64,
        closing: CancellationToken,
        table: Arc<SharedTable>,
    ) -> Self {
        Self {
            number,
            closing,
            table,
        }
    }

    /// Marks the connection as authenticated, for its whole life. Returns `false` if as many connections as allowed
    /// are authenticated, of all callers or of this one, and all have open requests.
    pub fn authenticate(&self, caller: &str) -> bool {
        self.table.lock().authenticate(self.number, caller)
    }

    pub fn has_request(&self) -> bool {
        self.table.lock().has_request(self.number)
    }

    /// Completes when the connection must be closed for another one.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Completes when a connection that must be closed has had time to finish. Authenticated requests that have begun
    /// are never interrupted.
    pub async fn overdue(&self) {
        self.closing().await;
        tokio::time::sleep(CLOSE_TIMEOUT).await;
        let is_in_use = {
            let table = self.table.lock();
            table.is_authenticated(self.number) && table.has_request(self.number)
        };
        if is_in_use {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        self.table.remove(self.number);
    }
}

impl OpenRequest {
    pub(super) fn begin(connection: Arc<TrackedConnection>) -> Self {
        connection.table.lock().begin_request(connection.number);
        Self { connection }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut table = self.connection.table.lock();
        table.end_request(self.connection.number, Instant::now());
    }
}

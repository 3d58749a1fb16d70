//! One connection, as its server and its requests see it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::limiter::ConnectionLimiter;

/// How long the peer of a connection that must close has to finish what has begun.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub struct TrackedConnection {
    number: u64,
    closing: CancellationToken,
    limiter: ConnectionLimiter,
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
        limiter: ConnectionLimiter,
    ) -> Self {
        Self {
            number,
            closing,
            limiter,
        }
    }

    /// Marks the connection as authenticated, for its whole life. Returns `false` if as many connections as allowed
    /// are authenticated and all have open requests.
    pub fn authenticate(&self) -> bool {
        self.limiter.table().authenticate(self.number)
    }

    pub fn has_request(&self) -> bool {
        self.limiter.table().has_request(self.number)
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
            let table = self.limiter.table();
            table.is_authenticated(self.number) && table.has_request(self.number)
        };
        if is_in_use {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for TrackedConnection {
    fn drop(&mut self) {
        self.limiter.remove(self.number);
    }
}

impl OpenRequest {
    pub(super) fn begin(connection: Arc<TrackedConnection>) -> Self {
        connection.limiter.table().begin_request(connection.number);
        Self { connection }
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        let mut table = self.connection.limiter.table();
        table.end_request(self.connection.number, Instant::now());
    }
}

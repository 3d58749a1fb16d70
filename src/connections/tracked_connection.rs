//! One connection, as its server and its requests see it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::connection_table::EndTokens;
use super::shared_table::SharedTable;

/// How long the peer of a connection that must close has to finish what has begun.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);
/// How long a connection that must close for another one may have open requests: the duration of a bulk call. The
/// requests began before the peer learned that the connection closes. Without a limit, a peer that ignores this would stay.
const CLOSING_DURATION_MAX: Duration = Duration::from_secs(30);

/// A connection that counts until this is dropped.
#[derive(Debug)]
pub struct TrackedConnection {
    number: u64,
    tokens: EndTokens,
    table: Arc<SharedTable>,
}

/// A request that counts as open until this is dropped.
#[derive(Debug)]
pub(super) struct OpenRequest {
    connection: Arc<TrackedConnection>,
}

impl TrackedConnection {
    pub(super) const fn new(number: u64, tokens: EndTokens, table: Arc<SharedTable>) -> Self {
        Self {
            number,
            tokens,
            table,
        }
    }

    /// Marks the connection as authenticated, for its whole life. Returns `false` if as many connections as allowed
    /// are authenticated, of all callers or of this one, and all have open requests.
    pub fn authenticate(&self, caller: &str) -> bool {
        self.table.lock().authenticate(self.number, caller, false)
    }

    /// The same for a user, who gets fewer connections.
    pub fn authenticate_user(&self, caller: &str) -> bool {
        self.table.lock().authenticate(self.number, caller, true)
    }

    pub fn has_request(&self) -> bool {
        self.table.lock().has_request(self.number)
    }

    /// Completes when the connection must be closed for another one.
    pub async fn closing(&self) {
        self.tokens.closing.cancelled().await;
    }

    /// Completes when a connection that must be closed for another one has had time to finish. Authenticated requests
    /// that have begun may take up to `CLOSING_DURATION_MAX`, unless too many connections are closing.
    pub async fn overdue(&self) {
        self.closing().await;
        tokio::select! {
            () = self.finished() => {}
            () = self.tokens.dropped.cancelled() => {}
            () = sleep(CLOSING_DURATION_MAX) => {}
        }
    }

    async fn finished(&self) {
        loop {
            sleep(CLOSE_TIMEOUT).await;
            let now = Instant::now();
            let has_finished = self
                .table
                .lock()
                .has_finished(self.number, CLOSE_TIMEOUT, now);
            if has_finished {
                return;
            }
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

#[cfg(test)]
mod tests {
    use super::super::connection_table::{ConnectionLimits, ConnectionTable};
    use super::*;

    const LIMITS: ConnectionLimits = ConnectionLimits {
        connections_max: 4,
        authenticated_max: 1,
        caller_max: 1,
        user_max: 1,
        closing_max: 1,
    };

    fn connect(table: &Arc<SharedTable>) -> Arc<TrackedConnection> {
        let (number, tokens) = table.lock().insert([10_u8, 0, 0, 1].into(), Instant::now());
        Arc::new(TrackedConnection::new(number, tokens, Arc::clone(table)))
    }

    /// A connection that must close for another one, and a request that it began after that.
    fn closing() -> (Arc<TrackedConnection>, OpenRequest) {
        let table = Arc::new(SharedTable::new(ConnectionTable::new(LIMITS)));
        let (first, second) = (connect(&table), connect(&table));
        assert!(first.authenticate("web") && second.authenticate("web"));
        let request = OpenRequest::begin(Arc::clone(&first));
        (first, request)
    }

    #[tokio::test(start_paused = true)]
    async fn a_closing_connection_ends_after_its_last_request() {
        let (connection, request) = closing();
        let begin = Instant::now();
        tokio::join!(connection.overdue(), async {
            sleep(4 * CLOSE_TIMEOUT).await;
            drop(request);
        });
        let took = begin.elapsed();
        assert!(
            (5 * CLOSE_TIMEOUT..7 * CLOSE_TIMEOUT).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_closing_connection_ends_although_its_peer_sends_requests() {
        let (connection, request) = closing();
        let begin = Instant::now();
        connection.overdue().await;
        let took = begin.elapsed();
        let longest = CLOSING_DURATION_MAX + CLOSE_TIMEOUT;
        assert!((CLOSING_DURATION_MAX..longest).contains(&took), "{took:?}");
        drop(request);
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_connection_ends_at_once() {
        let (connection, request) = closing();
        let begin = Instant::now();
        connection.tokens.dropped.cancel();
        connection.overdue().await;
        assert!(begin.elapsed() < CLOSE_TIMEOUT);
        drop(request);
    }
}

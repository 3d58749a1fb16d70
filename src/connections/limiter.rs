//! Accepts the connections of a port.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use super::connection_table::{ConnectionLimits, ConnectionTable};
use super::shared_table::SharedTable;
use super::tracked_connection::TrackedConnection;

/// Pause after an error of accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The errors of accept if the process, or the machine, has no further file descriptor (`ENFILE` and `EMFILE`).
const NO_DESCRIPTOR: [i32; 2] = [23, 24];

#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    table: Arc<SharedTable>,
}

impl ConnectionLimiter {
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            table: Arc::new(SharedTable::new(ConnectionTable::new(limits))),
        }
    }

    /// Accepts the next connection, and closes the least valuable one if there are too many. Cancel safe.
    pub async fn accept(&self, listener: &TcpListener) -> (TcpStream, IpAddr, TrackedConnection) {
        loop {
            self.wait_for_room().await;
            match listener.accept().await {
                Ok((stream, address)) => {
                    // Small messages must not wait for an acknowledgement of the previous one.
                    let _ = stream.set_nodelay(true);
                    return (stream, address.ip(), self.track(address.ip()));
                }
                // The peer has disconnected, or the machine temporarily lacks resources.
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    self.close_one_without_descriptor(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until there is room for a connection, or another one may be closed.
    async fn wait_for_room(&self) {
        loop {
            let removed = self.table.removed();
            let Some(until) = self.table.lock().full_until(Instant::now()) else {
                return;
            };
            let _ = tokio::time::timeout_at(until, removed).await;
        }
    }

    /// A process with a low limit of files must not be blocked by its idle peers either.
    fn close_one_without_descriptor(&self, error: &io::Error) {
        let code = error.raw_os_error();
        if code.is_some_and(|code| NO_DESCRIPTOR.contains(&code)) {
            self.table.lock().close_least_valuable(Instant::now());
        }
    }

    fn track(&self, ip: IpAddr) -> TrackedConnection {
        let (number, tokens) = self.table.lock().insert(ip, Instant::now());
        TrackedConnection::new(number, tokens, Arc::clone(&self.table))
    }
}

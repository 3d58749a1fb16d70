//! Limits the connections of a port: a number of pending connections, and a number of admitted ones.
//!
//! A connection is pending until its first request, when the server of the port admits it. Of too many pending ones the
//! oldest is closed. So somebody who opens thousands of silent connections closes only their own.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// No pending connection is closed before this age, which is longer than a first request takes. While all pending
/// connections are younger, no further connection is accepted.
const GRACE: Duration = Duration::from_millis(250);
/// Pause after an error of accept, such as a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    pending_max: usize,
    pending: Arc<Mutex<PendingConnections>>,
    slots: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct PendingConnections {
    next_number: u64,
    /// When each connection was accepted, and its eviction. The oldest is the first.
    by_number: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// A connection that is counted as pending until this is dropped.
#[derive(Debug)]
pub struct PendingConnection {
    number: u64,
    eviction: CancellationToken,
    limiter: ConnectionLimiter,
}

impl ConnectionLimiter {
    pub fn new(pending_max: usize, admitted_max: usize) -> Self {
        Self {
            pending_max,
            pending: Arc::default(),
            slots: Arc::new(Semaphore::new(admitted_max)),
        }
    }

    pub fn slots(&self) -> Arc<Semaphore> {
        Arc::clone(&self.slots)
    }

    /// Accepts the next connection. Cancel safe.
    pub async fn accept(&self, listener: &TcpListener) -> (TcpStream, PendingConnection) {
        loop {
            self.wait_for_room().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Small messages must not wait for an acknowledgement of the previous one.
                    let _ = stream.set_nodelay(true);
                    return (stream, self.add());
                }
                // The peer has disconnected, or the machine temporarily lacks resources.
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until there are fewer pending connections than allowed, or the oldest may be closed.
    async fn wait_for_room(&self) {
        loop {
            let oldest = {
                let pending = self.pending();
                if pending.by_number.len() < self.pending_max {
                    return;
                }
                let oldest = pending.by_number.first_key_value();
                oldest.map(|(_, (accepted_at, _))| *accepted_at)
            };
            let Some(accepted_at) = oldest.filter(|time| time.elapsed() < GRACE) else {
                return;
            };
            tokio::time::sleep_until(accepted_at + GRACE).await;
        }
    }

    fn add(&self) -> PendingConnection {
        let mut pending = self.pending();
        while pending.by_number.len() >= self.pending_max
            && let Some((_, (_, eviction))) = pending.by_number.pop_first()
        {
            eviction.cancel();
        }
        let (number, eviction) = (pending.next_number, CancellationToken::new());
        pending.next_number += 1;
        let entry = (Instant::now(), eviction.clone());
        pending.by_number.insert(number, entry);
        PendingConnection {
            number,
            eviction,
            limiter: self.clone(),
        }
    }

    fn pending(&self) -> MutexGuard<'_, PendingConnections> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PendingConnection {
    /// Completes after `timeout`, or when the connection is closed for a newer one.
    pub fn expired(&self, timeout: Duration) -> impl Future<Output = ()> + Send + 'static {
        let evicted = self.evicted();
        async move {
            let _ = tokio::time::timeout(timeout, evicted).await;
        }
    }

    /// Completes when the connection must be closed for a newer one.
    pub fn evicted(&self) -> WaitForCancellationFutureOwned {
        self.eviction.clone().cancelled_owned()
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        self.limiter.pending().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_oldest_pending_connection_is_closed_for_a_newer_one() {
        let limiter = ConnectionLimiter::new(3, 1);
        let mut connections: Vec<_> = (0..3).map(|_| limiter.add()).collect();
        tokio::time::advance(GRACE).await;
        // A connection that was closed or admitted is not counted.
        drop(connections.remove(1));
        connections.push(limiter.add());
        let evicted = |connections: &[PendingConnection]| -> Vec<bool> {
            let evicted = connections.iter();
            let evicted = evicted.map(|connection| connection.eviction.is_cancelled());
            evicted.collect()
        };
        assert_eq!(evicted(&connections), [false, false, false]);
        connections.push(limiter.add());
        assert_eq!(evicted(&connections), [true, false, false, false]);
        // An evicted connection is not counted, even if it is not closed yet.
        connections.push(limiter.add());
        assert_eq!(evicted(&connections), [true, true, false, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_connection_is_closed_before_it_could_send_a_request() {
        let limiter = ConnectionLimiter::new(1, 1);
        let connection = limiter.add();
        let before = Instant::now();
        limiter.wait_for_room().await;
        assert_eq!(before.elapsed(), GRACE);
        assert!(!connection.eviction.is_cancelled());
        drop(connection);
        limiter.wait_for_room().await;
        assert_eq!(before.elapsed(), GRACE);
    }
}

//! The lobby of a port: connections that have not said yet what they want.
//!
//! They have room of their own, beside the places of those that have. When it is full, the oldest of them is asked to
//! leave: whoever opens thousands of connections and stays silent drives out their own and nobody else, because a client
//! with a wish says it at once. Knows no protocol; what counts as a wish is decided by whoever serves the port.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long nobody is asked to leave after they came: more than the way from there takes. While everybody is that new,
/// further connections wait to be accepted.
const GRACE: Duration = Duration::from_millis(250);
/// How long the door is shut where the machine has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The lobby and the places behind it.
#[derive(Clone, Debug)]
pub struct ConnectionLimiter {
    guests_max: usize,
    guests: Arc<Mutex<Guests>>,
    places: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Guests {
    next: u64,
    /// When each came and how it is asked to leave, the oldest first.
    present: BTreeMap<u64, (Instant, CancellationToken)>,
}

/// A connection in the lobby; it is out when this is dropped.
#[derive(Debug)]
pub struct PendingConnection {
    number: u64,
    leaving: CancellationToken,
    lobby: ConnectionLimiter,
}

impl ConnectionLimiter {
    /// A lobby for so many, and places for so many.
    #[must_use]
    pub fn new(guests_max: usize, places_max: usize) -> Self {
        Self {
            guests_max,
            guests: Arc::default(),
            places: Arc::new(Semaphore::new(places_max)),
        }
    }

    /// The places for those that have said what they want.
    #[must_use]
    pub fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.places)
    }

    /// Accepts the next connection. Cancelling it loses none.
    pub async fn accept(&self, listener: &TcpListener) -> (TcpStream, PendingConnection) {
        loop {
            self.room().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Small messages must not wait for each other's acknowledgement.
                    let _ = stream.set_nodelay(true);
                    return (stream, self.enter());
                }
                // The peer was gone before it was there, or the machine is out of something that comes back.
                Err(error) => {
                    tracing::debug!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Waits until there is room, or until somebody has been here for long enough to be asked to leave.
    async fn room(&self) {
        loop {
            let oldest = {
                let guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
                if guests.present.len() < self.guests_max {
                    return;
                }
                guests.present.first_key_value().map(|(_, guest)| guest.0)
            };
            match oldest {
                Some(came) if came.elapsed() < GRACE => {
                    tokio::time::sleep_until(came + GRACE).await;
                }
                _ => return,
            }
        }
    }

    fn enter(&self) -> PendingConnection {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        while guests.present.len() >= self.guests_max {
            match guests.present.pop_first() {
                Some((_, (_, leaving))) => leaving.cancel(),
                None => break,
            }
        }
        let (number, leaving) = (guests.next, CancellationToken::new());
        guests.next += 1;
        let guest = (Instant::now(), leaving.clone());
        guests.present.insert(number, guest);
        PendingConnection {
            number,
            leaving,
            lobby: self.clone(),
        }
    }
}

impl PendingConnection {
    /// Ends when the guest has taken longer than it may, or has to make room for newer ones.
    pub fn overdue(&self, longest: Duration) -> impl Future<Output = ()> + Send + 'static {
        let leaving = self.asked_to_leave();
        async move {
            let _ = tokio::time::timeout(longest, leaving).await;
        }
    }

    /// Ends when the guest has to make room for newer ones.
    pub fn asked_to_leave(&self) -> WaitForCancellationFutureOwned {
        self.leaving.clone().cancelled_owned()
    }
}

impl Drop for PendingConnection {
    fn drop(&mut self) {
        let guests = &self.lobby.guests;
        let mut guests = guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.present.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room_and_nobody_else() {
        let lobby = ConnectionLimiter::new(3, 1);
        let mut guests: Vec<_> = (0..3).map(|_| lobby.enter()).collect();
        tokio::time::advance(GRACE).await;
        // One that has left or taken a place is in nobody's way.
        drop(guests.remove(1));
        guests.push(lobby.enter());
        let is_leaving = |guests: &[PendingConnection]| -> Vec<bool> {
            let leaving = guests.iter().map(|guest| guest.leaving.is_cancelled());
            leaving.collect()
        };
        assert_eq!(is_leaving(&guests), [false, false, false]);
        guests.push(lobby.enter());
        assert_eq!(is_leaving(&guests), [true, false, false, false]);
        // Who was asked to leave is not counted, however long it takes.
        guests.push(lobby.enter());
        assert_eq!(is_leaving(&guests), [true, true, false, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_to_leave_before_they_could_say_anything() {
        let lobby = ConnectionLimiter::new(1, 1);
        let guest = lobby.enter();
        let before = Instant::now();
        lobby.room().await;
        assert_eq!(before.elapsed(), GRACE);
        assert!(!guest.leaving.is_cancelled());
        drop(guest);
        lobby.room().await;
        assert_eq!(before.elapsed(), GRACE);
    }
}

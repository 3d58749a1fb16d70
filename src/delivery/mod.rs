//! Gets the mails out: claims what is due, renders, sends, settles.
//!
//! A mail is tried by one worker at a time, under a lease with a fencing token. A worker that dies needs no rescuer: its
//! leases run out and the reaper queues the mails again. Nothing here holds a transaction while it talks to a relay.
//! Knows the store and mail; knows nothing of who asked for an invitation.

mod attempt;
mod backoff;
mod lane;
mod reaper;
mod worker;

use std::time::Duration;

pub use attempt::Mailroom;
pub use reaper::Reaper;
pub use worker::Worker;

/// How mails are delivered. Every value is a field of the configuration, which says why it is what it is.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryConfig {
    /// Mails sent at once, each over a connection of its own.
    pub connections: usize,
    /// How long a claimed mail belongs to its worker, unless it asks for more time.
    pub lease_duration: Duration,
    /// How often to look for mails that are due.
    pub poll_interval: Duration,
    /// How long to wait for mails in flight when the process ends.
    pub drain_timeout: Duration,
    /// How long to leave a relay alone after it failed; doubles with each failure in a row.
    pub lane_pause: Duration,
}

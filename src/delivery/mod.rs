//! Gets the mails out: claims what is due, writes, sends, settles.
//!
//! A mail is tried by one worker at a time, under a lease with a fencing token. A worker that dies needs no rescuer: its
//! leases run out and the reaper queues the mails again. Nothing here holds a transaction while it talks to a relay.
//! Knows the store and mail; knows nothing of who asked for an invitation.
//!
//! In reading order: the `worker` claims into its `stock` and hands mails to its `lane`s, each with a `breaker`, a
//! `pace` and a `domain_limit`; an `attempt` sends one mail and a `batch` many in one call, both out of the `mailroom`;
//! the `settler` writes down what became of them, and `backoff` says when to try again.

mod attempt;
mod backoff;
mod batch;
mod breaker;
mod domain_limit;
mod lane;
mod look;
mod mailroom;
mod pace;
mod reaper;
mod settler;
mod slot;
mod stock;
mod worker;

use std::time::Duration;

pub use attempt::Ambiguous;
pub use domain_limit::DomainCaps;
pub use lane::{LaneConfig, Route};
pub use mailroom::Mailroom;
pub use reaper::Reaper;
pub use worker::Worker;

/// How mails are delivered. Every value is a field of the configuration, which says why it is what it is.
#[derive(Debug, Clone)]
pub struct DeliveryConfig {
    /// The ways out.
    pub lanes: Vec<LaneConfig>,
    /// How long a claimed mail belongs to its worker, unless it asks for more time.
    pub lease_duration: Duration,
    /// How often to look for mails that are due.
    pub poll_interval: Duration,
    /// How long to wait for mails in flight when the process ends.
    pub drain_timeout: Duration,
    /// What to do with a mail that may or may not have been accepted.
    pub ambiguous: Ambiguous,
}

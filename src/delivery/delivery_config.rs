//! The settings of delivery. `settings` documents each value and its default.

use std::time::Duration;

use crate::mail::providers::ProviderTransport;
use crate::mail::transport::Transport;

#[derive(Debug, Clone)]
pub struct DeliveryConfig {
    pub lanes: Vec<LaneConfig>,
    /// How long a claim lasts unless the worker extends it.
    pub lease_duration: Duration,
    pub poll_interval: Duration,
    /// How long a shutdown waits for emails in flight.
    pub drain_timeout: Duration,
    pub ambiguous: AmbiguousPolicy,
}

/// What to do with an email that may or may not have been accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AmbiguousPolicy {
    /// Send the same message again: it may arrive twice and is never lost.
    Retry,
    /// Give the email up, for an operator to decide: it may be lost. This does not apply to an email whose worker
    /// crashed during an SMTP session: the reaper queues the email again, so it may arrive twice.
    Hold,
}

#[derive(Debug, Clone)]
pub struct LaneConfig {
    /// Unique. Logs and persisted batches use it.
    pub name: String,
    /// The share of the emails when several lanes have capacity. A lane of weight 0 is a spare, used only while no
    /// other lane is available.
    pub weight: u32,
    pub transport: LaneTransport,
    /// In emails per second.
    pub rate_max: Option<f64>,
    pub domain_caps: DomainCaps,
    /// How long the lane rests after it failed, and between two emails that probe it.
    pub pause: Duration,
}

#[derive(Debug, Clone)]
pub enum LaneTransport {
    /// One email at a time over each connection.
    PerMessage {
        transport: Transport,
        connections: usize,
    },
    /// Many emails in one call.
    Batches {
        provider: ProviderTransport,
        calls: usize,
        /// In calls per second.
        calls_rate_max: Option<f64>,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DomainCaps {
    /// The most emails in flight to one domain.
    pub in_flight_max: Option<usize>,
    /// In emails per second to one domain.
    pub rate_max: Option<f64>,
}

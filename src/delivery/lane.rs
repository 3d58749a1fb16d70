//! A lane: one way out, with what it may be asked for and what is known of it.

use std::time::Duration;

use super::breaker::Breaker;
use super::domain_limit::{DomainCaps, DomainLimit};
use super::pace::Pace;
use crate::mail::provider::ProviderTransport;
use crate::mail::transport::Transport;

/// How a lane carries mails.
#[derive(Debug, Clone)]
pub enum Route {
    /// One mail at a time over each of a number of connections.
    Each {
        /// Where to.
        transport: Transport,
        /// Mails sent at once, each over a connection of its own.
        connections: usize,
    },
    /// Many mails in one call.
    Batches {
        /// To whom.
        provider: ProviderTransport,
        /// Calls made at once.
        calls: usize,
        /// Most calls in a second.
        calls_rate_max: Option<f64>,
    },
}

/// One way out, as configured.
#[derive(Debug, Clone)]
pub struct LaneConfig {
    /// What logs and batches call it; unique.
    pub name: String,
    /// Its share of the mails where several lanes have room; 0 for a spare, which is used while no other lane works.
    pub weight: u32,
    /// How it carries them.
    pub route: Route,
    /// Most mails a second.
    pub rate_max: Option<f64>,
    /// Caps for each recipient domain.
    pub domain_caps: DomainCaps,
    /// How long to leave it alone after it failed; doubles with each failure in a row.
    pub pause: Duration,
}

/// What is known of a lane, shared by everything that sends over it.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: String,
    pub(super) weight: u32,
    pub(super) breaker: Breaker,
    /// How many mails go out.
    pub(super) pace: Pace,
    /// How many calls are made, where many mails go out in one: that is what providers count. Spent where a call is made.
    pub(super) calls: Option<Pace>,
    pub(super) domains: DomainLimit,
}

impl Lane {
    pub(super) fn new(config: &LaneConfig) -> Self {
        Self {
            name: config.name.clone(),
            weight: config.weight,
            breaker: Breaker::new(config.pause),
            pace: Pace::new(config.rate_max),
            calls: match config.route {
                Route::Each { .. } => None,
                Route::Batches { calls_rate_max, .. } => Some(Pace::new(calls_rate_max)),
            },
            domains: DomainLimit::new(config.domain_caps),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.breaker.closed_until().is_none()
    }

    /// The relay asks for less.
    pub(super) fn slow_down(&self) {
        self.calls.as_ref().unwrap_or(&self.pace).slow_down();
    }
}

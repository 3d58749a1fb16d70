//! Limits the emails to one recipient domain, for relays that pass on the limits of large mailbox providers.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::delivery_config::DomainCaps;

#[derive(Debug)]
pub(super) struct DomainLimit {
    caps: DomainCaps,
    domains: Mutex<HashMap<String, DomainUsage>>,
}

#[derive(Debug)]
struct DomainUsage {
    in_flight: usize,
    free_at: Instant,
}

impl DomainLimit {
    pub(super) fn new(caps: DomainCaps) -> Self {
        Self {
            caps,
            domains: Mutex::default(),
        }
    }

    pub(super) fn is_capped(&self) -> bool {
        self.caps != DomainCaps::default()
    }

    /// Counts one more email in flight to a domain until [`leave`](Self::leave). `false` if a cap forbids it now.
    pub(super) fn try_enter(&self, domain: &str) -> bool {
        if !self.is_capped() {
            return true;
        }
        let now = Instant::now();
        let mut domains = self.domains();
        // An idle domain whose rate allows the next email needs no entry.
        domains.retain(|_, usage| usage.in_flight > 0 || usage.free_at > now);
        let usage = domains.entry(domain.to_owned()).or_insert(DomainUsage {
            in_flight: 0,
            free_at: now,
        });
        let in_flight_max = self.caps.in_flight_max.unwrap_or(usize::MAX);
        if usage.in_flight >= in_flight_max || usage.free_at > now {
            return false;
        }
        usage.in_flight += 1;
        if let Some(rate) = self.caps.rate_max {
            usage.free_at = now + Duration::from_secs_f64(1.0 / rate);
        }
        true
    }

    pub(super) fn leave(&self, domain: &str) {
        if let Some(usage) = self.domains().get_mut(domain) {
            usage.in_flight = usage.in_flight.saturating_sub(1);
        }
    }

    fn domains(&self) -> MutexGuard<'_, HashMap<String, DomainUsage>> {
        self.domains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_domain_at_its_caps_does_not_block_other_domains() {
        let limit = DomainLimit::new(DomainCaps {
            in_flight_max: Some(2),
            rate_max: Some(10.0),
        });
        assert!(limit.try_enter("a.example"));
        assert!(!limit.try_enter("a.example"), "not twice in 100 ms");
        assert!(limit.try_enter("b.example"));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(limit.try_enter("a.example"));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(!limit.try_enter("a.example"), "two emails are in flight");
        limit.leave("a.example");
        assert!(limit.try_enter("a.example"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_caps_no_domain_is_counted() {
        let limit = DomainLimit::new(DomainCaps::default());
        assert!((0..1_000).all(|_| limit.try_enter("a.example")));
        assert!(limit.domains().is_empty());
    }
}

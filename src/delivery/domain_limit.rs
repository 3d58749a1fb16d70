//! How much mail one receiving domain gets at once, for relays that pass the limits of large mailbox providers on.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Caps for each recipient domain.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DomainCaps {
    /// Most mails on their way to one domain at once.
    pub in_flight_max: Option<usize>,
    /// Most mails to one domain in a second.
    pub rate_max: Option<f64>,
}

/// What is on its way to whom.
#[derive(Debug)]
pub(super) struct DomainLimit {
    caps: DomainCaps,
    domains: Mutex<HashMap<String, Use>>,
}

#[derive(Debug)]
struct Use {
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

    /// Whether there is any cap.
    pub(super) fn is_capped(&self) -> bool {
        self.caps != DomainCaps::default()
    }

    /// Whether one more mail may go to a domain now; if so it counts as on its way until [`leave`](Self::leave).
    pub(super) fn enter(&self, domain: &str) -> bool {
        if !self.is_capped() {
            return true;
        }
        let now = Instant::now();
        let mut domains = self.domains();
        // Whoever was served and is free again needs no entry.
        domains.retain(|_, used| used.in_flight > 0 || used.free_at > now);
        let used = domains.entry(domain.to_owned()).or_insert(Use {
            in_flight: 0,
            free_at: now,
        });
        let is_full = self
            .caps
            .in_flight_max
            .is_some_and(|most| used.in_flight >= most);
        if is_full || used.free_at > now {
            return false;
        }
        used.in_flight += 1;
        if let Some(rate) = self.caps.rate_max {
            used.free_at = now + Duration::from_secs_f64(1.0 / rate);
        }
        true
    }

    /// A mail to a domain is no longer on its way.
    pub(super) fn leave(&self, domain: &str) {
        if let Some(used) = self.domains().get_mut(domain) {
            used.in_flight = used.in_flight.saturating_sub(1);
        }
    }

    fn domains(&self) -> MutexGuard<'_, HashMap<String, Use>> {
        self.domains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_domain_is_served_by_its_caps_and_holds_nobody_else() {
        let limit = DomainLimit::new(DomainCaps {
            in_flight_max: Some(2),
            rate_max: Some(10.0),
        });
        assert!(limit.enter("a.example"));
        assert!(!limit.enter("a.example"), "not twice in 100 ms");
        assert!(limit.enter("b.example"));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(limit.enter("a.example"));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!(!limit.enter("a.example"), "two are on their way");
        limit.leave("a.example");
        assert!(limit.enter("a.example"));
    }

    #[tokio::test(start_paused = true)]
    async fn no_cap_counts_nothing() {
        let limit = DomainLimit::new(DomainCaps::default());
        assert!((0..1_000).all(|_| limit.enter("a.example")));
        assert!(limit.domains().is_empty());
    }
}

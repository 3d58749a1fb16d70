//! The memory for the bodies of requests. Each route has its own share, so a flood of one leaves the others served.
//!
//! A body whose sender is not authenticated yet also counts against a share of the network that it comes from.

use std::net::{IpAddr, Ipv6Addr};

use super::limits::{
    PROVIDER_MEMORY_PERCENT, UNSUBSCRIBE_MEMORY_PERCENT, UNVERIFIED_NETWORK_PERCENT,
};
use crate::capacity::{Capacity, Reservation};
use crate::domain::reason::Reason;

/// Bits of an IPv6 address that name a host, which its owner chooses.
const HOST_BITS: u32 = 64;

/// A route whose bodies share a part of the memory for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyRoute {
    Unsubscribe,
    Postmark,
    Resend,
}

/// The network that a request comes from: an IPv4 address, or the first half of an IPv6 address.
#[derive(Debug, Clone)]
pub(super) struct PeerNetwork(String);

#[derive(Debug, Clone)]
pub(super) struct BodyMemory {
    messages: Capacity,
    /// Counts the bodies of unauthenticated senders a second time, by their networks.
    unverified: Capacity,
}

/// The memory of one body.
#[derive(Debug)]
pub(super) struct BodyReservation {
    route: Reservation,
    /// `None` for an authenticated sender.
    network: Option<Reservation>,
}

impl BodyRoute {
    const fn holder(self) -> &'static str {
        match self {
            Self::Unsubscribe => "http:unsubscribe",
            Self::Postmark => "http:postmark",
            Self::Resend => "http:resend",
        }
    }

    const fn memory_percent(self) -> usize {
        match self {
            Self::Unsubscribe => UNSUBSCRIBE_MEMORY_PERCENT,
            Self::Postmark | Self::Resend => PROVIDER_MEMORY_PERCENT,
        }
    }
}

impl PeerNetwork {
    pub(super) fn of(ip: IpAddr) -> Self {
        Self(match ip.to_canonical() {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => {
                Ipv6Addr::from_bits(ip.to_bits() >> HOST_BITS << HOST_BITS).to_string()
            }
        })
    }
}

impl BodyMemory {
    pub(super) fn new(messages: Capacity) -> Self {
        let unverified = Capacity::new(percent(messages.total(), PROVIDER_MEMORY_PERCENT));
        Self {
            messages,
            unverified,
        }
    }

    /// Begins a body without bytes. `unverified` is the network of a sender that is not authenticated yet.
    pub(super) fn begin(
        &self,
        route: BodyRoute,
        unverified: Option<&PeerNetwork>,
    ) -> Result<BodyReservation, Reason> {
        let share = percent(self.messages.total(), route.memory_percent());
        let network = unverified.map(|network| {
            let share = percent(share, UNVERIFIED_NETWORK_PERCENT);
            self.unverified.reserve(&network.0, share, 0)
        });
        Ok(BodyReservation {
            route: self.messages.reserve(route.holder(), share, 0)?,
            network: network.transpose()?,
        })
    }
}

impl BodyReservation {
    /// Changes the amount. After an error the body must be dropped.
    pub(super) fn resize(&mut self, amount: usize) -> Result<(), Reason> {
        if let Some(network) = &mut self.network {
            network.resize(amount)?;
        }
        self.route.resize(amount)
    }

    /// Releases the share of the network, because the sender is authenticated now.
    pub(super) fn release_network(&mut self) {
        self.network = None;
    }
}

const fn percent(total: usize, percent: usize) -> usize {
    total / 100 * percent
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: usize = 1_000_000;

    fn network(ip: &str) -> PeerNetwork {
        PeerNetwork::of(ip.parse().unwrap())
    }

    #[test]
    fn an_unauthenticated_network_gets_a_quarter_of_its_route_and_nothing_of_the_others() {
        let memory = BodyMemory::new(Capacity::new(TOTAL));
        let (first, same, other) = (
            network("2001:db8::1"),
            network("2001:db8::2"),
            network("10.0.0.1"),
        );
        let mut body = memory.begin(BodyRoute::Resend, Some(&first)).unwrap();
        body.resize(15_000).unwrap();
        let mut further = memory.begin(BodyRoute::Resend, Some(&same)).unwrap();
        assert!(further.resize(1).is_err());
        let mut of_other = memory.begin(BodyRoute::Resend, Some(&other)).unwrap();
        of_other.resize(15_000).unwrap();
        body.release_network();
        further.resize(15_000).unwrap();
        for (route, share) in [
            (BodyRoute::Postmark, 60_000),
            (BodyRoute::Unsubscribe, 20_000),
        ] {
            let mut body = memory.begin(route, None).unwrap();
            assert!(body.resize(share + 1).is_err(), "{route:?}");
            body.resize(share).unwrap();
        }
    }
}

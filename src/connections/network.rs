//! The network of a peer, within which connections and calls without a caller count together.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that name a host, which its owner chooses.
const HOST_BITS: u32 = 64;

/// An IPv4 address, or the first half of an IPv6 address: one customer has at least that many addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Network(IpAddr);

impl Network {
    pub(crate) fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V6(ip) => {
                let prefix = ip.to_bits() >> HOST_BITS << HOST_BITS;
                Self(IpAddr::V6(Ipv6Addr::from_bits(prefix)))
            }
            ip @ IpAddr::V4(_) => Self(ip),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_customer_are_one_network() {
        let network = |ip: &str| Network::of(ip.parse().unwrap());
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
        assert_eq!(network("::ffff:10.0.0.1"), network("10.0.0.1"));
        assert_eq!(network("2001:db8::1").to_string(), "2001:db8::");
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}

//! The proxies whose header about the certificate of a client is trusted.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::domain::certificate_identity::CertificateIdentity;
use crate::grpc::admission::peer_identities::PeerIdentities;

/// Trusted proxies, by network or by certificate. None by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    identities: Vec<CertificateIdentity>,
}

impl TrustedProxies {
    /// Parses a list of IP networks (`10.1.2.0/24`, `::1`) and of identities of client certificates
    /// (`spiffe://…`, `dns:…`).
    ///
    /// # Errors
    ///
    /// One sentence for each entry that is neither, or that matches every address.
    pub fn parse(entries: &[String]) -> Result<Self, Vec<String>> {
        let mut proxies = Self::default();
        let mut problems = Vec::new();
        for (number, entry) in (1..).zip(entries) {
            let entry = entry.trim();
            let network = entry.parse::<IpNet>();
            let network = network.or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
            match (network, entry.parse()) {
                (Ok(network), _) if network.prefix_len() == 0 => {
                    problems.push(format!("entry {number} would trust every address"));
                }
                (Ok(network), _) => proxies.networks.push(network),
                (_, Ok(identity)) => proxies.identities.push(identity),
                _ => problems.push(format!(
                    "entry {number} is neither an IP network nor spiffe://trust-domain/path nor dns:name"
                )),
            }
        }
        if problems.is_empty() {
            Ok(proxies)
        } else {
            Err(problems)
        }
    }

    pub const fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.identities.is_empty()
    }

    pub(crate) fn has(&self, ip: Option<IpAddr>, certificate: Option<&PeerIdentities>) -> bool {
        // A socket for both families shows IPv4 peers as ::ffff:a.b.c.d.
        let ip = ip.map(|ip| ip.to_canonical());
        let is_within =
            ip.is_some_and(|ip| self.networks.iter().any(|network| network.contains(&ip)));
        let mut shown = certificate
            .map(PeerIdentities::as_slice)
            .unwrap_or_default()
            .iter();
        is_within || shown.any(|identity| self.identities.contains(identity))
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer_identities::San;
    use super::*;

    fn parse(entries: &[&str]) -> Result<TrustedProxies, Vec<String>> {
        let entries: Vec<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        TrustedProxies::parse(&entries)
    }

    #[test]
    fn a_proxy_is_known_by_its_network_or_its_certificate() {
        let proxies = parse(&["10.1.0.0/16", " ::1", "spiffe://a.example/ingress"]).unwrap();
        let by_ip = |ip: &str| proxies.has(Some(ip.parse().unwrap()), None);
        assert!(by_ip("10.1.2.3") && by_ip("::ffff:10.1.2.3") && by_ip("::1"));
        assert!(!by_ip("10.2.0.1") && !by_ip("::2") && !by_ip("127.0.0.1"));
        let by_uri = |uri: &str| {
            let identities = PeerIdentities::of_sans(vec![San::Uri(uri.to_owned())]);
            proxies.has(None, identities.as_ref())
        };
        assert!(by_uri("spiffe://a.example/ingress"));
        assert!(!by_uri("spiffe://a.example/ingress/x"));
        assert!(!proxies.has(None, None));
        assert!(!TrustedProxies::default().has(Some("127.0.0.1".parse().unwrap()), None));
    }

    #[test]
    fn every_invalid_entry_is_reported() {
        let entries = [
            "0.0.0.0/0",
            "10.0.0.0/33",
            "::/0",
            "proxy",
            "10.0.0.1",
            "dns:*.a",
            "",
        ];
        let problems = parse(&entries).unwrap_err();
        let entries: Vec<_> = problems.iter().map(|problem| &problem[..7]).collect();
        assert_eq!(
            entries,
            [
                "entry 1", "entry 2", "entry 3", "entry 4", "entry 6", "entry 7"
            ]
        );
    }
}

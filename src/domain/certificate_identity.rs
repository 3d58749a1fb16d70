//! The identity in a client certificate: a SPIFFE id or a DNS name, never the common name.
//!
//! It is written as `spiffe://trust-domain/path` or `dns:name`. This module reads neither certificates nor headers.

use std::fmt;
use std::str::FromStr;

/// Longest SPIFFE id, in bytes (SPIFFE-ID §2.3).
const SPIFFE_ID_BYTES_MAX: usize = 2_048;
/// Longest trust domain, in bytes (SPIFFE-ID §2.1).
const TRUST_DOMAIN_BYTES_MAX: usize = 255;
/// Longest DNS name, in bytes without the final dot (RFC 1035 §2.3.4).
const DNS_NAME_BYTES_MAX: usize = 253;
/// Longest label of a DNS name, in bytes (RFC 1035 §2.3.4).
const DNS_LABEL_BYTES_MAX: usize = 63;

/// One name of a certificate. Names are compared byte by byte, without wildcards and prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CertificateIdentity {
    Spiffe(String),
    /// A DNS name in lower case.
    Dns(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateIdentityError {
    #[error("must be spiffe://trust-domain/path or dns:name")]
    Kind,
    #[error(
        "not the SPIFFE id of a workload: a trust domain of a-z, 0-9, \".\", \"-\" and \"_\", and a path of segments of \
         A-Z, a-z, 0-9, \".\", \"-\" and \"_\""
    )]
    Spiffe,
    #[error("not a DNS name in lower case without wildcard and final dot")]
    Dns,
}

impl CertificateIdentity {
    /// The identity in a SAN of type URI. A URI that is not a SPIFFE id is refused.
    pub fn from_uri(uri: &str) -> Result<Self, CertificateIdentityError> {
        let identity = is_spiffe_id(uri).then(|| Self::Spiffe(uri.to_owned()));
        identity.ok_or(CertificateIdentityError::Spiffe)
    }

    /// The identity in a SAN of type DNS, in any case. A wildcard is refused.
    pub fn from_dns(name: &str) -> Result<Self, CertificateIdentityError> {
        let name = name.to_ascii_lowercase();
        is_dns_name(&name)
            .then_some(Self::Dns(name))
            .ok_or(CertificateIdentityError::Dns)
    }
}

impl FromStr for CertificateIdentity {
    type Err = CertificateIdentityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("dns:") {
            Some(name) if is_dns_name(name) => Ok(Self::Dns(name.to_owned())),
            Some(_) => Err(CertificateIdentityError::Dns),
            None if text.starts_with("spiffe:") => Self::from_uri(text),
            None => Err(CertificateIdentityError::Kind),
        }
    }
}

impl fmt::Display for CertificateIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spiffe(id) => formatter.write_str(id),
            Self::Dns(name) => write!(formatter, "dns:{name}"),
        }
    }
}

/// SPIFFE-ID §2: ids are not normalized, so each id has one spelling. An id without a path names a trust domain and not
/// a workload, so it is refused.
fn is_spiffe_id(uri: &str) -> bool {
    let parts = uri.strip_prefix("spiffe://");
    let Some((trust_domain, path)) = parts.and_then(|parts| parts.split_once('/')) else {
        return false;
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let is_trust_domain = (1..=TRUST_DOMAIN_BYTES_MAX).contains(&trust_domain.len())
        && trust_domain.bytes().all(is_plain)
        && !trust_domain.contains(char::is_uppercase);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain);
    uri.len() <= SPIFFE_ID_BYTES_MAX && is_trust_domain && path.split('/').all(is_segment)
}

fn is_dns_name(name: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    let is_label = |label: &str| {
        (1..=DNS_LABEL_BYTES_MAX).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(is_plain)
    };
    name.len() <= DNS_NAME_BYTES_MAX && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_identities_are_written_as_they_were_read() {
        for text in [
            "spiffe://example.org/ns/prod/sa/onboarding",
            "spiffe://cluster.local/ns/default/sa/api",
            "spiffe://a_b-1/A.b_c-9/...",
            "dns:onboarding.example.com",
            "dns:localhost",
        ] {
            let identity: CertificateIdentity = text.parse().unwrap();
            assert_eq!(identity.to_string(), text);
        }
    }

    #[test]
    fn ambiguous_and_malformed_identities_are_refused() {
        let (long_domain, long_path) = ("a".repeat(256), "a".repeat(2_048));
        for text in [
            "",
            "onboarding",
            "https://example.org/a",
            "CN=onboarding",
            "spiffe:",
            "spiffe://",
            "spiffe:///a",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/./a",
            "spiffe://example.org/a/..",
            "spiffe://Example.org/a",
            "SPIFFE://example.org/a",
            "spiffe://user@example.org/a",
            "spiffe://example.org:443/a",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/%61",
            "spiffe://example.org/é",
            "spiffe://example.org/a b",
            "spiffe://example.org/*",
            "dns:",
            "dns:*.example.com",
            "dns:Example.com",
            "dns:example.com.",
            "dns:a..b",
            "dns:-a.example.com",
            "dns:é.example.com",
            "DNS:example.com",
            &format!("spiffe://{long_domain}/a"),
            &format!("spiffe://example.org/{long_path}"),
            &format!("dns:{}", "a".repeat(64)),
        ] {
            assert!(text.parse::<CertificateIdentity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn dns_names_of_certificates_are_lowered_and_wildcards_refused() {
        let identity = CertificateIdentity::from_dns("API.Example.com").unwrap();
        assert_eq!(identity.to_string(), "dns:api.example.com");
        assert!(CertificateIdentity::from_dns("*.example.com").is_err());
    }

    proptest! {
        #[test]
        fn every_identity_is_written_as_it_was_read(text in "(spiffe://|dns:)?[a-zA-Z0-9./_%:@?# -]{0,40}") {
            if let Ok(identity) = text.parse::<CertificateIdentity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }
    }
}

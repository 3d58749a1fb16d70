//! The identities in a client certificate: its subject alternative names.
//!
//! The certificate was verified by TLS, here or by a trusted proxy. The subject, common name included, does not count.

use std::fmt;

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use crate::domain::certificate_identity::CertificateIdentity;

/// The scheme of SPIFFE ids, well formed or not.
const SPIFFE_SCHEME: &str = "spiffe:";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum San {
    Uri(String),
    Dns(String),
}

/// The identities in a verified client certificate. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerIdentities(Vec<CertificateIdentity>);

impl PeerIdentities {
    /// The identities in a certificate. `None` if it has none, or breaks the rules of SPIFFE.
    pub(crate) fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut sans = Vec::new();
        for name in &certificate
            .subject_alternative_name()
            .ok()??
            .value
            .general_names
        {
            match name {
                GeneralName::URI(uri) => sans.push(San::Uri((*uri).to_owned())),
                GeneralName::DNSName(name) => sans.push(San::Dns((*name).to_owned())),
                GeneralName::Invalid(..) => return None,
                _ => {}
            }
        }
        let identities = Self::of_sans(sans)?;
        let signs_others = match certificate.key_usage().ok()? {
            Some(usage) => usage.value.key_cert_sign() || usage.value.crl_sign(),
            None => false,
        };
        // X509-SVID section 4.3: the certificate of a workload must not sign other certificates.
        let is_workload = identities
            .0
            .iter()
            .any(|identity| matches!(identity, CertificateIdentity::Spiffe(_)));
        (!is_workload || !signs_others).then_some(identities)
    }

    /// The identities in subject alternative names. A SPIFFE id must be valid and the only URI (X509-SVID section 2). Other
    /// URIs and wildcards give no identity.
    pub(crate) fn of_sans(sans: Vec<San>) -> Option<Self> {
        let mut identities = Vec::new();
        let is_uri = |san: &&San| matches!(san, San::Uri(_));
        let has_one_uri = sans.iter().filter(is_uri).count() == 1;
        for san in sans {
            match san {
                San::Uri(uri) if is_meant_for_spiffe(&uri) => {
                    let identity = CertificateIdentity::from_uri(&uri).ok()?;
                    identities.push(has_one_uri.then_some(identity)?);
                }
                San::Uri(_) => {}
                San::Dns(name) => identities.extend(CertificateIdentity::from_dns(&name)),
            }
        }
        (!identities.is_empty()).then_some(Self(identities))
    }

    pub(crate) fn as_slice(&self) -> &[CertificateIdentity] {
        &self.0
    }
}

impl fmt::Display for PeerIdentities {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, identity) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(formatter, "{separator}{identity}")?;
        }
        Ok(())
    }
}

fn is_meant_for_spiffe(uri: &str) -> bool {
    uri.get(..SPIFFE_SCHEME.len())
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case(SPIFFE_SCHEME))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, KeyUsagePurpose, SanType};

    use super::*;

    const WEB: &str = "spiffe://a.example/web";

    fn identified(uris: &[&str], names: &[&str], usages: Vec<KeyUsagePurpose>) -> Option<String> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        let common_name = "spiffe://a.example/admin";
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.key_usages = usages;
        for uri in uris {
            let uri = (*uri).try_into().unwrap();
            params.subject_alt_names.push(SanType::URI(uri));
        }
        for name in names {
            let name = (*name).try_into().unwrap();
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let email = "admin@a.example".try_into().unwrap();
        params.subject_alt_names.push(SanType::Rfc822Name(email));
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        PeerIdentities::of_certificate(certificate.der()).map(|identities| identities.to_string())
    }

    #[test]
    fn the_identities_are_the_spiffe_id_and_the_dns_names() {
        let web = identified(&[WEB], &["Web.a.example", "*.a.example"], Vec::new());
        assert_eq!(web.unwrap(), format!("{WEB} dns:web.a.example"));
        let signature = vec![KeyUsagePurpose::DigitalSignature];
        assert_eq!(identified(&[WEB], &[], signature).unwrap(), WEB);
        let other = identified(&["https://a.example/web"], &["web.a.example"], Vec::new());
        assert_eq!(other.unwrap(), "dns:web.a.example");
    }

    #[test]
    fn a_certificate_that_breaks_the_rules_of_spiffe_has_no_identity() {
        for uris in [
            &[WEB, "spiffe://a.example/admin"] as &[&str],
            &[WEB, WEB],
            &[WEB, "https://a.example"],
            &["spiffe://a.example"],
            &["SPIFFE://a.example/web"],
            &["spiffe://a.example/web/"],
        ] {
            assert_eq!(
                identified(uris, &["web.a.example"], Vec::new()),
                None,
                "{uris:?}"
            );
        }
        for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
            assert_eq!(identified(&[WEB], &[], vec![usage]), None);
        }
    }

    #[test]
    fn the_common_name_and_email_addresses_are_no_identities() {
        assert_eq!(identified(&[], &[], Vec::new()), None);
        assert_eq!(identified(&[], &["*.a.example"], Vec::new()), None);
        assert_eq!(PeerIdentities::of_certificate(b"\x30\x00"), None);
    }
}

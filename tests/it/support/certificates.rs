//! Certificates for tests: roots, servers, clients, and the TLS of a client that shows one.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The name of every server.
pub(crate) const SERVER: &str = "invitations.example.com";

/// Somebody who vouches for others.
pub(crate) struct Root(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both in PEM.
#[derive(Clone)]
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Root {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "A root");
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Its certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of the server, good until a year.
    pub(crate) fn server(&self, ends: i32) -> Leaf {
        self.leaf(&[SERVER], ExtendedKeyUsagePurpose::ServerAuth, ends)
    }

    /// A certificate of a client, with SANs of type URI where they look like one.
    pub(crate) fn client(&self, names: &[&str]) -> Leaf {
        self.leaf(names, ExtendedKeyUsagePurpose::ClientAuth, 2100)
    }

    /// The same, expired.
    pub(crate) fn expired_client(&self, names: &[&str]) -> Leaf {
        self.leaf(names, ExtendedKeyUsagePurpose::ClientAuth, 2020)
    }

    fn leaf(&self, names: &[&str], usage: ExtendedKeyUsagePurpose, ends: i32) -> Leaf {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = date_time_ymd(2010, 1, 1);
        params.not_after = date_time_ymd(ends, 1, 1);
        params.extended_key_usages = vec![usage];
        for name in names {
            params.subject_alt_names.push(if name.contains("://") {
                SanType::URI((*name).try_into().unwrap())
            } else {
                SanType::DnsName((*name).try_into().unwrap())
            });
        }
        let key = KeyPair::generate().unwrap();
        Leaf {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The TLS of a client that believes in a root and may show a certificate.
pub(crate) fn client_tls(root: &Root, leaf: Option<&Leaf>) -> ClientTlsConfig {
    let tls = ClientTlsConfig::new()
        .domain_name(SERVER)
        .ca_certificate(Certificate::from_pem(root.pem()));
    match leaf {
        Some(leaf) => tls.identity(Identity::from_pem(&leaf.certificate, &leaf.key)),
        None => tls,
    }
}

//! X.509 certificates of servers and clients, and TLS configurations that use them.

use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// The DNS name in the certificate of every gRPC server.
pub(crate) const SERVER_NAME: &str = "invitations.example.com";

pub(crate) struct CertificateAuthority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, both in PEM.
#[derive(Clone)]
pub(crate) struct KeyedCertificate {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl CertificateAuthority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "A root");
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// The root certificate in PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate of the server that expires at the beginning of a year.
    pub(crate) fn server(&self, end_year: i32) -> KeyedCertificate {
        self.issue(
            &[SERVER_NAME],
            ExtendedKeyUsagePurpose::ServerAuth,
            end_year,
        )
    }

    /// A certificate of a client. A name with `://` becomes a SAN of type URI, another name one of type DNS.
    pub(crate) fn client(&self, names: &[&str]) -> KeyedCertificate {
        self.issue(names, ExtendedKeyUsagePurpose::ClientAuth, 2100)
    }

    pub(crate) fn expired_client(&self, names: &[&str]) -> KeyedCertificate {
        self.issue(names, ExtendedKeyUsagePurpose::ClientAuth, 2020)
    }

    fn issue(
        &self,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
        end_year: i32,
    ) -> KeyedCertificate {
        let mut params = params_until(end_year);
        params.extended_key_usages = vec![usage];
        for name in names {
            params.subject_alt_names.push(if name.contains("://") {
                SanType::URI((*name).try_into().unwrap())
            } else {
                SanType::DnsName((*name).try_into().unwrap())
            });
        }
        let key = KeyPair::generate().unwrap();
        KeyedCertificate {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn params_until(end_year: i32) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = date_time_ymd(2010, 1, 1);
    params.not_after = date_time_ymd(end_year, 1, 1);
    params
}

/// The TLS of a client that trusts a root and may present a certificate.
pub(crate) fn client_tls(
    root: &CertificateAuthority,
    certificate: Option<&KeyedCertificate>,
) -> ClientTlsConfig {
    let tls = ClientTlsConfig::new()
        .domain_name(SERVER_NAME)
        .ca_certificate(Certificate::from_pem(root.pem()));
    match certificate {
        Some(own) => tls.identity(Identity::from_pem(&own.certificate, &own.key)),
        None => tls,
    }
}

/// The TLS of a server called `localhost`, and its self-signed certificate in PEM, which expires at the beginning of a
/// year.
pub(crate) fn localhost_tls(end_year: i32) -> (TlsAcceptor, String) {
    let mut params = params_until(end_year);
    params.subject_alt_names = vec![SanType::DnsName("localhost".try_into().unwrap())];
    let signing_key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&signing_key).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), certificate.pem())
}

//! TLS towards a relay or a provider, prepared once at start.
//!
//! `rustls` with the system's certificates, whose verification cannot be turned off. STARTTLS is `lettre`'s and takes
//! its own form of the same setup; implicit TLS is around the stream before `lettre` sees it.

use std::fmt;
use std::sync::Arc;

use lettre::transport::smtp::client::{Certificate, TlsParameters};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::smtp::{SmtpConfig, SmtpConfigError, SmtpTls};

/// What a connection does about TLS.
pub(super) enum TlsSetup {
    None,
    StartTls(TlsParameters),
    Implicit {
        connector: TlsConnector,
        name: ServerName<'static>,
    },
}

impl TlsSetup {
    /// Loads the trusted certificates and checks that the host can be named in one.
    pub(super) fn prepare(config: &SmtpConfig) -> Result<Self, SmtpConfigError> {
        match config.tls {
            SmtpTls::None => Ok(Self::None),
            SmtpTls::StartTls => start_tls(config).map(Self::StartTls),
            SmtpTls::Implicit => {
                let roots = roots(config.extra_roots_pem.as_deref());
                let client = roots.and_then(client_config);
                let client = client.map_err(SmtpConfigError::Roots)?;
                let connector = TlsConnector::from(Arc::new(client));
                let name = server_name(&config.host)?;
                Ok(Self::Implicit { connector, name })
            }
        }
    }
}

fn server_name(host: &str) -> Result<ServerName<'static>, SmtpConfigError> {
    ServerName::try_from(host.to_owned()).map_err(|_| SmtpConfigError::Host)
}

fn start_tls(config: &SmtpConfig) -> Result<TlsParameters, SmtpConfigError> {
    server_name(&config.host)?;
    let mut parameters = TlsParameters::builder(config.host.clone());
    if let Some(pem) = &config.extra_roots_pem {
        let certificate = Certificate::from_pem(pem.as_bytes()).map_err(unreadable)?;
        parameters = parameters.add_root_certificate(certificate);
    }
    parameters.build().map_err(unreadable)
}

/// The system's certificates and those in PEM besides; never none.
pub(super) fn roots(extra_roots_pem: Option<&str>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = extra_roots_pem {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| error.to_string())?;
            roots.add(certificate).map_err(|error| error.to_string())?;
        }
    }
    if roots.is_empty() {
        return Err("the store is empty".to_owned());
    }
    Ok(roots)
}

/// A client that trusts these certificates.
pub(super) fn client_config(roots: RootCertStore) -> Result<ClientConfig, String> {
    Ok(
        ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

fn unreadable(error: impl fmt::Display) -> SmtpConfigError {
    SmtpConfigError::Roots(error.to_string())
}

//! TLS towards a relay, prepared once at start.
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
                let connector = TlsConnector::from(Arc::new(client_config(config)?));
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

fn client_config(config: &SmtpConfig) -> Result<ClientConfig, SmtpConfigError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = &config.extra_roots_pem {
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(unreadable)?;
            roots.add(certificate).map_err(unreadable)?;
        }
    }
    if roots.is_empty() {
        return Err(SmtpConfigError::Roots("the store is empty".to_owned()));
    }
    Ok(
        ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unreadable)?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

fn unreadable(error: impl fmt::Display) -> SmtpConfigError {
    SmtpConfigError::Roots(error.to_string())
}

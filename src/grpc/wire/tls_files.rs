//! The files of the server's TLS: its certificate, its key and the roots of client certificates, all in PEM.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use invitations_command::bounded_file::{self, FILE_BYTES_MAX};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// The only protocol of the port (RFC 9113 §3.2).
const ALPN: &[u8] = b"h2";
// The names of the settings, for error messages.
pub(super) const CERTIFICATE_FILE: &str = "tls-certificate-file";
const KEY_FILE: &str = "tls-key-file";
const CLIENT_ROOTS_FILE: &str = "tls-client-roots-file";

#[derive(Debug, Clone)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// `None` if clients are not asked for certificates.
    pub clients: Option<ClientCertificates>,
}

#[derive(Debug, Clone)]
pub struct ClientCertificates {
    pub roots: PathBuf,
    /// Whether a client without a certificate is refused. An invalid certificate is always refused.
    pub required: bool,
}

#[derive(Clone)]
pub(super) struct LoadedTls {
    pub(super) config: Arc<ServerConfig>,
    pub(super) expires_at: Option<OffsetDateTime>,
    pub(super) digest: [u8; 32],
}

struct PemContents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_roots: Option<Vec<u8>>,
}

impl TlsFiles {
    /// # Errors
    ///
    /// All problems, each with the name of its setting. An expired certificate is not a problem.
    pub(super) fn load(&self) -> Result<LoadedTls, Vec<String>> {
        self.read()?.load(self)
    }

    /// Returns `None` if the files still have this digest.
    pub(super) fn load_if_changed(
        &self,
        digest: [u8; 32],
    ) -> Result<Option<LoadedTls>, Vec<String>> {
        let contents = self.read()?;
        if contents.digest() == digest {
            return Ok(None);
        }
        contents.load(self).map(Some)
    }

    fn read(&self) -> Result<PemContents, Vec<String>> {
        let mut problems = Vec::new();
        let mut read = |file: &Path, setting: &str| {
            bounded_file::read_regular(file, FILE_BYTES_MAX).unwrap_or_else(|error| {
                problems.push(format!("{setting} {}: {error}", file.display()));
                Vec::new()
            })
        };
        let contents = PemContents {
            certificate: read(&self.certificate, CERTIFICATE_FILE),
            key: read(&self.key, KEY_FILE),
            client_roots: self
                .clients
                .as_ref()
                .map(|clients| read(&clients.roots, CLIENT_ROOTS_FILE)),
        };
        if problems.is_empty() {
            Ok(contents)
        } else {
            Err(problems)
        }
    }
}

impl PemContents {
    fn digest(&self) -> [u8; 32] {
        let parts = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_roots.as_ref(),
        ];
        let mut digest = Sha256::new();
        for part in parts.into_iter().flatten() {
            digest.update(Sha256::digest(part));
        }
        digest.finalize().into()
    }

    fn load(&self, files: &TlsFiles) -> Result<LoadedTls, Vec<String>> {
        let mut problems = Vec::new();
        let mut add = |setting: &str, file: &Path, problem: String| {
            problems.push(format!("{setting} {}: {problem}", file.display()));
        };
        let chain = parse_certificates(&self.certificate)
            .map_err(|problem| add(CERTIFICATE_FILE, &files.certificate, problem));
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            let problem = "holds no private key in PEM".to_owned();
            add(KEY_FILE, &files.key, problem);
        });
        let clients = self.client_roots.as_deref().zip(files.clients.as_ref());
        let clients = clients.map(|(pem, clients)| {
            parse_roots(pem)
                .map(|roots| (roots, clients.required))
                .map_err(|problem| add(CLIENT_ROOTS_FILE, &clients.roots, problem))
        });
        let (Ok(chain), Ok(key), Ok(clients)) = (chain, key, clients.transpose()) else {
            return Err(problems);
        };
        let expires_at = chain.first().and_then(expires_at);
        let config = server_config(chain, key, clients)
            .map_err(|problem| vec![format!("{CERTIFICATE_FILE}, {KEY_FILE}: {problem}")])?;
        Ok(LoadedTls {
            config: Arc::new(config),
            expires_at,
            digest: self.digest(),
        })
    }
}

fn parse_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("holds no certificate in PEM".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in parse_certificates(pem)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

fn expires_at(certificate: &CertificateDer<'_>) -> Option<OffsetDateTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let end = certificate.validity().not_after.timestamp();
    OffsetDateTime::from_unix_timestamp(end).ok()
}

/// `clients` are the roots of client certificates, and whether clients must present one.
fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    clients: Option<(RootCertStore, bool)>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some((roots, required)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if required {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            let verifier = verifier.build().map_err(|error| error.to_string())?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // A resumed session would not verify the client certificate again, which may have expired meanwhile.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

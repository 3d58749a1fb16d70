//! TLS of the port that answers calls: the certificate it shows and the certificates it asks for.
//!
//! Short-lived certificates are replaced under the service's feet, so the files are looked at again and again, and what
//! is new in them holds for the next handshake. Connections that live are left alone: their age ends them
//! ([`CONNECTION_AGE_MAX`](crate::grpc::wire::limits::CONNECTION_AGE_MAX)). Revocation lists are not read: whoever wants a
//! certificate gone gives it a short life or takes its root away.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::clock::{Clock as _, SystemClock};
use crate::grpc::wire::limits::CERTIFICATE_POLL_INTERVAL;

/// The one protocol that is spoken here (RFC 9113 §3.2).
const ALPN: &[u8] = b"h2";
/// What the settings are called, for messages about their files.
const CERTIFICATE_FILE: &str = "tls-certificate-file";
const KEY_FILE: &str = "tls-key-file";
const CLIENT_ROOTS_FILE: &str = "tls-client-roots-file";

/// Where the certificates are, all in PEM.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate of the server and those between it and its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whether clients are asked for certificates.
    pub clients: Option<ClientCertificates>,
}

/// How clients are asked for certificates.
#[derive(Debug, Clone)]
pub struct ClientCertificates {
    /// The roots that vouch for them.
    pub roots: PathBuf,
    /// Whether a client without one is turned away. One with a bad certificate always is.
    pub required: bool,
}

/// TLS, ready to shake hands.
#[derive(Clone)]
pub struct Tls {
    files: Arc<TlsFiles>,
    current: Arc<RwLock<Loaded>>,
}

/// What the files held when they were last good.
#[derive(Clone)]
struct Loaded {
    config: Arc<ServerConfig>,
    /// When the certificate ends.
    expires_at: Option<OffsetDateTime>,
    /// Of everything in the files.
    digest: [u8; 32],
}

/// The contents of the files.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_roots: Option<Vec<u8>>,
}

/// What was found when the files were looked at once more.
#[derive(Default)]
struct Look {
    /// What is wrong with them, from the last look; two looks at files that are being replaced may differ.
    problems: Option<String>,
    is_told: bool,
    /// The certificate whose end was told.
    expired: Option<[u8; 32]>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// Every problem at once, each naming its setting. An expired certificate is none, but `keep_fresh`
    /// warns of it: health checks and the callers that do not verify it still work.
    pub fn load(files: TlsFiles) -> Result<Self, Vec<String>> {
        let loaded = files.read()?.load(&files)?;
        Ok(Self {
            files: Arc::new(files),
            current: Arc::new(RwLock::new(loaded)),
        })
    }

    /// Whether clients are asked for certificates.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.files.clients.is_some()
    }

    /// Shakes hands by what the files held last.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current().config)
    }

    /// Looks at the files for as long as it is asked to. What is broken in them is told once, and changes nothing.
    pub(crate) async fn keep_fresh(&self) -> Infallible {
        let mut look = Look::default();
        loop {
            self.tell_expiry(&mut look);
            tokio::time::sleep(CERTIFICATE_POLL_INTERVAL).await;
            let (files, digest) = (Arc::clone(&self.files), self.current().digest);
            let found = tokio::task::spawn_blocking(move || files.read_if_changed(digest));
            match found
                .await
                .unwrap_or_else(|_| Err(vec!["cannot be looked at".to_owned()]))
            {
                Ok(None) => look.problems = None,
                Ok(Some(loaded)) => {
                    look.problems = None;
                    tracing::info!("the TLS files changed and hold for new connections");
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                }
                Err(problems) => {
                    look.tell(problems.join("; "));
                }
            }
        }
    }

    fn current(&self) -> Loaded {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell_expiry(&self, look: &mut Look) {
        let current = self.current();
        let is_expired = current
            .expires_at
            .is_some_and(|end| end <= SystemClock.now());
        if is_expired && look.expired != Some(current.digest) {
            look.expired = Some(current.digest);
            tracing::warn!(
                "the certificate of {CERTIFICATE_FILE} has expired: clients that verify it stay away"
            );
        }
    }
}

impl Look {
    /// Tells of problems that two looks have found and that were not told yet; returns whether it did.
    fn tell(&mut self, problems: String) -> bool {
        if self.problems.as_ref() != Some(&problems) {
            self.problems = Some(problems);
            self.is_told = false;
            return false;
        }
        if !self.is_told {
            tracing::warn!(
                problems,
                "the TLS files cannot be used, those read before still hold"
            );
        }
        !std::mem::replace(&mut self.is_told, true)
    }
}

impl TlsFiles {
    fn read(&self) -> Result<Contents, Vec<String>> {
        let mut problems = Vec::new();
        let mut read = |file: &Path, setting: &str| {
            let content = std::fs::read(file);
            content.unwrap_or_else(|error| {
                problems.push(format!("{setting} {}: {error}", file.display()));
                Vec::new()
            })
        };
        let contents = Contents {
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

    fn read_if_changed(&self, digest: [u8; 32]) -> Result<Option<Loaded>, Vec<String>> {
        let contents = self.read()?;
        if contents.digest() == digest {
            return Ok(None);
        }
        contents.load(self).map(Some)
    }
}

impl Contents {
    fn digest(&self) -> [u8; 32] {
        let parts = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_roots.as_ref(),
        ];
        let mut whole = Sha256::new();
        for part in parts.into_iter().flatten() {
            whole.update(Sha256::digest(part));
        }
        whole.finalize().into()
    }

    fn load(&self, files: &TlsFiles) -> Result<Loaded, Vec<String>> {
        let mut problems = Vec::new();
        let mut note = |setting: &str, file: &Path, problem: String| {
            problems.push(format!("{setting} {}: {problem}", file.display()));
        };
        let chain = certificates(&self.certificate)
            .map_err(|problem| note(CERTIFICATE_FILE, &files.certificate, problem));
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|_| {
            let problem = "holds no private key in PEM".to_owned();
            note(KEY_FILE, &files.key, problem);
        });
        let roots = self.client_roots.as_deref().map(roots).transpose();
        let roots = roots.map_err(|problem| {
            let file = files
                .clients
                .as_ref()
                .map(|clients| clients.roots.as_path());
            note(CLIENT_ROOTS_FILE, file.unwrap_or(Path::new("")), problem);
        });
        let (Ok(chain), Ok(key), Ok(roots)) = (chain, key, roots) else {
            return Err(problems);
        };
        let expires_at = chain.first().and_then(expires_at);
        let clients = roots.zip(files.clients.as_ref().map(|clients| clients.required));
        let config = server_config(chain, key, clients)
            .map_err(|problem| vec![format!("{CERTIFICATE_FILE}, {KEY_FILE}: {problem}")])?;
        Ok(Loaded {
            config: Arc::new(config),
            expires_at,
            digest: self.digest(),
        })
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Tls");
        shown.field("files", &self.files).finish_non_exhaustive()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("holds no certificate in PEM".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    Ok(roots)
}

fn expires_at(certificate: &CertificateDer<'_>) -> Option<OffsetDateTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let end = certificate.validity().not_after.timestamp();
    OffsetDateTime::from_unix_timestamp(end).ok()
}

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
    // A resumed session would bring back a client certificate without verifying it again, when it has long expired.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_once_and_only_if_it_stays() {
        let mut look = Look::default();
        let told = ["a", "a", "a", "b", "a", "a", "a"].map(|problem| look.tell(problem.to_owned()));
        assert_eq!(told, [false, true, false, false, false, true, false]);
    }
}

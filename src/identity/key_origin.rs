//! Where the key set of an issuer is read from: a URL or a file, with bounds on how long that takes and how much it is.
//!
//! Remembers nothing and tries once. No redirect is followed and the environment's proxies are not asked: what is read
//! here decides who calls.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Client;
use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::Url;

use super::issuer_entry::KeysAt;

/// Longest time for a whole fetch, from the name to the last byte: calls may wait for it, and have 5 seconds at most.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest time for reaching the issuer: name, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest key set, in bytes: a hundred keys with their certificates. What is longer is not read to its end.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;
/// What we call ourselves.
const USER_AGENT: &str = concat!("invitations/", env!("CARGO_PKG_VERSION"));

/// Where keys are read from.
pub(super) enum KeyOrigin {
    Url { client: Client, url: Url },
    File(PathBuf),
}

/// Why keys could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum OriginFault {
    #[error("the file cannot be read")]
    File(#[from] std::io::Error),
    #[error("the issuer does not answer")]
    Unanswered(#[from] reqwest::Error),
    #[error("the issuer answers with status {0}")]
    Status(u16),
    #[error("the key set is over 256 KiB")]
    TooLong,
}

impl KeyOrigin {
    /// Prepares a place to read from. Connects to nothing.
    pub(super) fn new(keys: KeysAt, roots_file: Option<&Path>) -> Result<Self, String> {
        match keys {
            KeysAt::File(file) => Ok(Self::File(file)),
            KeysAt::Url(url) => {
                let client = Client::builder()
                    .tls_backend_preconfigured(client_config(&url, roots_file)?)
                    .https_only(url.scheme() == "https")
                    .no_proxy()
                    .redirect(Policy::none())
                    .retry(reqwest::retry::never())
                    .connect_timeout(CONNECT_TIMEOUT)
                    .timeout(FETCH_TIMEOUT)
                    .user_agent(USER_AGENT)
                    .build()
                    .map_err(|_| "the http client cannot be set up".to_owned())?;
                Ok(Self::Url { client, url })
            }
        }
    }

    /// Reads once, at start, what is a file; nothing of a URL.
    pub(super) fn read_at_start(&self) -> Result<Option<Vec<u8>>, OriginFault> {
        let Self::File(path) = self else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        std::fs::File::open(path)?
            .take(KEY_SET_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes)?;
        bounded(bytes).map(Some)
    }

    /// Reads the key set as it is now.
    pub(super) async fn read(&self) -> Result<Vec<u8>, OriginFault> {
        match self {
            Self::File(path) => {
                let mut bytes = Vec::new();
                tokio::fs::File::open(path)
                    .await?
                    .take(KEY_SET_BYTES_MAX as u64 + 1)
                    .read_to_end(&mut bytes)
                    .await?;
                bounded(bytes)
            }
            Self::Url { client, url } => {
                let request = client.get(url.clone()).header(ACCEPT, "application/json");
                let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
                if response.status() != http::StatusCode::OK {
                    return Err(OriginFault::Status(response.status().as_u16()));
                }
                let mut bytes = Vec::new();
                while let Some(chunk) = response
                    .chunk()
                    .await
                    .map_err(reqwest::Error::without_url)?
                {
                    if bytes.len() + chunk.len() > KEY_SET_BYTES_MAX {
                        return Err(OriginFault::TooLong);
                    }
                    bytes.extend_from_slice(&chunk);
                }
                Ok(bytes)
            }
        }
    }
}

fn bounded(bytes: Vec<u8>) -> Result<Vec<u8>, OriginFault> {
    if bytes.len() > KEY_SET_BYTES_MAX {
        return Err(OriginFault::TooLong);
    }
    Ok(bytes)
}

/// Trusts the system's certificates and those of a file; certificates are always verified.
fn client_config(url: &Url, roots_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if url.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = roots_file {
            let unreadable = |error| format!("roots_file {}: {error}", file.display());
            let pem = std::fs::read(file).map_err(|error| unreadable(error.to_string()))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots
                    .add(certificate)
                    .map_err(|error| unreadable(error.to_string()))?;
            }
        }
        if roots.is_empty() {
            return Err("there is no certificate to trust".to_owned());
        }
    }
    Ok(
        ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

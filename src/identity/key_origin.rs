//! The place where the key set of an issuer is read from: a URL or a file. A read has a timeout and a size limit.
//!
//! This module reads once and caches nothing. It follows no redirect and uses no proxy of the environment, because the
//! key set decides who may call.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use invitations_command::bounded_file::{self, FILE_BYTES_MAX};
use reqwest::Client;
use reqwest::header::ACCEPT;
use reqwest::redirect::Policy;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::Url;

use super::entries::KeyLocation;

/// Longest time for a whole fetch, from the DNS lookup to the last byte. A call that waits for it has 5 seconds.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest time to connect to the issuer: DNS, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Largest key set, in bytes: a hundred keys with their certificates.
pub const KEY_SET_BYTES_MAX: usize = 256 * 1024;
const USER_AGENT: &str = concat!("invitations/", env!("CARGO_PKG_VERSION"));

pub(super) enum KeyOrigin {
    Url { client: Client, url: Url },
    File(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub(super) enum KeyFetchError {
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
    /// Prepares the HTTP client, but does not connect.
    pub(super) fn new(keys: KeyLocation, roots_file: Option<&Path>) -> Result<Self, String> {
        match keys {
            KeyLocation::File(file) => Ok(Self::File(file)),
            KeyLocation::Url(url) => {
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

    /// Reads a key set that is a file, at start. Returns `None` for a URL.
    pub(super) fn read_at_start(&self) -> Result<Option<Vec<u8>>, KeyFetchError> {
        match self {
            Self::File(path) => read_file(path).map(Some),
            Self::Url { .. } => Ok(None),
        }
    }

    pub(super) async fn read(&self) -> Result<Vec<u8>, KeyFetchError> {
        match self {
            Self::File(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || read_file(&path));
                reading.await.map_err(std::io::Error::from)?
            }
            Self::Url { client, url } => fetch(client, url).await,
        }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, KeyFetchError> {
    Ok(bounded_file::read_regular(path, KEY_SET_BYTES_MAX as u64)?)
}

async fn fetch(client: &Client, url: &Url) -> Result<Vec<u8>, KeyFetchError> {
    let request = client.get(url.clone()).header(ACCEPT, "application/json");
    let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
    if response.status() != http::StatusCode::OK {
        return Err(KeyFetchError::Status(response.status().as_u16()));
    }
    let mut bytes = Vec::new();
    let without_url = reqwest::Error::without_url;
    while let Some(chunk) = response.chunk().await.map_err(without_url)? {
        bytes.extend_from_slice(&chunk);
        bytes = check_size(bytes)?;
    }
    Ok(bytes)
}

fn check_size(bytes: Vec<u8>) -> Result<Vec<u8>, KeyFetchError> {
    if bytes.len() > KEY_SET_BYTES_MAX {
        return Err(KeyFetchError::TooLong);
    }
    Ok(bytes)
}

/// Trusts the certificates of the system and of `roots_file`.
fn client_config(url: &Url, roots_file: Option<&Path>) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    if url.scheme() == "https" {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = roots_file {
            let unreadable =
                |error: &dyn Display| format!("roots_file {}: {error}", file.display());
            let pem = bounded_file::read_regular(file, FILE_BYTES_MAX)
                .map_err(|error| unreadable(&error))?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                let certificate = certificate.map_err(|error| unreadable(&error))?;
                roots.add(certificate).map_err(|error| unreadable(&error))?;
            }
        }
        if roots.is_empty() {
            return Err("there are no trusted root certificates".to_owned());
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

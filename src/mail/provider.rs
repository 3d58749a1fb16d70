//! Mail over HTTP: many letters in one call to a provider's batch API.
//!
//! Each letter is a message object of its own with one recipient, so that no answer and no template can mix readers
//! up. A call either comes back with one result for each letter, or fails as a whole and says what is known of it
//! ([`BatchOutcome`]). The same key and letters give the same bytes, which is what a provider that remembers keys
//! compares. There is no retry and no waiting here, no redirect is followed, and the environment's proxies are not
//! asked; which letters make a batch and what its key is belongs to whoever calls.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use secrecy::{ExposeSecret, SecretString};
use tokio_rustls::rustls::RootCertStore;
use url::{Host, Url};
use uuid::Uuid;

use super::message::Letter;
use super::outcome::{Accepted, SendError};
pub use super::provider_fault::{BatchError, BatchOutcome};
use super::{postmark, provider_fault, resend, tls};
use crate::domain::bounce_address::SentMail;

/// Longest time for reaching a provider: name, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idleness after which a connection is not used again. Short, because a call into one that the provider is just
/// closing ends with nobody knowing whether it was read.
const IDLE_CLOSE: Duration = Duration::from_secs(20);
/// Longest answer, in bytes: 500 results of some 250, several times over. What is longer is not read to its end.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// What we call ourselves.
const USER_AGENT: &str = concat!("invitations/", env!("CARGO_PKG_VERSION"));

/// Which provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// <https://resend.com>
    Resend,
    /// <https://postmarkapp.com>
    Postmark,
}

/// A provider and how to call it.
#[derive(Clone)]
pub struct ProviderConfig {
    /// Which one.
    pub kind: ProviderKind,
    /// Where its API is, if not where it always is.
    pub base_url: Option<Url>,
    /// What proves that we may send.
    pub api_key: SecretString,
    /// For a whole call, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// Most letters in one call.
    pub batch_max: usize,
    /// Which of Postmark's message streams mails belong to; the one it gives every server is `outbound`.
    pub message_stream: String,
    /// Certificates in PEM to trust besides the system's.
    pub extra_roots_pem: Option<String>,
}

/// Why a configuration is refused at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderConfigError {
    /// The key and every link would cross the network in the clear, or the URL is more than a place.
    #[error(
        "the base url must be https, or http to this host, without user, password, query or fragment"
    )]
    BaseUrl,
    /// The provider takes at least one letter and at most so many.
    #[error("a batch must hold 1 to {0} mails")]
    BatchMax(usize),
    /// The key is empty or cannot stand in a header.
    #[error("the api key must be visible ascii")]
    ApiKey,
    /// The trusted certificates could not be read, or there are none.
    #[error("no trusted certificates: {0}")]
    Roots(String),
    /// The HTTP client refused its settings.
    #[error("the http client cannot be set up")]
    Client,
}

/// A letter and which mail it is; the provider's reports bring the reference back. Not `Debug`, as the letter.
#[derive(Clone)]
pub struct ProviderLetter {
    /// The mail in words.
    pub letter: Letter,
    /// The mail it is.
    pub reference: SentMail,
}

/// A configured provider. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct ProviderTransport(Arc<Route>);

struct Route {
    kind: ProviderKind,
    client: Client,
    url: Url,
    authorization: HeaderValue,
    batch_max: usize,
    message_stream: String,
}

impl ProviderKind {
    /// The most letters the provider takes in one call.
    #[must_use]
    pub fn batch_limit(self) -> usize {
        match self {
            Self::Resend => resend::BATCH_LIMIT,
            Self::Postmark => postmark::BATCH_LIMIT,
        }
    }

    /// A reasonable number of letters for one call. Where no key protects against repetition, a call whose answer is
    /// lost may reach all its readers twice, so it is kept small.
    #[must_use]
    pub fn batch_max_default(self) -> usize {
        match self {
            Self::Resend => resend::BATCH_LIMIT,
            Self::Postmark => 50,
        }
    }

    fn base_url(self) -> Url {
        let base = match self {
            Self::Resend => resend::BASE_URL,
            Self::Postmark => postmark::BASE_URL,
        };
        Url::parse(base).expect("the provider's own URL is one")
    }
}

impl fmt::Debug for ProviderConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProviderConfig")
            .field("kind", &self.kind)
            .field("timeout", &self.timeout)
            .field("batch_max", &self.batch_max)
            .field("message_stream", &self.message_stream)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ProviderTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ProviderTransport")
            .field("kind", &self.0.kind)
            .field("host", &self.0.url.host_str())
            .finish_non_exhaustive()
    }
}

impl ProviderTransport {
    /// Checks a configuration and loads the trusted certificates. Connects to nothing.
    pub fn new(config: ProviderConfig) -> Result<Self, ProviderConfigError> {
        let kind = config.kind;
        if !(1..=kind.batch_limit()).contains(&config.batch_max) {
            return Err(ProviderConfigError::BatchMax(kind.batch_limit()));
        }
        let base_url = config.base_url.unwrap_or_else(|| kind.base_url());
        if !is_base_url(&base_url) {
            return Err(ProviderConfigError::BaseUrl);
        }
        let roots = if base_url.scheme() == "https" {
            tls::roots(config.extra_roots_pem.as_deref())
        } else {
            Ok(RootCertStore::empty())
        };
        let tls = roots.and_then(tls::client_config);
        let client = Client::builder()
            .tls_backend_preconfigured(tls.map_err(ProviderConfigError::Roots)?)
            .https_only(base_url.scheme() == "https")
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
            .timeout(config.timeout)
            .pool_idle_timeout(IDLE_CLOSE)
            .user_agent(USER_AGENT)
            .build()
            .map_err(|_| ProviderConfigError::Client)?;
        Ok(Self(Arc::new(Route {
            kind,
            client,
            url: with_path(
                base_url,
                match kind {
                    ProviderKind::Resend => resend::PATH,
                    ProviderKind::Postmark => postmark::PATH,
                },
            ),
            authorization: authorization(kind, config.api_key.expose_secret())
                .ok_or(ProviderConfigError::ApiKey)?,
            batch_max: config.batch_max,
            message_stream: config.message_stream,
        })))
    }

    /// Most letters in one call.
    #[must_use]
    pub fn batch_max(&self) -> usize {
        self.0.batch_max
    }

    /// Whether a repeated call with the same key does nothing again, and for how long.
    #[must_use]
    pub fn keeps_keys_for(&self) -> Option<Duration> {
        match self.0.kind {
            ProviderKind::Resend => Some(resend::KEYS_KEPT_FOR),
            ProviderKind::Postmark => None,
        }
    }

    /// Sends letters as one call under an idempotency key, and answers one result for each, in their order.
    ///
    /// A result that is [ambiguous](SendError::is_ambiguous) means that the call succeeded but its answer does not say
    /// which letter it was about. Dropping the future is safe; what became of the letters is unknown then.
    pub async fn send(
        &self,
        key: Uuid,
        letters: &[ProviderLetter],
    ) -> Result<Vec<Result<Accepted, SendError>>, BatchError> {
        if letters.is_empty() {
            return Ok(Vec::new());
        }
        if letters.len() > self.0.batch_max {
            return Err(BatchError::too_many());
        }
        let response = self
            .request(key, letters)
            .send()
            .await
            .map_err(|error| BatchError::unanswered(&error))?;
        let status = response.status();
        let retry_after = provider_fault::retry_after(response.headers());
        let body = read(response).await;
        if !status.is_success() {
            // A no is a no, whether or not its reasons arrive.
            let body = body.unwrap_or_default();
            let refusal = match self.0.kind {
                ProviderKind::Resend => resend::refusal(status.as_u16(), &body),
                ProviderKind::Postmark => postmark::refusal(&body),
            };
            return Err(BatchError::refused(status, retry_after, &refusal));
        }
        let body = body?;
        match self.0.kind {
            ProviderKind::Resend => resend::results(&body, letters),
            ProviderKind::Postmark => postmark::results(&body, letters),
        }
        .ok_or_else(|| BatchError::unknown("the answer cannot be read"))
    }

    fn request(&self, key: Uuid, letters: &[ProviderLetter]) -> RequestBuilder {
        let request = self
            .0
            .client
            .post(self.0.url.clone())
            .header(CONTENT_TYPE, "application/json");
        let authorization = self.0.authorization.clone();
        match self.0.kind {
            ProviderKind::Resend => request
                .header(AUTHORIZATION, authorization)
                .header(resend::KEY_HEADER, key.to_string())
                .header(resend::VALIDATION_HEADER, resend::VALIDATION)
                .body(resend::body(letters)),
            ProviderKind::Postmark => request
                .header(ACCEPT, "application/json")
                .header(postmark::TOKEN_HEADER, authorization)
                .body(postmark::body(letters, &self.0.message_stream)),
        }
    }
}

async fn read(mut response: Response) -> Result<Vec<u8>, BatchError> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| BatchError::unanswered(&error))?
    {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(BatchError::unknown("the answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn authorization(kind: ProviderKind, api_key: &str) -> Option<HeaderValue> {
    let is_key = !api_key.is_empty() && api_key.bytes().all(|byte| byte.is_ascii_graphic());
    let value = match kind {
        ProviderKind::Resend => format!("Bearer {api_key}"),
        ProviderKind::Postmark => api_key.to_owned(),
    };
    let mut value = HeaderValue::try_from(value).ok().filter(|_| is_key)?;
    value.set_sensitive(true);
    Some(value)
}

fn is_base_url(url: &Url) -> bool {
    let is_this_host = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_this_host);
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    is_safe && is_bare
}

fn with_path(mut base_url: Url, path: &str) -> Url {
    let base = base_url.path().trim_end_matches('/');
    let path = format!("{base}{path}");
    base_url.set_path(&path);
    base_url
}

#[cfg(test)]
pub(super) mod tests {
    use time::OffsetDateTime;

    use super::*;

    /// A letter in which everything that could change its bytes is to be seen.
    pub(in crate::mail) fn letter() -> ProviderLetter {
        let letter = Letter {
            message_id: "inv.1@acme.example".to_owned(),
            date: OffsetDateTime::UNIX_EPOCH,
            from: "Acme <invites@acme.example>".to_owned(),
            to: "alice@example.com".to_owned(),
            subject: "Join \"Nörthwind\"".to_owned(),
            text: "a\nb".to_owned(),
            html: "<p>a</p>".to_owned(),
            headers: vec![("Z-Last", "1".to_owned()), ("A-First", "2".to_owned())],
        };
        ProviderLetter {
            letter,
            reference: SentMail {
                invitation_id: Uuid::from_u128(1),
                send_seq: 3,
            },
        }
    }
}

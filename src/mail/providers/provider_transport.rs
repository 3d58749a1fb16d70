//! Sends many emails in one call to a provider.
//!
//! Each email is a message of its own with one recipient, so that no response and no template can mix recipients up. A
//! call returns one result for each message, or fails as a whole with a [`BatchError`]. The caller decides which
//! messages form a batch, chooses the idempotency key, and retries. Redirects and the environment's proxies are not
//! followed.

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

use super::provider_batch::{BatchError, BatchResults, ProviderMessage, retry_after};
use super::{postmark_api, resend_api};
use crate::mail::trusted_roots;

/// For host name, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Short, because a call over a connection that the provider is closing has an unknown outcome.
const IDLE_CLOSE: Duration = Duration::from_secs(20);
/// Several times 500 results of about 250 bytes. A longer response is not read to its end.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
const USER_AGENT: &str = concat!("invitations/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// <https://resend.com>
    Resend,
    /// <https://postmarkapp.com>
    Postmark,
}

#[derive(Debug, Clone)]
pub struct ProviderConfig {
    pub kind: ProviderKind,
    /// Replaces the provider's own URL.
    pub base_url: Option<Url>,
    pub api_key: SecretString,
    /// For a whole call, from connecting to the last byte of the response.
    pub timeout: Duration,
    /// The most emails in one call.
    pub batch_max: usize,
    /// The Postmark message stream that emails belong to. Every Postmark server has one called `outbound`.
    pub message_stream: String,
    /// Certificates in PEM to trust in addition to the system's.
    pub extra_roots_pem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProviderConfigError {
    /// The key and every link would cross the network unencrypted, or the URL has parts that a base URL must not have.
    #[error(
        "the base URL must be https, or http to this host, without user, password, query or fragment"
    )]
    BaseUrl,
    #[error("a batch must hold 1 to {0} emails")]
    BatchMax(usize),
    #[error("the API key must not be empty and must consist of visible ASCII characters")]
    ApiKey,
    #[error("the trusted certificates cannot be loaded: {0}")]
    Roots(String),
    #[error("the HTTP client cannot be set up")]
    Client,
}

struct ApiFacts {
    base_url: &'static str,
    path: &'static str,
    /// The most emails that the provider accepts in one call.
    batch_limit: usize,
    batch_default: usize,
    /// How long the provider remembers an idempotency key; `None` if it does not support keys.
    key_retention: Option<Duration>,
}

impl ProviderKind {
    /// The number of emails in one call without a setting.
    pub fn batch_max_default(self) -> usize {
        self.facts().batch_default
    }

    fn facts(self) -> ApiFacts {
        match self {
            Self::Resend => ApiFacts {
                base_url: "https://api.resend.com",
                path: "/emails/batch",
                batch_limit: 100,
                batch_default: 100,
                key_retention: Some(Duration::from_hours(24)),
            },
            Self::Postmark => ApiFacts {
                base_url: "https://api.postmarkapp.com",
                path: "/email/batch",
                batch_limit: 500,
                // Small: without idempotency keys, a call whose response is lost may reach all its recipients twice.
                batch_default: 50,
                key_retention: None,
            },
        }
    }
}

/// A configured provider. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct ProviderTransport(Arc<ProviderEndpoint>);

struct ProviderEndpoint {
    kind: ProviderKind,
    client: Client,
    url: Url,
    authorization: HeaderValue,
    batch_max: usize,
    message_stream: String,
}

impl ProviderTransport {
    /// Checks a configuration and loads the trusted certificates. Opens no connection.
    pub fn new(config: ProviderConfig) -> Result<Self, ProviderConfigError> {
        let facts = config.kind.facts();
        if !(1..=facts.batch_limit).contains(&config.batch_max) {
            return Err(ProviderConfigError::BatchMax(facts.batch_limit));
        }
        let base_url = match &config.base_url {
            Some(url) => url.clone(),
            None => Url::parse(facts.base_url).expect("the provider's own URL is valid"),
        };
        if !is_base_url(&base_url) {
            return Err(ProviderConfigError::BaseUrl);
        }
        Ok(Self(Arc::new(ProviderEndpoint {
            kind: config.kind,
            client: client(&base_url, &config)?,
            authorization: authorization(config.kind, config.api_key.expose_secret())
                .ok_or(ProviderConfigError::ApiKey)?,
            url: with_path(base_url, facts.path),
            batch_max: config.batch_max,
            message_stream: config.message_stream,
        })))
    }

    /// The most emails in one call.
    pub fn batch_max(&self) -> usize {
        self.0.batch_max
    }

    /// How long a repeated call with the same key has no further effect; `None` if the provider does not support keys.
    pub fn key_retention(&self) -> Option<Duration> {
        self.0.kind.facts().key_retention
    }

    /// Sends messages as one call under an idempotency key. The same key and messages give the same bytes: a provider
    /// compares them when a key is used again. If the future is dropped, the outcome of the call is unknown.
    pub async fn send(
        &self,
        key: Uuid,
        messages: &[ProviderMessage],
    ) -> Result<BatchResults, BatchError> {
        if messages.is_empty() {
            return Ok(Vec::new());
        }
        if messages.len() > self.0.batch_max {
            return Err(BatchError::too_many());
        }
        let response = self
            .request(key, messages)
            .send()
            .await
            .map_err(|error| BatchError::without_response(&error))?;
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = read(response).await;
        if !status.is_success() {
            // The status alone is a refusal, even if its explanation is lost.
            let body = body.unwrap_or_default();
            let refusal = match self.0.kind {
                ProviderKind::Resend => resend_api::refusal(status.as_u16(), &body),
                ProviderKind::Postmark => postmark_api::refusal(&body),
            };
            return Err(BatchError::refused(status, retry_after, &refusal));
        }
        let body = body?;
        match self.0.kind {
            ProviderKind::Resend => resend_api::results(&body, messages),
            ProviderKind::Postmark => postmark_api::results(&body, messages),
        }
        .ok_or_else(|| BatchError::unknown("the answer cannot be read"))
    }

    fn request(&self, key: Uuid, messages: &[ProviderMessage]) -> RequestBuilder {
        let endpoint = &self.0;
        let request = endpoint.client.post(endpoint.url.clone());
        let request = request.header(CONTENT_TYPE, "application/json");
        let authorization = endpoint.authorization.clone();
        match endpoint.kind {
            ProviderKind::Resend => request
                .header(AUTHORIZATION, authorization)
                .header(resend_api::KEY_HEADER, key.to_string())
                .header(resend_api::VALIDATION_HEADER, resend_api::VALIDATION)
                .body(resend_api::body(messages)),
            ProviderKind::Postmark => request
                .header(ACCEPT, "application/json")
                .header(postmark_api::TOKEN_HEADER, authorization)
                .body(postmark_api::body(messages, &endpoint.message_stream)),
        }
    }
}

impl fmt::Debug for ProviderTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.url.host_str().unwrap_or_default();
        write!(formatter, "ProviderTransport({:?}, {host})", self.0.kind)
    }
}

fn client(base_url: &Url, config: &ProviderConfig) -> Result<Client, ProviderConfigError> {
    let is_https = base_url.scheme() == "https";
    let roots = if is_https {
        trusted_roots::load(config.extra_roots_pem.as_deref())
    } else {
        Ok(RootCertStore::empty())
    };
    let tls = roots.and_then(trusted_roots::client_config);
    Client::builder()
        .tls_backend_preconfigured(tls.map_err(ProviderConfigError::Roots)?)
        .https_only(is_https)
        .no_proxy()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
        .timeout(config.timeout)
        .pool_idle_timeout(IDLE_CLOSE)
        .user_agent(USER_AGENT)
        .build()
        .map_err(|_| ProviderConfigError::Client)
}

async fn read(mut response: Response) -> Result<Vec<u8>, BatchError> {
    let mut body = Vec::new();
    let failed = |error| BatchError::without_response(&error);
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if body.len() + chunk.len() > RESPONSE_BYTES_MAX {
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
    let is_safe = match (url.scheme(), url.host()) {
        ("https", _) | ("http", Some(Host::Domain("localhost"))) => true,
        ("http", Some(Host::Ipv4(address))) => address.is_loopback(),
        ("http", Some(Host::Ipv6(address))) => address.is_loopback(),
        _ => false,
    };
    let is_bare = url.username().is_empty() && url.password().is_none();
    is_safe && is_bare && url.query().is_none() && url.fragment().is_none()
}

fn with_path(mut base_url: Url, path: &str) -> Url {
    let base = base_url.path().trim_end_matches('/');
    let path = format!("{base}{path}");
    base_url.set_path(&path);
    base_url
}

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
use secrecy::ExposeSecret;
use tokio_rustls::rustls::RootCertStore;
use url::{Host, Url};
use uuid::Uuid;

use super::provider_batch::{BatchError, BatchResults, ProviderMessage, retry_after};
use super::provider_config::{ProviderConfig, ProviderConfigError, ProviderKind};
use super::{postmark_api, resend_api};
use crate::mail::trusted_roots;

/// For host name, TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Short, because a call over a connection that the provider is closing has an unknown outcome.
const IDLE_CLOSE: Duration = Duration::from_secs(20);
/// Several times 500 results of about 250 bytes. A longer response is not read to its end.
const RESPONSE_BYTES_MAX: usize = 1024 * 1024;
const USER_AGENT: &str = concat!("invitations/", env!("CARGO_PKG_VERSION"));

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
        let request = self
            .0
            .client
            .post(self.0.url.clone())
            .header(CONTENT_TYPE, "application/json");
        let authorization = self.0.authorization.clone();
        match self.0.kind {
            ProviderKind::Resend => request
                .header(AUTHORIZATION, authorization)
                .header(resend_api::KEY_HEADER, key.to_string())
                .header(resend_api::VALIDATION_HEADER, resend_api::VALIDATION)
                .body(resend_api::body(messages)),
            ProviderKind::Postmark => request
                .header(ACCEPT, "application/json")
                .header(postmark_api::TOKEN_HEADER, authorization)
                .body(postmark_api::body(messages, &self.0.message_stream)),
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
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| BatchError::without_response(&error))?
    {
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

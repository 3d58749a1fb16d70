//! The settings of a provider.

use std::time::Duration;

use secrecy::SecretString;
use url::Url;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderKind {
    /// <https://resend.com>
    Resend,
    /// <https://postmarkapp.com>
    Postmark,
}

/// A provider and how to call it.
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

/// Why a configuration is refused at start.
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

/// The facts of a provider's batch API.
pub(super) struct ApiFacts {
    pub(super) base_url: &'static str,
    pub(super) path: &'static str,
    /// The most emails that the provider accepts in one call.
    pub(super) batch_limit: usize,
    pub(super) batch_default: usize,
    /// How long the provider remembers an idempotency key; `None` if it does not support keys.
    pub(super) key_retention: Option<Duration>,
}

impl ProviderKind {
    /// The most emails that the provider accepts in one call.
    pub fn batch_limit(self) -> usize {
        self.facts().batch_limit
    }

    /// The number of emails in one call without a setting.
    pub fn batch_max_default(self) -> usize {
        self.facts().batch_default
    }

    pub(super) fn facts(self) -> ApiFacts {
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

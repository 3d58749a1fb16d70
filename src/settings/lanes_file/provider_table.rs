//! A lane that calls the HTTP API of a provider.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::values::{concurrency, duration, read_roots};
use crate::delivery::LaneTransport;
use crate::mail::providers::{ProviderConfig, ProviderKind, ProviderTransport};

const CALL_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Concurrent calls of a lane that sets none.
const CALLS_DEFAULT: u16 = 2;
/// Calls per second of a lane that sets none: the limit that Resend had for years and may still have.
const CALLS_RATE_DEFAULT: f64 = 2.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResendTable {
    api_key: SecretString,
    base_url: Option<Url>,
    batch_max: Option<usize>,
    calls: Option<u16>,
    calls_rate_max: Option<f64>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    roots_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PostmarkTable {
    server_token: SecretString,
    #[serde(default = "message_stream_default")]
    message_stream: String,
    base_url: Option<Url>,
    batch_max: Option<usize>,
    calls: Option<u16>,
    calls_rate_max: Option<f64>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    roots_file: Option<PathBuf>,
}

fn message_stream_default() -> String {
    "outbound".to_owned()
}

impl ResendTable {
    pub(super) fn transport(self) -> Result<LaneTransport, String> {
        let kind = ProviderKind::Resend;
        let config = ProviderConfig {
            kind,
            base_url: self.base_url,
            api_key: self.api_key,
            timeout: self.timeout.unwrap_or(CALL_TIMEOUT_DEFAULT),
            batch_max: self.batch_max.unwrap_or(kind.batch_max_default()),
            message_stream: String::new(),
            extra_roots_pem: read_roots(self.roots_file)?,
        };
        provider_transport(config, self.calls, self.calls_rate_max)
    }
}

impl PostmarkTable {
    pub(super) fn transport(self) -> Result<LaneTransport, String> {
        let kind = ProviderKind::Postmark;
        let config = ProviderConfig {
            kind,
            base_url: self.base_url,
            api_key: self.server_token,
            timeout: self.timeout.unwrap_or(CALL_TIMEOUT_DEFAULT),
            batch_max: self.batch_max.unwrap_or(kind.batch_max_default()),
            message_stream: self.message_stream,
            extra_roots_pem: read_roots(self.roots_file)?,
        };
        provider_transport(config, self.calls, self.calls_rate_max)
    }
}

fn provider_transport(
    config: ProviderConfig,
    calls: Option<u16>,
    calls_rate_max: Option<f64>,
) -> Result<LaneTransport, String> {
    let rate = calls_rate_max.unwrap_or(CALLS_RATE_DEFAULT);
    if !rate.is_finite() || rate <= 0.0 {
        return Err("calls_rate_max must be above zero".to_owned());
    }
    let provider = ProviderTransport::new(config).map_err(|error| error.to_string())?;
    Ok(LaneTransport::Batches {
        provider,
        calls: concurrency(calls.unwrap_or(CALLS_DEFAULT), "calls")?,
        calls_rate_max: Some(rate),
    })
}

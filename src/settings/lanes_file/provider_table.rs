//! A lane that calls the HTTP API of a provider.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

use super::smtp_table::{concurrency, duration, read_roots};
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
    message_stream: Option<String>,
    base_url: Option<Url>,
    batch_max: Option<usize>,
    calls: Option<u16>,
    calls_rate_max: Option<f64>,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    roots_file: Option<PathBuf>,
}

impl ResendTable {
    pub(super) fn transport(self) -> Result<LaneTransport, String> {
        // The two tables differ only in the name of the key and in the stream.
        let table = PostmarkTable {
            server_token: self.api_key,
            message_stream: None,
            base_url: self.base_url,
            batch_max: self.batch_max,
            calls: self.calls,
            calls_rate_max: self.calls_rate_max,
            timeout: self.timeout,
            roots_file: self.roots_file,
        };
        table.transport_of(ProviderKind::Resend)
    }
}

impl PostmarkTable {
    pub(super) fn transport(self) -> Result<LaneTransport, String> {
        self.transport_of(ProviderKind::Postmark)
    }

    fn transport_of(self, kind: ProviderKind) -> Result<LaneTransport, String> {
        let config = ProviderConfig {
            kind,
            base_url: self.base_url,
            api_key: self.server_token,
            timeout: self.timeout.unwrap_or(CALL_TIMEOUT_DEFAULT),
            batch_max: self.batch_max.unwrap_or(kind.batch_max_default()),
            message_stream: self.message_stream.unwrap_or_else(|| "outbound".to_owned()),
            extra_roots_pem: read_roots(self.roots_file)?,
        };
        let rate = self.calls_rate_max.unwrap_or(CALLS_RATE_DEFAULT);
        if !rate.is_finite() || rate <= 0.0 {
            return Err("calls_rate_max must be above zero".to_owned());
        }
        Ok(LaneTransport::Batches {
            provider: ProviderTransport::new(config).map_err(|error| error.to_string())?,
            calls: concurrency(self.calls.unwrap_or(CALLS_DEFAULT), "calls")?,
            calls_rate_max: Some(rate),
        })
    }
}

//! A lane that sends to an SMTP relay, and the values that it shares with other lanes.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use crate::delivery::LaneTransport;
use crate::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTransport};
use crate::mail::transport::Transport;
use crate::settings::files::read_text;
use crate::settings::smtp::SmtpTlsChoice;

/// Most connections, or concurrent calls, of one lane.
const CONCURRENCY_MAX: u16 = 256;
const CONNECTIONS_DEFAULT: u16 = 4;
/// The port of implicit TLS.
const PORT_DEFAULT: u16 = 465;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SmtpTable {
    host: String,
    port: Option<u16>,
    #[serde(default)]
    tls: SmtpTlsChoice,
    username: Option<String>,
    password: Option<SecretString>,
    hello_name: Option<String>,
    roots_file: Option<PathBuf>,
    connections: Option<u16>,
    messages_per_connection: Option<u32>,
    #[serde(default, deserialize_with = "duration")]
    connection_max_age: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    idle_close: Option<Duration>,
    #[serde(default, deserialize_with = "duration")]
    reply_timeout: Option<Duration>,
    pipelining: Option<bool>,
}

impl SmtpTable {
    pub(super) fn transport(self, hello_name: &str) -> Result<LaneTransport, String> {
        let credentials = match (self.username, self.password) {
            (Some(username), Some(password)) => Some((username, password)),
            (None, None) => None,
            _ => return Err("smtp: username and password must be set together".to_owned()),
        };
        let limits = SmtpLimits::default();
        let timeouts = SmtpTimeouts::default();
        let config = SmtpConfig {
            host: self.host,
            port: self.port.unwrap_or(PORT_DEFAULT),
            tls: self.tls.into(),
            extra_roots_pem: read_roots(self.roots_file)?,
            credentials,
            hello_name: self.hello_name.unwrap_or_else(|| hello_name.to_owned()),
            pipelining: self.pipelining.unwrap_or(true),
            timeouts: SmtpTimeouts {
                body: self.reply_timeout.unwrap_or(timeouts.body),
                ..timeouts
            },
            limits: SmtpLimits {
                messages_per_connection: self
                    .messages_per_connection
                    .unwrap_or(limits.messages_per_connection),
                connection_max_age: self.connection_max_age.unwrap_or(limits.connection_max_age),
                idle_close: self.idle_close.unwrap_or(limits.idle_close),
            },
        };
        let transport = SmtpTransport::new(config).map_err(|error| format!("smtp: {error}"))?;
        let connections = self.connections.unwrap_or(CONNECTIONS_DEFAULT);
        Ok(LaneTransport::PerMessage {
            transport: Transport::Smtp(transport),
            connections: concurrency(connections, "connections")?,
        })
    }
}

pub(super) fn concurrency(count: u16, field: &str) -> Result<usize, String> {
    let count = Some(count).filter(|count| (1..=CONCURRENCY_MAX).contains(count));
    let problem = || format!("{field} must be 1 to {CONCURRENCY_MAX}");
    count.map(usize::from).ok_or_else(problem)
}

pub(super) fn read_roots(file: Option<PathBuf>) -> Result<Option<String>, String> {
    file.map(|file| read_text(&file, "roots_file")).transpose()
}

/// Parses a duration such as `30s`, which must not be zero.
pub(super) fn duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let duration = humantime::parse_duration(&text).map_err(serde::de::Error::custom)?;
    if duration.is_zero() {
        return Err(serde::de::Error::custom("a duration must not be zero"));
    }
    Ok(Some(duration))
}

//! A lane that sends to an SMTP relay.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::values::{concurrency, duration, read_roots};
use crate::delivery::LaneTransport;
use crate::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTransport};
use crate::mail::transport::Transport;
use crate::settings::smtp::SmtpTlsChoice;

const CONNECTIONS_DEFAULT: u16 = 4;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SmtpTable {
    host: String,
    #[serde(default = "port_default")]
    port: u16,
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
    #[serde(default = "pipelining_default")]
    pipelining: bool,
}

/// The port of implicit TLS.
const fn port_default() -> u16 {
    465
}

const fn pipelining_default() -> bool {
    true
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
            port: self.port,
            tls: self.tls.into(),
            extra_roots_pem: read_roots(self.roots_file)?,
            credentials,
            hello_name: self.hello_name.unwrap_or_else(|| hello_name.to_owned()),
            pipelining: self.pipelining,
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

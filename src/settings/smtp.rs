//! Settings of the one SMTP relay of a server without a lanes file.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, value_parser};
use humantime::parse_duration;
use secrecy::SecretString;
use serde::Deserialize;

use super::files::read_text;
use crate::delivery::{DomainCaps, LaneConfig, LaneTransport};
use crate::mail::smtp::{SmtpConfig, SmtpLimits, SmtpTimeouts, SmtpTls, SmtpTransport};
use crate::mail::transport::Transport;

const LANE_NAME: &str = "smtp";

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SmtpTlsChoice {
    /// Encrypted from the first byte, usually on port 465
    #[default]
    Implicit,
    /// Encrypted by STARTTLS, which the relay must offer, usually on port 587
    Starttls,
    /// Not encrypted, only for a relay on the same host
    None,
}

impl From<SmtpTlsChoice> for SmtpTls {
    fn from(tls: SmtpTlsChoice) -> Self {
        match tls {
            SmtpTlsChoice::Implicit => Self::Implicit,
            SmtpTlsChoice::Starttls => Self::StartTls,
            SmtpTlsChoice::None => Self::None,
        }
    }
}

#[expect(clippy::struct_field_names, reason = "the fields name the flags")]
#[derive(Debug, Clone, Args)]
pub(super) struct SmtpArgs {
    /// Host name or IP address of the relay
    #[arg(long, env = "INVITATIONS_SMTP_HOST", default_value = "localhost")]
    smtp_host: String,
    /// Port of the relay
    #[arg(long, env = "INVITATIONS_SMTP_PORT", default_value_t = 465)]
    smtp_port: u16,
    /// Encryption of the connection to the relay; certificates are always verified
    #[arg(long, env = "INVITATIONS_SMTP_TLS", default_value = "implicit")]
    smtp_tls: SmtpTlsChoice,
    /// User name at the relay; requires TLS
    #[arg(long, env = "INVITATIONS_SMTP_USERNAME", requires = "smtp_password")]
    smtp_username: Option<String>,
    /// Password at the relay
    #[arg(long, env = "INVITATIONS_SMTP_PASSWORD")]
    #[arg(hide_env_values = true, requires = "smtp_username")]
    smtp_password: Option<SecretString>,
    /// Name of this host in EHLO; by default the domain of `mail-from`
    #[arg(long, env = "INVITATIONS_SMTP_HELLO_NAME")]
    pub(super) smtp_hello_name: Option<String>,
    /// File of certificates to trust in addition to the system's (PEM)
    #[arg(long, env = "INVITATIONS_SMTP_ROOTS_FILE")]
    smtp_roots_file: Option<PathBuf>,
    /// Emails sent at once, each over its own connection
    #[arg(long, env = "INVITATIONS_SMTP_CONNECTIONS", default_value_t = 4, value_parser = value_parser!(u16).range(1..=256))]
    smtp_connections: u16,
    /// How long the relay may take to accept a whole message; a short timeout causes duplicates (RFC 1047)
    #[arg(long, env = "INVITATIONS_SMTP_REPLY_TIMEOUT", default_value = "120s", value_parser = parse_duration)]
    pub(super) smtp_reply_timeout: Duration,
    /// Most emails per second; without it, as fast as the relay accepts them
    #[arg(long, env = "INVITATIONS_SMTP_RATE_MAX")]
    smtp_rate_max: Option<f64>,
    /// Most emails in flight to one recipient domain, for relays that pass on the limits of recipient domains
    #[arg(long, env = "INVITATIONS_SMTP_DOMAIN_IN_FLIGHT_MAX")]
    smtp_domain_in_flight_max: Option<usize>,
    /// How long a relay that failed is not used before one email probes it; six times as long, doubling up to 10 minutes,
    /// if an operator must act
    #[arg(long, env = "INVITATIONS_SMTP_PAUSE", default_value = "5s", value_parser = parse_duration)]
    pub(super) smtp_pause: Duration,
}

impl SmtpArgs {
    /// The only lane, over this transport.
    pub(super) fn lane(&self, transport: Result<Transport, String>) -> Result<LaneConfig, String> {
        let is_rate = |rate: f64| rate.is_finite() && rate > 0.0;
        if !self.smtp_rate_max.is_none_or(is_rate) {
            return Err("smtp-rate-max: must be above zero".to_owned());
        }
        if self.smtp_domain_in_flight_max == Some(0) {
            return Err("smtp-domain-in-flight-max: must not be zero".to_owned());
        }
        Ok(LaneConfig {
            name: LANE_NAME.to_owned(),
            weight: 1,
            transport: LaneTransport::PerMessage {
                transport: transport?,
                connections: usize::from(self.smtp_connections),
            },
            rate_max: self.smtp_rate_max,
            domain_caps: DomainCaps {
                in_flight_max: self.smtp_domain_in_flight_max,
                rate_max: None,
            },
            pause: self.smtp_pause,
        })
    }

    pub(super) fn transport(&self, hello_name: &str) -> Result<Transport, String> {
        let extra_roots = self.smtp_roots_file.as_deref();
        let extra_roots_pem = extra_roots.map(|file| read_text(file, "smtp-roots-file"));
        let config = SmtpConfig {
            host: self.smtp_host.clone(),
            port: self.smtp_port,
            tls: self.smtp_tls.into(),
            extra_roots_pem: extra_roots_pem.transpose()?,
            credentials: self.smtp_username.clone().zip(self.smtp_password.clone()),
            hello_name: hello_name.to_owned(),
            pipelining: true,
            timeouts: SmtpTimeouts {
                body: self.smtp_reply_timeout,
                ..SmtpTimeouts::default()
            },
            limits: SmtpLimits::default(),
        };
        SmtpTransport::new(config)
            .map(Transport::Smtp)
            .map_err(|error| format!("smtp-*: {error}"))
    }
}

//! The settings of a relay, and the same settings checked and prepared once at start.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use secrecy::{ExposeSecret, SecretString};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::mail::trusted_roots;

/// How the conversation is encrypted. Certificates are always verified, and the encryption is never negotiated down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// No encryption, and therefore no credentials. For a relay on the same host.
    None,
    /// STARTTLS, which the server must offer (usually port 587).
    StartTls,
    /// TLS from the first byte (usually port 465, RFC 8314).
    Implicit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpTimeouts {
    /// Resolving the host name, and again connecting to one of its addresses.
    pub connect: Duration,
    /// The greeting and the reply to EHLO.
    pub greeting: Duration,
    /// Any other command, including a TLS handshake.
    pub command: Duration,
    pub data: Duration,
    /// Sending the message and waiting for its reply. A timeout that is too short causes duplicates (RFC 1047).
    pub body: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpLimits {
    /// Relays close connections that sent many messages.
    pub messages_per_connection: u32,
    /// A connection of this age sends no further message.
    pub connection_max_age: Duration,
    /// A connection that was idle for this long is not used again.
    pub idle_close: Duration,
}

#[derive(Debug, Clone)]
pub struct SmtpConfig {
    /// Host name or IP address.
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    /// Certificates in PEM to trust in addition to the system's, for a relay with a private authority.
    pub extra_roots_pem: Option<String>,
    /// User name and password.
    pub credentials: Option<(String, SecretString)>,
    /// The client's name in EHLO: a host name or an IP address.
    pub hello_name: String,
    /// Sends commands before the replies to earlier ones, if the relay offers PIPELINING (RFC 2920): two round trips
    /// per email instead of four.
    pub pipelining: bool,
    pub timeouts: SmtpTimeouts,
    pub limits: SmtpLimits,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpConfigError {
    /// A password would cross the network unencrypted.
    #[error("a user name and password need TLS")]
    CredentialsWithoutTls,
    #[error("the hello name is neither a host name nor an IP address")]
    HelloName,
    #[error("the host is neither a host name nor an IP address")]
    Host,
    #[error("the trusted certificates cannot be loaded: {0}")]
    Roots(String),
}

impl SmtpTimeouts {
    /// The longest time that one email can take, including connecting, for a host with one address.
    pub fn total(&self) -> Duration {
        // Two for name and address. Six commands: STARTTLS or handshake, the second EHLO, AUTH, RSET, MAIL and RCPT.
        self.connect * 2 + self.greeting + self.command * 6 + self.data + self.body
    }
}

impl Default for SmtpTimeouts {
    /// Shorter than RFC 5321 §4.5.3.2 asks of a relay: this relay is near, and a lane that waits sends nothing. While a
    /// relay does not greet, probes take one connection each; with this time and four connections, one is always left.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            greeting: Duration::from_secs(20),
            command: Duration::from_secs(30),
            data: Duration::from_secs(30),
            body: Duration::from_mins(2),
        }
    }
}

impl Default for SmtpLimits {
    fn default() -> Self {
        Self {
            messages_per_connection: 100,
            connection_max_age: Duration::from_mins(5),
            idle_close: Duration::from_secs(30),
        }
    }
}

pub(super) struct RelayEndpoint {
    pub(super) config: SmtpConfig,
    pub(super) tls: RelayTls,
    pub(super) hello: ClientId,
}

/// `lettre` performs STARTTLS and needs the parameters in its own form. Implicit TLS wraps the stream before `lettre`
/// gets it.
pub(super) enum RelayTls {
    None,
    StartTls(TlsParameters),
    Implicit {
        connector: TlsConnector,
        name: ServerName<'static>,
    },
}

impl RelayEndpoint {
    pub(super) fn new(config: SmtpConfig) -> Result<Self, SmtpConfigError> {
        if config.tls == SmtpTls::None && config.credentials.is_some() {
            return Err(SmtpConfigError::CredentialsWithoutTls);
        }
        Ok(Self {
            tls: RelayTls::new(&config)?,
            hello: client_id(&config.hello_name).ok_or(SmtpConfigError::HelloName)?,
            config,
        })
    }

    pub(super) fn credentials(&self) -> Option<Credentials> {
        let (user, password) = self.config.credentials.clone()?;
        Some(Credentials::new(user, password.expose_secret().to_owned()))
    }
}

/// The hello name becomes part of a command line, so only a host name or an IP address is accepted.
fn client_id(name: &str) -> Option<ClientId> {
    let is_label_byte = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_label_byte);
    match name.parse() {
        Ok(IpAddr::V4(address)) => Some(ClientId::Ipv4(address)),
        Ok(IpAddr::V6(address)) => Some(ClientId::Ipv6(address)),
        Err(_) => (name.len() <= 253 && name.split('.').all(is_label))
            .then(|| ClientId::Domain(name.to_owned())),
    }
}

impl RelayTls {
    /// Loads the trusted certificates and checks that a certificate can name the host.
    fn new(config: &SmtpConfig) -> Result<Self, SmtpConfigError> {
        if config.tls == SmtpTls::None {
            return Ok(Self::None);
        }
        let name = ServerName::try_from(config.host.clone()).map_err(|_| SmtpConfigError::Host)?;
        let extra_roots = config.extra_roots_pem.as_deref();
        if config.tls == SmtpTls::StartTls {
            return start_tls(&config.host, extra_roots)
                .map(Self::StartTls)
                .map_err(|error| SmtpConfigError::Roots(error.to_string()));
        }
        let client = trusted_roots::load(extra_roots).and_then(trusted_roots::client_config);
        let connector = TlsConnector::from(Arc::new(client.map_err(SmtpConfigError::Roots)?));
        Ok(Self::Implicit { connector, name })
    }
}

fn start_tls(host: &str, extra_roots: Option<&str>) -> Result<TlsParameters, SmtpError> {
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(pem) = extra_roots {
        parameters = parameters.add_root_certificate(Certificate::from_pem(pem.as_bytes())?);
    }
    parameters.build()
}

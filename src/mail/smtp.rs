//! Mail over SMTP: how a relay is configured, and the session one lane has with it.
//!
//! A session keeps one connection between mails and gives it up rather than wonder: it is taken out before the first
//! command and put back only after an orderly end, so a dropped future drops it too. There is no pool and no retry;
//! 8BITMIME and SMTPUTF8 are not used, and TLS is never negotiated down.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::extension::ClientId;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::connection::Connection;
use super::message::ComposedMail;
use super::outcome::{Accepted, SendError, Stage};
use super::reply::{Failure, Left};
use super::tls::TlsSetup;
use crate::domain::masking::without_local_part;

/// How the conversation is encrypted. Certificates are always verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Not at all; then there are no credentials either. For a relay on the same host.
    None,
    /// By STARTTLS, which the server must offer (usually port 587).
    StartTls,
    /// From the first byte (usually port 465, RFC 8314).
    Implicit,
}

/// How long each step may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpTimeouts {
    /// Resolving the name, and reaching one of its addresses.
    pub connect: Duration,
    /// The greeting and the reply to EHLO.
    pub greeting: Duration,
    /// Any other command, a TLS handshake included.
    pub command: Duration,
    /// DATA.
    pub data: Duration,
    /// Sending the message and waiting for its reply. Too short makes duplicates (RFC 1047).
    pub body: Duration,
}

/// How long a connection is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmtpLimits {
    /// Mails over one connection; relays cut long ones off.
    pub messages_per_connection: u32,
    /// Age at which a connection gets no further mail.
    pub connection_max_age: Duration,
    /// Idleness after which a connection is not used again.
    pub idle_close: Duration,
}

/// A relay and how to talk to it.
#[derive(Clone)]
pub struct SmtpConfig {
    /// Name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Encryption.
    pub tls: SmtpTls,
    /// Certificates in PEM to trust besides the system's, for a relay with a private authority.
    pub extra_roots_pem: Option<String>,
    /// User name and password.
    pub credentials: Option<(String, SecretString)>,
    /// What to call ourselves in EHLO: a host name or an IP address.
    pub hello_name: String,
    /// Sends commands ahead of replies where the relay offers it (RFC 2920): two round trips a mail instead of four.
    pub pipelining: bool,
    /// Per-step timeouts.
    pub timeouts: SmtpTimeouts,
    /// Connection reuse.
    pub limits: SmtpLimits,
}

/// Why a configuration is refused at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpConfigError {
    /// A password would cross the network in the clear.
    #[error("credentials need TLS")]
    CredentialsWithoutTls,
    /// EHLO takes a host name or an IP address.
    #[error("the hello name is neither a host name nor an IP address")]
    HelloName,
    /// The host cannot be named in a certificate.
    #[error("the host is neither a host name nor an IP address")]
    Host,
    /// The trusted certificates could not be read, or there are none.
    #[error("no trusted certificates: {0}")]
    Roots(String),
}

/// A configured relay. Cheap to clone.
#[derive(Clone)]
pub struct SmtpTransport(Arc<Route>);

/// What a connection needs to know, checked and prepared once.
pub(super) struct Route {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: TlsSetup,
    pub(super) credentials: Option<Credentials>,
    pub(super) hello: ClientId,
    pub(super) pipelining: bool,
    pub(super) timeouts: SmtpTimeouts,
    limits: SmtpLimits,
}

/// One lane's conversation with the relay.
pub struct SmtpSession {
    route: Arc<Route>,
    kept: Option<Connection>,
}

impl SmtpTimeouts {
    /// The longest one mail can take, connecting included, for a host with one address.
    #[must_use]
    pub fn total(&self) -> Duration {
        // Name and address; STARTTLS or handshake, the second EHLO, AUTH, RSET, MAIL and RCPT.
        self.connect * 2 + self.greeting + self.command * 6 + self.data + self.body
    }
}

impl Default for SmtpTimeouts {
    /// Shorter than RFC 5321 §4.5.3.2 asks of a relay: ours is near, and a lane that waits sends nothing.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            greeting: Duration::from_secs(30),
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

impl fmt::Debug for SmtpConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SmtpConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("pipelining", &self.pipelining)
            .field("timeouts", &self.timeouts)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl SmtpTransport {
    /// Checks a configuration and loads the trusted certificates. Connects to nothing.
    pub fn new(config: SmtpConfig) -> Result<Self, SmtpConfigError> {
        if config.tls == SmtpTls::None && config.credentials.is_some() {
            return Err(SmtpConfigError::CredentialsWithoutTls);
        }
        let tls = TlsSetup::prepare(&config)?;
        Ok(Self(Arc::new(Route {
            tls,
            hello: hello(&config.hello_name).ok_or(SmtpConfigError::HelloName)?,
            credentials: config.credentials.map(|(user, password)| {
                Credentials::new(user, password.expose_secret().to_owned())
            }),
            host: config.host,
            port: config.port,
            pipelining: config.pipelining,
            timeouts: config.timeouts,
            limits: config.limits,
        })))
    }

    /// Opens a session. Nothing is connected before the first mail.
    #[must_use]
    pub fn open(&self) -> SmtpSession {
        SmtpSession {
            route: Arc::clone(&self.0),
            kept: None,
        }
    }
}

impl fmt::Debug for SmtpTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SmtpTransport")
            .field("host", &self.0.host)
            .field("port", &self.0.port)
            .finish_non_exhaustive()
    }
}

impl SmtpSession {
    /// Sends one mail, over the kept connection if it is still good.
    pub async fn send(&mut self, mail: &ComposedMail) -> Result<Accepted, SendError> {
        let kept = self.take_reusable().await;
        let is_reused = kept.is_some();
        let mut connection = match kept {
            Some(connection) => connection,
            None => Connection::open(&self.route).await?,
        };
        let mut outcome = connection.deliver(mail, &self.route.timeouts).await;
        if is_reused && matches!(&outcome, Err(failure) if was_stale(failure)) {
            connection = Connection::open(&self.route).await?;
            outcome = connection.deliver(mail, &self.route.timeouts).await;
        }
        if matches!(
            &outcome,
            Ok(_)
                | Err(Failure {
                    left: Left::InStep,
                    ..
                })
        ) {
            self.kept = Some(connection);
        }
        // What looks like an address is masked already; here it is known whose it would be.
        let local_part = mail.recipient().user();
        match outcome {
            Ok(accepted) => Ok(Accepted {
                reply: without_local_part(&accepted.reply, local_part),
            }),
            Err(Failure { mut error, .. }) => {
                error.text = without_local_part(&error.text, local_part);
                Err(error)
            }
        }
    }

    /// When the kept connection has idled long enough; `None` if there is none.
    #[must_use]
    pub fn idle_deadline(&self) -> Option<Instant> {
        let kept = self.kept.as_ref()?;
        Some(kept.used_at() + self.route.limits.idle_close)
    }

    /// Says QUIT and closes, within two seconds.
    pub async fn close(&mut self) {
        if let Some(connection) = self.kept.take() {
            connection.quit().await;
        }
    }

    async fn take_reusable(&mut self) -> Option<Connection> {
        let mut connection = self.kept.take()?;
        if connection.is_reusable(&self.route.limits) {
            return Some(connection);
        }
        connection.quit().await;
        None
    }
}

impl fmt::Debug for SmtpSession {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SmtpSession")
            .field("is_connected", &self.kept.is_some())
            .finish_non_exhaustive()
    }
}

/// A kept connection that is gone at its first command was closed by the server in the meantime. That says nothing
/// of the relay or the mail, so one fresh connection is tried.
fn was_stale(failure: &Failure) -> bool {
    failure.left == Left::HungUp && failure.error.stage == Stage::MailFrom
}

/// A hello name goes into a command line, so nothing but a name or an address may pass.
fn hello(name: &str) -> Option<ClientId> {
    match name.parse() {
        Ok(IpAddr::V4(address)) => return Some(ClientId::Ipv4(address)),
        Ok(IpAddr::V6(address)) => return Some(ClientId::Ipv6(address)),
        Err(_) => {}
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    (name.len() <= 253 && name.split('.').all(is_label)).then(|| ClientId::Domain(name.to_owned()))
}

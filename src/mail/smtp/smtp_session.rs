//! A session with a relay, which keeps one connection between emails.
//!
//! The session takes its connection out before the first command and puts it back only after an orderly end. So a
//! dropped future also drops the connection. There is no pool and no retry.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::relay_connection::RelayConnection;
use super::relay_reply::{ConnectionState, RelayFailure};
use super::smtp_config::{RelayEndpoint, SmtpConfig, SmtpConfigError};
use crate::domain::masking::without_local_part;
use crate::mail::message::ComposedMessage;
use crate::mail::send_error::{SendError, SendReceipt};

/// A configured relay. Cheap to clone.
#[derive(Clone)]
pub struct SmtpTransport(Arc<RelayEndpoint>);

/// One connection to the relay, opened when it is needed.
pub struct SmtpSession {
    endpoint: Arc<RelayEndpoint>,
    idle: Option<RelayConnection>,
    /// The last connections that could not be opened, in a row.
    refusals: u32,
}

impl SmtpTransport {
    /// Checks a configuration and loads the trusted certificates. Opens no connection.
    pub fn new(config: SmtpConfig) -> Result<Self, SmtpConfigError> {
        RelayEndpoint::new(config).map(|endpoint| Self(Arc::new(endpoint)))
    }

    /// Opens a session, which connects when it sends its first email.
    pub fn open(&self) -> SmtpSession {
        SmtpSession {
            endpoint: Arc::clone(&self.0),
            idle: None,
            refusals: 0,
        }
    }
}

impl SmtpSession {
    /// Sends one email, over the idle connection if that is still usable. If the relay closes that connection before it
    /// takes the email, the session tries one new connection: relays limit how many emails a connection may send.
    pub async fn send(&mut self, message: &ComposedMessage) -> Result<SendReceipt, SendError> {
        let mut outcome = None;
        if let Some(idle) = self.take_idle().await {
            outcome = Some(self.deliver(idle, message).await);
        }
        let outcome = match outcome {
            Some(outcome) if !was_closed(&outcome) => outcome,
            _ => {
                let connection = self.open().await?;
                self.deliver(connection, message).await
            }
        };
        // Whole addresses are masked already. A reply may also quote the local part alone, which is known here.
        let local_part = message.recipient().user();
        match outcome {
            Ok(receipt) => Ok(SendReceipt {
                reply: without_local_part(&receipt.reply, local_part),
            }),
            Err(RelayFailure { mut error, .. }) => {
                error.text = without_local_part(&error.text, local_part);
                Err(error)
            }
        }
    }

    async fn open(&mut self) -> Result<RelayConnection, SendError> {
        let opened = RelayConnection::open(&self.endpoint).await;
        self.refusals = match &opened {
            Ok(_) => 0,
            Err(_) => self.refusals.saturating_add(1),
        };
        opened
    }

    /// Delivers one email, and keeps the connection if it is still usable.
    async fn deliver(
        &mut self,
        mut connection: RelayConnection,
        message: &ComposedMessage,
    ) -> Result<SendReceipt, RelayFailure> {
        let timeouts = &self.endpoint.config.timeouts;
        let outcome = connection.deliver(message, timeouts).await;
        let failed = outcome.as_ref().err();
        if failed.is_none_or(|failure| failure.connection == ConnectionState::InSync) {
            self.idle = Some(connection);
        }
        outcome
    }

    /// Whether the server refused the last connections, at least two in a row.
    pub fn is_refused(&self) -> bool {
        self.refusals >= 2
    }

    /// When the idle connection is due to be closed; `None` without one.
    pub fn idle_deadline(&self) -> Option<Instant> {
        let idle = self.idle.as_ref()?;
        Some(idle.used_at() + self.endpoint.config.limits.idle_close)
    }

    /// Sends QUIT and closes the connection, within two seconds.
    pub async fn close(&mut self) {
        if let Some(connection) = self.idle.take() {
            connection.quit().await;
        }
    }

    async fn take_idle(&mut self) -> Option<RelayConnection> {
        let mut connection = self.idle.take()?;
        if connection.was_ended_by_server() {
            return None;
        }
        if connection.is_within(&self.endpoint.config.limits) {
            return Some(connection);
        }
        connection.quit().await;
        None
    }
}

/// Whether the server closed the connection, or announced it (421), and certainly did not accept the email. That says
/// nothing about the email if the connection was used before.
fn was_closed(outcome: &Result<SendReceipt, RelayFailure>) -> bool {
    let Err(RelayFailure { error, connection }) = outcome else {
        return false;
    };
    let is_closed = *connection == ConnectionState::Closed || error.reply_code == Some(421);
    is_closed && !error.is_ambiguous()
}

impl fmt::Debug for SmtpTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SmtpConfig { host, port, .. } = &self.0.config;
        write!(formatter, "SmtpTransport({host}:{port})")
    }
}

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
use crate::mail::send_error::{SendError, SendReceipt, SendStage};

/// A configured relay. Cheap to clone.
#[derive(Clone)]
pub struct SmtpTransport(Arc<RelayEndpoint>);

/// One connection to the relay, opened when it is needed.
pub struct SmtpSession {
    endpoint: Arc<RelayEndpoint>,
    idle: Option<RelayConnection>,
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
        }
    }
}

impl SmtpSession {
    /// Sends one email, over the idle connection if that is still usable.
    pub async fn send(&mut self, message: &ComposedMessage) -> Result<SendReceipt, SendError> {
        let idle = self.take_idle().await;
        let is_reused = idle.is_some();
        let mut connection = match idle {
            Some(connection) => connection,
            None => RelayConnection::open(&self.endpoint).await?,
        };
        let timeouts = &self.endpoint.config.timeouts;
        let mut outcome = connection.deliver(message, timeouts).await;
        if is_reused && matches!(&outcome, Err(failure) if was_closed_while_idle(failure)) {
            connection = RelayConnection::open(&self.endpoint).await?;
            outcome = connection.deliver(message, timeouts).await;
        }
        let failed = outcome.as_ref().err();
        if failed.is_none_or(|failure| failure.connection == ConnectionState::InSync) {
            self.idle = Some(connection);
        }
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
        if connection.is_reusable(&self.endpoint.config.limits) {
            return Some(connection);
        }
        connection.quit().await;
        None
    }
}

/// Whether the server had closed an idle connection before its first command. That says nothing about the relay or the
/// email, so the session tries one new connection.
fn was_closed_while_idle(failure: &RelayFailure) -> bool {
    failure.connection == ConnectionState::Closed && failure.error.stage == SendStage::MailFrom
}

impl fmt::Debug for SmtpTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SmtpConfig { host, port, .. } = &self.0.config;
        write!(formatter, "SmtpTransport({host}:{port})")
    }
}

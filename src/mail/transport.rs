//! Sends one email at a time, to a relay or into a folder.
//!
//! A worker keeps one [`TransportSession`] for each connection of a lane. A session neither retries nor waits.

use tokio::time::Instant;

use super::file_transport::FileTransport;
use super::message::ComposedMessage;
use super::send_error::{SendError, SendReceipt};
use super::smtp::{SmtpSession, SmtpTransport};

/// Where emails go, as configured. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Transport {
    Smtp(SmtpTransport),
    /// A folder of `.eml` files, for development.
    File(FileTransport),
}

/// One connection of a lane, reused for many emails.
#[derive(Debug)]
pub enum TransportSession {
    Smtp(Box<SmtpSession>),
    File(FileTransport),
}

impl Transport {
    /// Opens a session, which connects when it sends its first email.
    pub fn open(&self) -> TransportSession {
        match self {
            Self::Smtp(transport) => TransportSession::Smtp(Box::new(transport.open())),
            Self::File(transport) => TransportSession::File(transport.clone()),
        }
    }
}

impl TransportSession {
    /// Sends one email to its one recipient.
    ///
    /// The future can be dropped at any point. The session then closes its connection, and the next email gets a new
    /// one. Whether the server accepted the abandoned email is unknown.
    pub async fn send(&mut self, message: &ComposedMessage) -> Result<SendReceipt, SendError> {
        match self {
            Self::Smtp(session) => session.send(message).await,
            Self::File(transport) => transport.send(message).await,
        }
    }

    /// When the idle connection is due to be closed; `None` without an open connection.
    pub fn idle_deadline(&self) -> Option<Instant> {
        match self {
            Self::Smtp(session) => session.idle_deadline(),
            Self::File(_) => None,
        }
    }

    /// Closes the connection, in bounded time. The session connects again when it sends the next email.
    pub async fn close(&mut self) {
        match self {
            Self::Smtp(session) => session.close().await,
            Self::File(_) => {}
        }
    }
}

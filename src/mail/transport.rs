//! Where mail goes: a relay or a folder.
//!
//! A worker opens one [`Session`] per lane and keeps it; what a session keeps between two mails is its own affair. It
//! does not try twice, sleep or count: a failure names its [`Fate`](super::outcome::Fate) and the worker decides.

use tokio::time::Instant;

use super::file::FileTransport;
use super::message::ComposedMail;
use super::outcome::{Accepted, SendError};
use super::smtp::{SmtpSession, SmtpTransport};

/// A configured way out. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Transport {
    /// A relay, by SMTP.
    Smtp(SmtpTransport),
    /// A folder of `.eml` files, for development.
    File(FileTransport),
}

/// One lane's way out.
#[derive(Debug)]
pub struct Session(Kind);

#[derive(Debug)]
enum Kind {
    Smtp(Box<SmtpSession>),
    File(FileTransport),
}

impl Transport {
    /// Opens a session. Nothing is connected before the first mail.
    #[must_use]
    pub fn open(&self) -> Session {
        Session(match self {
            Self::Smtp(transport) => Kind::Smtp(Box::new(transport.open())),
            Self::File(transport) => Kind::File(transport.clone()),
        })
    }
}

impl Session {
    /// Sends one mail to its one recipient.
    ///
    /// Dropping the future at any point is safe: the connection it used is gone then, and the next mail gets a new
    /// one. Whether the abandoned mail was accepted is unknown.
    pub async fn send(&mut self, mail: &ComposedMail) -> Result<Accepted, SendError> {
        match &mut self.0 {
            Kind::Smtp(session) => session.send(mail).await,
            Kind::File(transport) => transport.send(mail).await,
        }
    }

    /// When the kept connection has idled long enough to be closed; `None` if nothing is open.
    #[must_use]
    pub fn idle_deadline(&self) -> Option<Instant> {
        match &self.0 {
            Kind::Smtp(session) => session.idle_deadline(),
            Kind::File(_) => None,
        }
    }

    /// Takes leave of the server, in bounded time. The session may be used again and connects anew.
    pub async fn close(&mut self) {
        match &mut self.0 {
            Kind::Smtp(session) => session.close().await,
            Kind::File(_) => {}
        }
    }
}

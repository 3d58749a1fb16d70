//! `invitations inbox`: a mail server for development that delivers nothing and shows everything.
//!
//! A mail comes in by [`smtp`] (which reads the [`wire`] and understands each [`command`]), is kept as one file by the
//! [`mailbox`], and is looked at in a browser through [`web`], which shows what [`letter`] makes of it.
//!
//! It deliberately knows nothing of invitations but the look of their links, asks nobody for a password, speaks no
//! TLS and relays to nobody. So it belongs on the loopback interface, where it listens unless it is told otherwise.

mod command;
pub mod letter;
pub mod mailbox;
mod smtp;
mod web;
mod wire;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use mailbox::Mailbox;

/// Where the inbox listens and where it keeps its mails.
#[derive(Debug, Clone)]
pub struct InboxConfig {
    /// Where it takes mails. Port 0 means any free one.
    pub smtp_listen: SocketAddr,
    /// Where it shows them. Port 0 means any free one.
    pub http_listen: SocketAddr,
    /// The folder of the mails, made if it is missing. Mails that are in it already are shown too.
    pub directory: PathBuf,
}

/// An inbox that holds its two ports and waits to [`run`](Inbox::run).
#[derive(Debug)]
pub struct Inbox {
    smtp: TcpListener,
    http: TcpListener,
    smtp_addr: SocketAddr,
    http_addr: SocketAddr,
    mailbox: Arc<Mailbox>,
}

impl Inbox {
    /// Opens the folder and takes both ports, so that a client may connect as soon as this returns.
    pub fn bind(config: InboxConfig) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::open(config.directory)?);
        let smtp = listen(config.smtp_listen)?;
        let http = listen(config.http_listen)?;
        Ok(Self {
            smtp_addr: smtp.local_addr()?,
            http_addr: http.local_addr()?,
            smtp,
            http,
            mailbox,
        })
    }

    /// Where it takes mails.
    #[must_use]
    pub fn smtp_addr(&self) -> SocketAddr {
        self.smtp_addr
    }

    /// Where it shows them.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Works until `stop` is cancelled. A mail that was answered with 250 by then is on disk.
    pub async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let smtp = tokio::net::TcpListener::from_std(self.smtp)?;
        let http = tokio::net::TcpListener::from_std(self.http)?;
        let (taken, shown) = tokio::join!(
            smtp::serve(smtp, Arc::clone(&self.mailbox), stop.clone()),
            web::serve(http, self.mailbox, stop),
        );
        let () = taken;
        shown
    }
}

/// Takes a port; the error says which, because "address already in use" alone does not help.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

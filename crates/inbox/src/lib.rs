//! A mail server for development that delivers nothing and shows everything.
//!
//! A mail comes in by `smtp` (which reads the `wire` and understands each `command`), is kept as one file by the
//! [`mailbox`], and is looked at in a browser through `web`, which shows what [`letter`] makes of it.
//!
//! It deliberately knows nothing of invitations but the look of their links, asks nobody for a password, speaks no
//! TLS and relays to nobody. So it belongs on the loopback interface, where it listens unless it is told otherwise.

pub mod arguments;
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

use crate::mailbox::Mailbox;

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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::mailbox::tests::Folder;
    use super::*;

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn what_comes_in_by_mail_is_shown_in_the_browser_until_the_inbox_is_stopped() {
        let folder = Folder::new("whole");
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = InboxConfig {
            smtp_listen: any_port,
            http_listen: any_port,
            directory: folder.path(),
        };
        let inbox = Inbox::bind(config).unwrap();
        let (smtp, http) = (inbox.smtp_addr(), inbox.http_addr());
        let stop = CancellationToken::new();
        let visit = async {
            let mail = "HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.co>\r\nDATA\r\nSubject: Hi\r\n\r\n.\r\nQUIT\r\n";
            let replies = exchange(smtp, mail).await;
            let get = "GET /api/mails HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let page = exchange(http, get).await;
            stop.cancel();
            (replies, page)
        };
        let (ended, (replies, page)) = tokio::join!(inbox.run(stop.clone()), visit);
        ended.unwrap();
        assert!(replies.contains("\r\n250 kept as "), "{replies}");
        assert!(page.contains(r#""to":["a@b.co"],"subject":"Hi""#), "{page}");
    }

    #[test]
    fn a_port_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = Folder::new("taken");
        let address = taken.local_addr().unwrap();
        let config = InboxConfig {
            smtp_listen: address,
            http_listen: address,
            directory: folder.path(),
        };
        let error = Inbox::bind(config).unwrap_err().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }
}

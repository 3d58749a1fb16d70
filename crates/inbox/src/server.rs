//! The SMTP listener and the HTTP listener, which share one mailbox.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::mailbox::Mailbox;
use crate::{smtp, web};

#[derive(Debug, clap::Args)]
pub(crate) struct InboxConfig {
    /// Address of the SMTP server; port 0 selects a free port
    #[arg(
        long,
        env = "INVITATIONS_INBOX_SMTP_LISTEN",
        default_value = "127.0.0.1:1025",
        value_name = "ADDRESS"
    )]
    pub(crate) smtp_listen: SocketAddr,
    /// Address of the web pages, which show every message without a password; port 0 selects a free port
    #[arg(
        long,
        env = "INVITATIONS_INBOX_HTTP_LISTEN",
        default_value = "127.0.0.1:8025",
        value_name = "ADDRESS"
    )]
    pub(crate) http_listen: SocketAddr,
    /// Folder of the messages, with one .eml file per message
    #[arg(
        long,
        env = "INVITATIONS_INBOX_DIRECTORY",
        default_value = ".data/inbox",
        value_name = "FOLDER",
        global = true
    )]
    pub(crate) directory: PathBuf,
}

/// A server that has opened its ports and does not serve yet.
pub(crate) struct InboxServer {
    pub(crate) smtp_addr: SocketAddr,
    pub(crate) http_addr: SocketAddr,
    smtp: TcpListener,
    http: TcpListener,
    mailbox: Arc<Mailbox>,
}

impl InboxServer {
    /// Opens the folder and both ports. Clients can connect from then on.
    pub(crate) fn bind(config: InboxConfig) -> io::Result<Self> {
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

    /// Serves until `stop` is cancelled. A message that was answered with 250 is in its file.
    pub(crate) async fn run(self, stop: CancellationToken) -> io::Result<()> {
        let smtp = tokio::net::TcpListener::from_std(self.smtp)?;
        let http = tokio::net::TcpListener::from_std(self.http)?;
        let ((), result) = tokio::join!(
            smtp::session::serve(smtp, Arc::clone(&self.mailbox), stop.clone()),
            web::serve(http, self.mailbox, stop),
        );
        result
    }
}

/// Opens a port. An error contains the address.
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

    use super::*;
    use tempfile::TempDir;

    async fn exchange(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_received_message_is_shown_on_the_pages_until_the_server_stops() {
        let folder = TempDir::new().unwrap();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = InboxConfig {
            smtp_listen: any_port,
            http_listen: any_port,
            directory: folder.path().to_owned(),
        };
        let server = InboxServer::bind(config).unwrap();
        let (smtp, http) = (server.smtp_addr, server.http_addr);
        let stop = CancellationToken::new();
        let client = async {
            let conversation = "HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.co>\r\nDATA\r\nSubject: Hi\r\n\r\n.\r\nQUIT\r\n";
            let replies = exchange(smtp, conversation).await;
            let get = "GET /api/mails HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            let page = exchange(http, get).await;
            stop.cancel();
            (replies, page)
        };
        let (result, (replies, page)) = tokio::join!(server.run(stop.clone()), client);
        result.unwrap();
        assert!(replies.contains("\r\n250 stored as "), "{replies}");
        assert!(page.contains(r#""to":["a@b.co"],"subject":"Hi""#), "{page}");
    }

    #[test]
    fn a_port_in_use_is_named_in_the_error() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let folder = TempDir::new().unwrap();
        let address = other.local_addr().unwrap();
        let config = InboxConfig {
            smtp_listen: address,
            http_listen: address,
            directory: folder.path().to_owned(),
        };
        let error = InboxServer::bind(config).err().unwrap().to_string();
        assert!(error.contains(&address.to_string()), "{error}");
    }
}

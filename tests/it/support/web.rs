//! The HTTP port as bytes: a server of its own, and a client that says whatever it is told to.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use invitations::clock::{Clock, MockClock};
use invitations::domain::address_tag::AddressTagger;
use invitations::domain::email_address::EmailAddress;
use invitations::domain::keyring::Keyring;
use invitations::domain::unsubscribe_token;
use invitations::http::{HttpConfig, HttpServer, HttpTimeouts, PostmarkPassword, WebhookSecret};
use invitations::service::Service;
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::harness::KEYS;

/// What Resend signs with.
pub(crate) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// What Postmark logs in with.
pub(crate) const PASSWORD: &str = "correct-horse-battery";

/// An HTTP port; it is closed when dropped.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: watch::Sender<bool>,
    clock: Arc<MockClock>,
    stopping: CancellationToken,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Web {
    /// Opens one for a service.
    pub(crate) async fn open(
        service: Service,
        clock: Arc<MockClock>,
        timeouts: HttpTimeouts,
    ) -> Self {
        let config = HttpConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            serves_api: true,
            resend: Some(WebhookSecret::parse(SECRET).unwrap()),
            postmark: PostmarkPassword::parse(PASSWORD),
            timeouts,
            drain_timeout: Duration::from_secs(1),
        };
        Self::open_with(config, service, clock).await
    }

    /// Opens one with another configuration.
    pub(crate) async fn open_with(
        config: HttpConfig,
        service: Service,
        clock: Arc<MockClock>,
    ) -> Self {
        let (readiness, ready) = watch::channel(true);
        let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let server = HttpServer::bind(config, service, as_clock, ready)
            .await
            .unwrap();
        let (address, stopping) = (server.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(server.run(stopping.clone()));
        Self {
            address,
            readiness,
            clock,
            stopping,
        }
    }

    /// Asks for something.
    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let lines = headers.iter();
        let head: Vec<_> = lines
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = head.concat();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{head}\r\n{body}"
        );
        exchange(self.address, request.as_bytes()).await
    }

    /// Looks at a page.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    /// Does what a mail program does for one click.
    pub(crate) async fn one_click(&self, path: &str) -> Answer {
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        self.ask("POST", path, &form, "List-Unsubscribe=One-Click")
            .await
    }

    /// Reports as Resend does, now.
    pub(crate) async fn resend(&self, event_id: &str, body: &str) -> Answer {
        let now = self.clock.now().unix_timestamp();
        let signature = sign(SECRET, event_id, now, body);
        self.resend_signed(event_id, now, &signature, body).await
    }

    /// Reports with any signature.
    pub(crate) async fn resend_signed(
        &self,
        event_id: &str,
        time: i64,
        signature: &str,
        body: &str,
    ) -> Answer {
        let time = time.to_string();
        let headers = [
            ("svix-id", event_id),
            ("svix-timestamp", time.as_str()),
            ("svix-signature", signature),
        ];
        self.ask("POST", "/webhooks/resend", &headers, body).await
    }

    /// Reports as Postmark does.
    pub(crate) async fn postmark(&self, password: &str, body: &str) -> Answer {
        let basic = STANDARD.encode(format!("postmark:{password}"));
        let authorization = format!("Basic {basic}");
        let headers = [("Authorization", authorization.as_str())];
        self.ask("POST", "/webhooks/postmark", &headers, body).await
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl Answer {
    /// The value of a header, if it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends bytes and reads the one answer that comes before the connection is closed.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that has heard enough may hang up in the middle.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    answer(&bytes)
}

/// Reads an answer.
pub(crate) fn answer(bytes: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    Answer {
        status: status.parse().unwrap_or_default(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A signature by Standard Webhooks.
pub(crate) fn sign(secret: &str, event_id: &str, time: i64, body: &str) -> String {
    let secret = STANDARD
        .decode(secret.trim_start_matches("whsec_"))
        .unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(&secret)
        .unwrap()
        .chain_update(format!("{event_id}.{time}.{body}"))
        .finalize()
        .into_bytes();
    format!("v1,{}", STANDARD.encode(mac))
}

/// Where the link of an address leads.
pub(crate) fn unsubscribe_path(address: &str) -> String {
    let keyring = Keyring::parse(KEYS).unwrap();
    let tag = AddressTagger::new(&keyring).tag(&EmailAddress::parse(address).unwrap());
    format!("/u/{}", unsubscribe_token::seal(&keyring, &tag).unwrap())
}

/// A report of Resend on a mail.
pub(crate) fn resend_event(kind: &str, bounce_type: &str, invitation_id: &str) -> String {
    serde_json::json!({
        "type": kind,
        "created_at": "2026-11-22T18:48:12.126Z",
        "data": {
            "email_id": "56761188-7520-42d8-8898-ff6fc54ce618",
            "to": ["alice@example.net"],
            "bounce": {
                "message": "smtp; 550 5.1.1 <alice@example.net>: unknown",
                "subType": "General",
                "type": bounce_type,
            },
            "tags": {"invitation_id": invitation_id, "send_seq": "1"},
        },
    })
    .to_string()
}

/// A report of Postmark on a mail.
pub(crate) fn postmark_event(
    id: i64,
    record_type: &str,
    kind: &str,
    invitation_id: &str,
) -> String {
    serde_json::json!({
        "RecordType": record_type,
        "MessageStream": "outbound",
        "ID": id,
        "Type": kind,
        "TypeCode": 1,
        "Details": "smtp;550 5.1.1 <alice@example.net>: unknown",
        "Email": "alice@example.net",
        "Inactive": kind == "HardBounce",
        "Metadata": {"invitation_id": invitation_id, "send_seq": "1"},
    })
    .to_string()
}

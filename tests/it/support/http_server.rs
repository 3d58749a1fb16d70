//! An HTTP port with a client that sends any bytes, and the reports that providers send to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use invitations::capacity::Capacity;
use invitations::clock::{Clock, MockClock};
use invitations::grpc::limits::MEMORY_BUDGET_DEFAULT;
use invitations::http::{self, HttpConfig, HttpTimeouts, PostmarkPassword, WebhookSecret};
use invitations::service::Service;
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::support::feedback::unsubscribe_token;
use crate::support::fixtures::KEYS;

/// The secret with which Resend signs.
pub(crate) const WEBHOOK_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// The password with which Postmark authenticates.
pub(crate) const WEBHOOK_PASSWORD: &str = "correct-horse-battery";

/// A server of the HTTP port. It stops when it is dropped.
pub(crate) struct HttpServer {
    pub(crate) address: SocketAddr,
    pub(crate) readiness: watch::Sender<bool>,
    clock: Arc<MockClock>,
    stopping: CancellationToken,
}

#[derive(Debug)]
pub(crate) struct HttpResponse {
    pub(crate) status: u16,
    /// The header lines, with names in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl HttpServer {
    /// Serves with the webhooks of both providers.
    pub(crate) async fn open(
        service: Service,
        clock: Arc<MockClock>,
        timeouts: HttpTimeouts,
    ) -> Self {
        let config = HttpConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            serves_api: true,
            resend: Some(WebhookSecret::parse(WEBHOOK_SECRET).unwrap()),
            postmark: PostmarkPassword::parse(WEBHOOK_PASSWORD),
            timeouts,
            memory: Capacity::new(MEMORY_BUDGET_DEFAULT),
            drain_timeout: Duration::from_secs(1),
        };
        Self::open_with(config, service, clock).await
    }

    /// Serves with another configuration.
    pub(crate) async fn open_with(
        config: HttpConfig,
        service: Service,
        clock: Arc<MockClock>,
    ) -> Self {
        service.readiness().set_ready();
        let (readiness, ready) = watch::channel(true);
        let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let server = http::HttpServer::bind(config, service, as_clock, ready)
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

    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> HttpResponse {
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

    pub(crate) async fn get(&self, path: &str) -> HttpResponse {
        self.request("GET", path, &[], "").await
    }

    /// Unsubscribes as a mail program does (RFC 8058).
    pub(crate) async fn one_click(&self, path: &str) -> HttpResponse {
        let form = [("Content-Type", "application/x-www-form-urlencoded")];
        self.request("POST", path, &form, "List-Unsubscribe=One-Click")
            .await
    }

    /// Posts a report as Resend does, signed at the time of the clock.
    pub(crate) async fn resend(&self, event_id: &str, body: &str) -> HttpResponse {
        let now = self.clock.now().unix_timestamp();
        let signature = sign(WEBHOOK_SECRET, event_id, now, body);
        self.resend_signed(event_id, now, &signature, body).await
    }

    /// Posts a report with any signature.
    pub(crate) async fn resend_signed(
        &self,
        event_id: &str,
        time: i64,
        signature: &str,
        body: &str,
    ) -> HttpResponse {
        let time = time.to_string();
        let headers = [
            ("svix-id", event_id),
            ("svix-timestamp", time.as_str()),
            ("svix-signature", signature),
        ];
        self.request("POST", "/webhooks/resend", &headers, body)
            .await
    }

    /// Posts a report as Postmark does.
    pub(crate) async fn postmark(&self, password: &str, body: &str) -> HttpResponse {
        let basic = STANDARD.encode(format!("postmark:{password}"));
        let authorization = format!("Basic {basic}");
        let headers = [("Authorization", authorization.as_str())];
        self.request("POST", "/webhooks/postmark", &headers, body)
            .await
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl HttpResponse {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Sends bytes and reads until the connection is closed.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> HttpResponse {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server may close the connection before it has read the whole request.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    parse_response(&bytes)
}

pub(crate) fn parse_response(bytes: &[u8]) -> HttpResponse {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    HttpResponse {
        status: status.parse().unwrap_or_default(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// A signature of the Standard Webhooks specification.
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

/// The path of the unsubscribe link of an address.
pub(crate) fn unsubscribe_path(address: &str) -> String {
    format!("/u/{}", unsubscribe_token(KEYS, address))
}

/// A report of Resend about the first message of an invitation.
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

/// A report of Postmark about the first message of an invitation.
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

//! The HTTP port: authentication of webhooks, unsubscribe pages, health, limits and timeouts. The tests of feedback
//! cover the effect of a report on an invitation.

use std::sync::Arc;
use std::time::Duration;

use invitations::capacity::Capacity;
use invitations::clock::MockClock;
use invitations::grpc::limits::MEMORY_BUDGET_DEFAULT;
use invitations::http::{HttpConfig, HttpTimeouts};
use invitations::service::Service;
use invitations::store::{Store, StoreConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::deployment::Deployment;
use crate::support::http_server::{
    HttpServer, WEBHOOK_PASSWORD, WEBHOOK_SECRET, exchange, parse_response, postmark_event,
    resend_event, sign, unsubscribe_path,
};
use crate::support::services::context;
use crate::support::waiting::wait_until;
use crate::support::{KEYS, START, UNKNOWN_ID, World};

const MINUTE: i64 = 60;

async fn open(world: &World) -> HttpServer {
    let clock = Arc::clone(&world.clock);
    HttpServer::open(world.service.clone(), clock, HttpTimeouts::default()).await
}

/// A port whose database is unreachable.
pub(super) async fn open_without_database(timeouts: HttpTimeouts) -> HttpServer {
    let clock = Arc::new(MockClock::new(START));
    let service = service_without_database(&clock);
    HttpServer::open(service, clock, timeouts).await
}

fn service_without_database(clock: &Arc<MockClock>) -> Service {
    let config = StoreConfig {
        connections_max: 1,
        acquire_timeout: Duration::from_millis(100),
        statement_timeout: Duration::from_secs(1),
        lock_timeout: Duration::from_secs(1),
    };
    let store = Store::new("postgres://nobody@127.0.0.1:1/nowhere", config).unwrap();
    Service::new(store, context(clock, KEYS))
}

#[tokio::test]
async fn a_webhook_of_resend_is_authenticated_by_its_signature() {
    let world = World::start().await;
    let web = open(&world).await;
    let body = resend_event("email.bounced", "Permanent", UNKNOWN_ID);
    let now = START.unix_timestamp();
    let genuine = sign(WEBHOOK_SECRET, "msg_1", now, &body);
    let other_secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let other = sign(other_secret, "msg_1", now, &body);
    for (id, time, signature, status) in [
        ("msg_1", now, genuine.clone(), 204),
        // During a rotation of the secret, a report has a signature of the old one and of the new one.
        ("msg_1", now, format!("{other} {genuine}"), 204),
        ("msg_1", now, other.clone(), 401),
        ("msg_1", now, String::new(), 401),
        ("msg_1", now, genuine.to_ascii_lowercase(), 401),
        // Another event id or time with the same signature.
        ("msg_2", now, genuine.clone(), 401),
        ("msg_1", now + 1, genuine.clone(), 401),
    ] {
        let answer = web.resend_signed(id, time, &signature, &body).await;
        assert_eq!(answer.status, status, "{id} {time} {signature}");
    }
    let forged = body.replace("Permanent", "Transient");
    let answer = web.resend_signed("msg_1", now, &genuine, &forged).await;
    assert_eq!(answer.status, 401);
    let answer = web.request("POST", "/webhooks/resend", &[], &body).await;
    assert_eq!(answer.status, 401);
    let time = now.to_string();
    let standard = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", time.as_str()),
        ("webhook-signature", genuine.as_str()),
    ];
    let answer = web
        .request("POST", "/webhooks/resend", &standard, &body)
        .await;
    assert_eq!(answer.status, 204);
    assert_eq!(web.get("/webhooks/resend").await.status, 405);
}

#[tokio::test]
async fn a_signature_is_valid_for_five_minutes_around_the_time_of_the_server() {
    let world = World::start().await;
    let web = open(&world).await;
    let body = resend_event("email.complained", "", UNKNOWN_ID);
    let now = START.unix_timestamp();
    for (offset, status) in [
        (-5 * MINUTE, 204),
        (5 * MINUTE, 204),
        (-5 * MINUTE - 1, 401),
        (5 * MINUTE + 1, 401),
        (i64::MIN, 401),
        (i64::MAX, 401),
    ] {
        let time = now.saturating_add(offset);
        let signature = sign(WEBHOOK_SECRET, "msg_1", time, &body);
        let answer = web.resend_signed("msg_1", time, &signature, &body).await;
        assert_eq!(answer.status, status, "{offset}");
    }
    // A recorded request cannot be replayed later.
    let signature = sign(WEBHOOK_SECRET, "msg_1", now, &body);
    world.clock.advance(time::Duration::seconds(301));
    let answer = web.resend_signed("msg_1", now, &signature, &body).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_webhook_of_postmark_is_authenticated_by_its_password() {
    let world = World::start().await;
    let web = open(&world).await;
    let body = postmark_event(42, "Bounce", "HardBounce", UNKNOWN_ID);
    assert_eq!(web.postmark(WEBHOOK_PASSWORD, &body).await.status, 204);
    for password in [
        "",
        "wrong",
        "correct-horse-batter",
        "correct-horse-battery ",
    ] {
        let answer = web.postmark(password, &body).await;
        assert_eq!(answer.status, 401, "{password:?}");
        assert!(answer.header("www-authenticate").is_some());
    }
    let answer = web.request("POST", "/webhooks/postmark", &[], &body).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn every_authenticated_webhook_is_answered_with_204_or_400() {
    let world = World::start().await;
    let web = open(&world).await;
    let foreign = r#"{"type": "email.bounced", "data": {"bounce": {"type": "Permanent"}, "tags": {"a": "b"}}}"#;
    for (body, status) in [
        (foreign, 204),
        (r#"{"type": "email.delivered", "data": {}}"#, 204),
        (
            r#"{"type": "contact.created", "data": {"id": 7}, "new": []}"#,
            204,
        ),
        (r#"{"type": "email.bounced""#, 400),
        (r#"{"data": {}}"#, 400),
        ("[]", 400),
        ("", 400),
        ("\u{0}", 400),
    ] {
        assert_eq!(web.resend("msg_1", body).await.status, status, "{body}");
    }
    // A repeated report, and reports in the wrong order: a complaint before the bounce of the same message.
    for event_id in ["msg_2", "msg_2"] {
        let body = resend_event("email.complained", "", UNKNOWN_ID);
        assert_eq!(web.resend(event_id, &body).await.status, 204);
    }
    let body = resend_event("email.bounced", "Transient", UNKNOWN_ID);
    assert_eq!(web.resend("msg_1", &body).await.status, 204);
    for (body, status) in [
        (r#"{"RecordType": "Open", "MessageID": "x"}"#, 204),
        (
            r#"{"RecordType": "Bounce", "ID": 1, "Type": "HardBounce", "Metadata": {}}"#,
            204,
        ),
        (r#"{"RecordType": 7}"#, 400),
        ("{", 400),
    ] {
        assert_eq!(
            web.postmark(WEBHOOK_PASSWORD, body).await.status,
            status,
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_request_that_is_too_long_is_refused() {
    let web = open_without_database(HttpTimeouts::default()).await;
    let padding = " ".repeat(257 * 1024);
    let body = format!("{}{padding}", r#"{"type": "email.opened"}"#);
    assert_eq!(web.resend("msg_1", &body).await.status, 413);
    let body = &body[..256 * 1024];
    assert_eq!(web.resend("msg_1", body).await.status, 204);
    // A chunked body is counted while it arrives.
    let path = unsubscribe_path("alice@example.net");
    let chunk = format!("40400\r\n{}\r\n0\r\n\r\n", "x".repeat(0x40400));
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    );
    let answer = exchange(web.address, request.as_bytes()).await;
    assert_eq!(answer.status, 413);
    let long = format!("/{}", "x".repeat(20 * 1024));
    assert!(matches!(web.get(&long).await.status, 414 | 431));
}

#[tokio::test]
async fn requests_during_a_database_outage_are_answered_with_503_and_retry_after() {
    let web = open_without_database(HttpTimeouts::default()).await;
    let bounce = resend_event("email.bounced", "Permanent", UNKNOWN_ID);
    let complaint = postmark_event(1, "SpamComplaint", "SpamComplaint", UNKNOWN_ID);
    for answer in [
        web.resend("msg_1", &bounce).await,
        web.postmark(WEBHOOK_PASSWORD, &complaint).await,
        web.one_click(&unsubscribe_path("alice@example.net")).await,
    ] {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("30"));
    }
    // The page needs no database.
    let answer = web.get(&unsubscribe_path("alice@example.net")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_get_shows_the_unsubscribe_form_and_one_post_unsubscribes() {
    let world = World::start().await;
    let web = open(&world).await;
    let path = unsubscribe_path("alice@example.net");
    let page = web.get(&path).await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains("<form method=\"post\">"), "{page:?}");
    // The page contains neither the token nor the address, and is the same for every address.
    assert!(!page.body.contains(&path[3..]) && !page.body.contains("alice"));
    assert_eq!(web.get(&unsubscribe_path("bob@b.co")).await.body, page.body);
    let head = web.request("HEAD", &path, &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(web.request("OPTIONS", &path, &[], "").await.status, 405);
    // A form, a mail program that sends a multipart body, and both repeated.
    let parts = "--b\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--b--\r\n";
    let kind = [("Content-Type", "multipart/form-data; boundary=b")];
    for _ in 0..2 {
        let done = web.one_click(&path).await;
        assert_eq!(done.status, 200);
        assert!(done.body.contains("no more invitations"), "{done:?}");
        assert_eq!(web.request("POST", &path, &kind, parts).await.status, 200);
    }
    assert_eq!(web.request("POST", &path, &[], "").await.status, 400);
}

#[tokio::test]
async fn a_forged_unsubscribe_link_is_not_found() {
    let world = World::start().await;
    let web = open(&world).await;
    let genuine = unsubscribe_path("alice@example.net");
    let mut forged = genuine.clone().into_bytes();
    forged[20] = if forged[20] == b'A' { b'B' } else { b'A' };
    let forged = String::from_utf8(forged).unwrap();
    for path in [
        forged.as_str(),
        &genuine[..genuine.len() - 1],
        "/u/x",
        "/u/",
        "/u/%00",
        "/u/%ff",
        "/",
        "/u/../healthz",
    ] {
        let page = web.get(path).await;
        assert!(matches!(page.status, 400 | 404), "{path}: {page:?}");
        assert!(!page.body.contains("<form"), "{path}");
        let posted = web.one_click(path).await;
        assert!(matches!(posted.status, 400 | 404), "{path}: {posted:?}");
    }
    let missing = web.get(&forged).await;
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("There is nothing here"));
}

#[tokio::test]
async fn every_response_has_the_security_headers() {
    let web = open_without_database(HttpTimeouts::default()).await;
    let path = unsubscribe_path("alice@example.net");
    for answer in [
        web.get(&path).await,
        web.get("/u/x").await,
        web.get("/healthz").await,
        web.get("/nowhere").await,
        web.request("POST", "/webhooks/resend", &[], "{}").await,
        web.one_click(&path).await,
        web.request("PUT", &path, &[], "").await,
    ] {
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe") && !policy.contains("script"));
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[tokio::test]
async fn health_and_readiness_are_answered_in_plain_text() {
    let web = open_without_database(HttpTimeouts::default()).await;
    let health = web.get("/healthz").await;
    assert_eq!((health.status, health.body.as_str()), (200, "ok\n"));
    let kind = health.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");
    assert_eq!(web.get("/readyz").await.status, 200);
    web.readiness.send_replace(false);
    assert_eq!(web.get("/readyz").await.status, 503);
    assert_eq!(web.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_webhook_exists_only_if_its_secret_is_configured() {
    let clock = Arc::new(MockClock::new(START));
    let config = HttpConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        serves_api: true,
        resend: None,
        postmark: None,
        timeouts: HttpTimeouts::default(),
        memory: Capacity::new(MEMORY_BUDGET_DEFAULT),
        drain_timeout: Duration::from_secs(1),
    };
    let service = service_without_database(&clock);
    let web = HttpServer::open_with(config.clone(), service.clone(), Arc::clone(&clock)).await;
    assert_eq!(web.resend("msg_1", "{}").await.status, 404);
    assert_eq!(web.postmark(WEBHOOK_PASSWORD, "{}").await.status, 404);
    let path = unsubscribe_path("alice@example.net");
    assert_eq!(web.get(&path).await.status, 200);
    let config = HttpConfig {
        serves_api: false,
        ..config
    };
    let web = HttpServer::open_with(config, service, clock).await;
    assert_eq!(web.get(&path).await.status, 404);
    assert_eq!(web.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn slow_connections_are_closed_and_do_not_block_others() {
    let short = Duration::from_millis(300);
    let timeouts = HttpTimeouts {
        head: short,
        body: short,
        request: Duration::from_secs(5),
        connection: Duration::from_secs(2),
    };
    let web = open_without_database(timeouts).await;
    // As many connections as the port accepts: silent, incomplete headers, or idle after a response.
    let mut slow = Vec::new();
    for number in 0..512 {
        let mut stream = TcpStream::connect(web.address).await.unwrap();
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /healthz HTTP/1.1\r\nHost:",
            _ => b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        stream.write_all(said).await.unwrap();
        slow.push(stream);
    }
    let health = tokio::time::timeout(Duration::from_secs(20), web.get("/healthz")).await;
    assert_eq!(health.unwrap().status, 200);
    for mut stream in slow {
        let mut said = Vec::new();
        let ended =
            tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "the connection is still open");
    }
    // A body that does not arrive.
    let path = unsubscribe_path("alice@example.net");
    let mut stream = TcpStream::connect(web.address).await.unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 26\r\n\r\nList");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut said = Vec::new();
    let reading = stream.read_to_end(&mut said);
    let ended = tokio::time::timeout(Duration::from_secs(20), reading).await;
    assert!(ended.is_ok(), "the connection is still open");
    assert_eq!(parse_response(&said).status, 408);
}

#[tokio::test]
async fn the_server_program_opens_the_port_logs_no_secret_and_shuts_down_gracefully() {
    let deployment = Deployment::create().await;
    let settings = [
        ("INVITATIONS_LOG", "trace"),
        ("INVITATIONS_HTTP_LISTEN", "127.0.0.1:0"),
        ("INVITATIONS_PUBLIC_URL", "https://invitations.example.com"),
        ("INVITATIONS_RESEND_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("INVITATIONS_POSTMARK_WEBHOOK_PASSWORD", WEBHOOK_PASSWORD),
    ];
    let (mut running, _channel) = deployment.serve(&settings).await;
    let address = || {
        let log = running.log();
        let (_, rest) = log.split_once("http.address=")?;
        rest.split_whitespace().next()?.parse().ok()
    };
    wait_until("the HTTP port", async || address().is_some()).await;
    let address = address().unwrap();
    let path = unsubscribe_path("alice@example.net");
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(
        exchange(address, get("/readyz").as_bytes()).await.status,
        200
    );
    assert_eq!(exchange(address, get(&path).as_bytes()).await.status, 200);
    let body = "List-Unsubscribe=One-Click";
    let post = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(exchange(address, post.as_bytes()).await.status, 200);
    let webhook = "POST /webhooks/postmark HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(exchange(address, webhook.as_bytes()).await.status, 401);
    running.terminate().await;
    assert!(running.wait_for_exit().await.success());
    let log = running.log();
    for secret in [
        &path[3..],
        &path[10..40],
        &WEBHOOK_SECRET[6..],
        WEBHOOK_PASSWORD,
    ] {
        assert!(!log.contains(secret), "{log}");
    }
}

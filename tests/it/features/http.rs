//! The HTTP port: who is believed, what changes nothing, what slow and broken peers get, and when things should come
//! again. What a report does to an invitation is told by the tests of feedback.

use std::sync::Arc;
use std::time::Duration;

use invitations::clock::{Clock, MockClock};
use invitations::domain::keyring::Keyring;
use invitations::domain::link::{LinkMode, LinkTemplate};
use invitations::http::{HttpConfig, HttpTimeouts};
use invitations::service::{Context, Service};
use invitations::store::{Store, StoreConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::deployment::Deployment;
use crate::support::http_server::{
    HttpServer, WEBHOOK_PASSWORD, WEBHOOK_SECRET, exchange, parse_response, postmark_event,
    resend_event, sign, unsubscribe_path,
};
use crate::support::waiting::wait_until;
use crate::support::{KEYS, START, World};

const UNKNOWN_ID: &str = "019aacd0-0000-7000-8000-000000000001";
const MINUTE: i64 = 60;

async fn open(world: &World) -> HttpServer {
    let clock = Arc::clone(&world.clock);
    HttpServer::open(world.service.clone(), clock, HttpTimeouts::default()).await
}

/// A port whose database is away.
async fn open_without_database(timeouts: HttpTimeouts) -> HttpServer {
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
    let links = LinkTemplate::new("https://app.example.com/join", LinkMode::Fragment).unwrap();
    let context = Context::new(
        Arc::clone(clock) as Arc<dyn Clock>,
        Arc::new(Keyring::parse(KEYS).unwrap()),
        Arc::new(links),
    );
    let store = Store::new("postgres://nobody@127.0.0.1:1/nowhere", config).unwrap();
    Service::new(store, context)
}

#[tokio::test]
async fn a_report_of_resend_is_believed_by_its_signature_alone() {
    let world = World::start().await;
    let web = open(&world).await;
    let body = resend_event("email.bounced", "Permanent", UNKNOWN_ID);
    let now = START.unix_timestamp();
    let genuine = sign(WEBHOOK_SECRET, "msg_1", now, &body);
    let other_secret = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let other = sign(other_secret, "msg_1", now, &body);
    for (id, time, signature, status) in [
        ("msg_1", now, genuine.clone(), 204),
        // While the secret is replaced, each report is signed with the old one and the new one.
        ("msg_1", now, format!("{other} {genuine}"), 204),
        ("msg_1", now, other.clone(), 401),
        ("msg_1", now, String::new(), 401),
        ("msg_1", now, genuine.to_ascii_lowercase(), 401),
        // Another report under the same signature.
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
async fn a_signature_is_worth_five_minutes_by_our_clock() {
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
    // What was recorded on its way is worth nothing later.
    let signature = sign(WEBHOOK_SECRET, "msg_1", now, &body);
    world.clock.advance(time::Duration::seconds(301));
    let answer = web.resend_signed("msg_1", now, &signature, &body).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_report_of_postmark_is_believed_by_its_password_alone() {
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
async fn whatever_a_provider_sends_by_right_is_answered_for_good() {
    let world = World::start().await;
    let web = open(&world).await;
    let strangers = r#"{"type": "email.bounced", "data": {"bounce": {"type": "Permanent"}, "tags": {"a": "b"}}}"#;
    for (body, status) in [
        (strangers, 204),
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
    // Twice, and in the wrong order: a complaint before the bounce of the same mail.
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
async fn a_report_that_is_too_long_is_refused() {
    let web = open_without_database(HttpTimeouts::default()).await;
    let padding = " ".repeat(257 * 1024);
    let body = format!("{}{padding}", r#"{"type": "email.opened"}"#);
    assert_eq!(web.resend("msg_1", &body).await.status, 413);
    let body = &body[..256 * 1024];
    assert_eq!(web.resend("msg_1", body).await.status, 204);
    // Without a length, it is counted as it comes.
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
async fn what_finds_the_database_away_should_come_again() {
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
    // Looking needs no database.
    let answer = web.get(&unsubscribe_path("alice@example.net")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn the_page_asks_and_one_post_is_enough() {
    let world = World::start().await;
    let web = open(&world).await;
    let path = unsubscribe_path("alice@example.net");
    let asked = web.get(&path).await;
    assert_eq!(asked.status, 200);
    assert!(asked.body.contains("<form method=\"post\">"), "{asked:?}");
    // The page says nothing that its reader has not got already, and nobody else's page differs.
    assert!(!asked.body.contains(&path[3..]) && !asked.body.contains("alice"));
    assert_eq!(
        web.get(&unsubscribe_path("bob@b.co")).await.body,
        asked.body
    );
    let looked = web.request("HEAD", &path, &[], "").await;
    assert_eq!((looked.status, looked.body.as_str()), (200, ""));
    assert_eq!(web.request("OPTIONS", &path, &[], "").await.status, 405);
    // A form, a mail program with parts, and both once more.
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
async fn a_link_that_is_not_ours_leads_nowhere() {
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
        let asked = web.get(path).await;
        assert!(matches!(asked.status, 400 | 404), "{path}: {asked:?}");
        assert!(!asked.body.contains("<form"), "{path}");
        let posted = web.one_click(path).await;
        assert!(matches!(posted.status, 400 | 404), "{path}: {posted:?}");
    }
    let missing = web.get(&forged).await;
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("There is nothing here"));
}

#[tokio::test]
async fn every_answer_keeps_to_itself() {
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
async fn health_is_answered_in_plain_text() {
    let web = open_without_database(HttpTimeouts::default()).await;
    let lives = web.get("/healthz").await;
    assert_eq!((lives.status, lives.body.as_str()), (200, "ok\n"));
    let kind = lives.header("content-type").unwrap();
    assert!(kind.starts_with("text/plain"), "{kind}");
    assert_eq!(web.get("/readyz").await.status, 200);
    web.readiness.send_replace(false);
    assert_eq!(web.get("/readyz").await.status, 503);
    assert_eq!(web.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_route_is_there_only_with_its_secret() {
    let clock = Arc::new(MockClock::new(START));
    let config = HttpConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        serves_api: true,
        resend: None,
        postmark: None,
        timeouts: HttpTimeouts::default(),
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
async fn slow_peers_are_let_go_and_hold_nobody_up() {
    let short = Duration::from_millis(300);
    let timeouts = HttpTimeouts {
        head: short,
        request: short,
        connection: Duration::from_secs(2),
    };
    let web = open_without_database(timeouts).await;
    // As many as there are places: silent, stuck in the head, or gone quiet after an answer.
    let mut slow = Vec::new();
    for number in 0..256 {
        let mut stream = TcpStream::connect(web.address).await.unwrap();
        let said: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET /healthz HTTP/1.1\r\nHost:",
            _ => b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        stream.write_all(said).await.unwrap();
        slow.push(stream);
    }
    let lives = tokio::time::timeout(Duration::from_secs(20), web.get("/healthz")).await;
    assert_eq!(lives.unwrap().status, 200);
    for mut stream in slow {
        let mut said = Vec::new();
        let ended =
            tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "the connection is still open");
    }
    // A body that does not come.
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
async fn the_real_server_opens_the_port_logs_no_token_and_ends_in_order() {
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

//! The key sets of issuers: when they are fetched, how long their keys are used, and what happens if they cannot be
//! read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use invitations::clock::SystemClock;
use invitations::identity::{
    Callers, FETCH_TIMEOUT, KEY_SET_BYTES_MAX, KEYS_FRESH_FOR, KEYS_KEPT_FOR, REFRESH_PAUSE,
    UNKNOWN_KEY_PAUSE,
};
use invitations::settings::callers_file::CallersFile;
use jsonwebtoken::Header;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{claims, list, platform, start_world};
use crate::support::certificates::localhost_tls;
use crate::support::issuer::{JwtSigner, KeyServer, KeySetReply, key_set};
use crate::support::waiting::wait_until;
use crate::support::{World, status_reason};

async fn assert_unavailable(world: &World, token: &str) {
    let status = list(world, token).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_error_details().retry_info().is_some());
    assert_eq!(status_reason(&status), "OVERLOADED");
}

async fn assert_unauthenticated(world: &World, token: &str, case: &str) {
    let status = list(world, token).await.expect_err(case);
    assert_eq!(status.code(), Code::Unauthenticated, "{case}");
    assert_eq!(status_reason(&status), "CREDENTIALS_INVALID", "{case}");
}

#[tokio::test]
async fn a_new_key_is_accepted_at_once_and_a_removed_key_is_refused() {
    let (old, new) = (JwtSigner::eddsa("old"), JwtSigner::es256("new"));
    let server = KeyServer::start(&[&old]).await;
    let world = start_world(&server).await;
    list(&world, &old.sign(&claims(&world))).await.unwrap();
    assert_eq!(server.requests(), 1);

    server.rotate(&[&old, &new]);
    list(&world, &new.sign(&claims(&world))).await.unwrap();
    assert_eq!(server.requests(), 2);
    list(&world, &old.sign(&claims(&world))).await.unwrap();

    server.rotate(&[&new]);
    world.clock.advance(2 * KEYS_FRESH_FOR);
    // The keys are so old that this call waits for new ones.
    assert_unauthenticated(&world, &old.sign(&claims(&world)), "taken back").await;
    list(&world, &new.sign(&claims(&world))).await.unwrap();
    assert_eq!(
        server.requests(),
        3,
        "one request, because the keys were old"
    );
}

#[tokio::test]
async fn unknown_key_ids_cause_at_most_one_request_per_pause() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let world = start_world(&server).await;
    list(&world, &key.sign(&claims(&world))).await.unwrap();
    let unknown_key = |number: usize| {
        let header = Header {
            kid: Some(format!("unknown-{number}")),
            ..key.header()
        };
        key.sign_as(&header, &claims(&world))
    };
    for number in 0..20 {
        assert_unauthenticated(&world, &unknown_key(number), "unknown key").await;
    }
    assert_eq!(server.requests(), 2);
    world.clock.advance(UNKNOWN_KEY_PAUSE);
    for number in 0..20 {
        assert_unauthenticated(&world, &unknown_key(number), "unknown key").await;
    }
    assert_eq!(server.requests(), 3);
    list(&world, &key.sign(&claims(&world))).await.unwrap();
}

#[tokio::test]
async fn concurrent_calls_share_one_request_for_keys() {
    let key = JwtSigner::es256("1");
    let server = KeyServer::start(&[&key]).await;
    let world = start_world(&server).await;
    let call_20_times = async || {
        let token = key.sign(&claims(&world));
        let calls = (0..20).map(|_| list(&world, &token));
        for answer in join_all(calls).await {
            answer.unwrap();
        }
    };
    server.reply_with(KeySetReply::Slow(
        Duration::from_millis(300),
        key_set(&[&key]),
    ));
    call_20_times().await;
    assert_eq!(server.requests(), 1);
    world.clock.advance(KEYS_FRESH_FOR);
    call_20_times().await;
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn old_keys_remain_valid_while_an_issuer_fails_and_then_calls_are_unavailable() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let world = start_world(&server).await;
    list(&world, &key.sign(&claims(&world))).await.unwrap();
    let too_long = format!("{}{}", key_set(&[&key]), " ".repeat(KEY_SET_BYTES_MAX));
    let failures = [
        KeySetReply::Status(503),
        KeySetReply::Keys("<html>".to_owned()),
        KeySetReply::Keys(String::new()),
        KeySetReply::Keys(too_long),
        KeySetReply::Redirect(server.url()),
    ];
    let rounds = 5;
    assert_eq!(failures.len(), rounds);
    for failure in failures {
        server.reply_with(failure);
        let before = server.requests();
        world.clock.advance(KEYS_FRESH_FOR);
        // The first call with old keys starts a request and does not wait for it.
        list(&world, &key.sign(&claims(&world))).await.unwrap();
        wait_until("a request for keys", async || server.requests() > before).await;
        // An unknown key may be a new one, so the call is UNAVAILABLE and not UNAUTHENTICATED.
        let header = Header {
            kid: Some("2".to_owned()),
            ..key.header()
        };
        assert_unavailable(&world, &key.sign_as(&header, &claims(&world))).await;
        for _ in 0..10 {
            list(&world, &key.sign(&claims(&world))).await.unwrap();
        }
        assert_eq!(
            server.requests(),
            before + 1,
            "a failing issuer is not asked again at once"
        );
    }
    world.clock.advance(KEYS_KEPT_FOR - 5 * KEYS_FRESH_FOR);
    assert_unavailable(&world, &key.sign(&claims(&world))).await;
    // Static tokens remain valid.
    list(&world, "all").await.unwrap();

    server.rotate(&[&key]);
    assert_unavailable(&world, &key.sign(&claims(&world))).await;
    world.clock.advance(REFRESH_PAUSE);
    list(&world, &key.sign(&claims(&world))).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_never_answered_is_asked_again_after_a_pause() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    server.reply_with(KeySetReply::Status(500));
    let world = start_world(&server).await;
    for _ in 0..10 {
        assert_unavailable(&world, &key.sign(&claims(&world))).await;
    }
    assert_eq!(server.requests(), 1);
    server.rotate(&[&key]);
    world.clock.advance(REFRESH_PAUSE);
    list(&world, &key.sign(&claims(&world))).await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_slow_issuer_delays_only_calls_without_keys_and_only_for_the_timeout() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let world = start_world(&server).await;
    let slow = || server.reply_with(KeySetReply::Slow(Duration::from_secs(10), key_set(&[&key])));
    list(&world, &key.sign(&claims(&world))).await.unwrap();
    slow();
    world.clock.advance(KEYS_FRESH_FOR);
    let began = Instant::now();
    for _ in 0..10 {
        list(&world, &key.sign(&claims(&world))).await.unwrap();
    }
    assert!(began.elapsed() < FETCH_TIMEOUT / 2, "{:?}", began.elapsed());
    assert_eq!(server.requests(), 2);

    let other = KeyServer::start(&[&key]).await;
    other.reply_with(KeySetReply::Slow(Duration::from_secs(10), key_set(&[&key])));
    let world = start_world(&other).await;
    let began = Instant::now();
    let token = key.sign(&claims(&world));
    join_all((0..50).map(|_| assert_unavailable(&world, &token))).await;
    assert!(
        began.elapsed() < FETCH_TIMEOUT + Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(other.requests(), 1);
}

#[tokio::test]
async fn a_canceled_call_does_not_cancel_the_request_for_keys_of_others() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    server.reply_with(KeySetReply::Slow(
        Duration::from_millis(500),
        key_set(&[&key]),
    ));
    let world = start_world(&server).await;
    let token = key.sign(&claims(&world));
    let short = tokio::time::timeout(Duration::from_millis(100), list(&world, &token));
    let (gone, stayed) = tokio::join!(short, list(&world, &token));
    assert!(gone.is_err());
    stayed.unwrap();
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn an_empty_key_set_invalidates_all_keys() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let world = start_world(&server).await;
    list(&world, &key.sign(&claims(&world))).await.unwrap();
    server.rotate(&[]);
    world.clock.advance(2 * KEYS_FRESH_FOR);
    assert_unauthenticated(&world, &key.sign(&claims(&world)), "taken back").await;
}

#[tokio::test]
async fn keys_of_a_file_are_read_again_after_a_change() {
    let (old, new) = (JwtSigner::eddsa("old"), JwtSigner::eddsa("new"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, key_set(&[&old])).unwrap();
    let table = platform("x").replace(
        "jwks_url = \"x\"",
        &format!("jwks_file = \"{}\"", path.display()),
    );
    let world = World::builder().issuers(&table).start().await;
    list(&world, &old.sign(&claims(&world))).await.unwrap();
    std::fs::write(&path, key_set(&[&new])).unwrap();
    list(&world, &new.sign(&claims(&world))).await.unwrap();
    assert_unauthenticated(&world, &old.sign(&claims(&world)), "gone").await;
    std::fs::remove_file(&path).unwrap();
    world.clock.advance(KEYS_FRESH_FOR);
    list(&world, &new.sign(&claims(&world))).await.unwrap();
}

#[tokio::test]
async fn keys_are_fetched_over_tls_only_with_a_trusted_certificate() {
    let key = JwtSigner::eddsa("1");
    let (tls, certificate) = localhost_tls(2100);
    let (_, another) = localhost_tls(2100);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = key_set(&[&key]);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // The handshake fails if the client does not trust the certificate.
            if let Ok(mut stream) = tls.accept(stream).await {
                let _ = stream.read(&mut [0; 4_096]).await.unwrap();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await.unwrap();
                stream.write_all(body.as_bytes()).await.unwrap();
                let _ = stream.shutdown().await;
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let table = |name: &str, pem: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        let url = format!("https://localhost:{port}/jwks.json");
        format!("{}roots_file = \"{}\"\n", platform(&url), path.display())
    };
    let distrusting = World::builder()
        .issuers(&table("another.pem", &another))
        .start()
        .await;
    assert_unavailable(&distrusting, &key.sign(&claims(&distrusting))).await;
    let trusting = World::builder()
        .issuers(&table("own.pem", &certificate))
        .start()
        .await;
    list(&trusting, &key.sign(&claims(&trusting)))
        .await
        .unwrap();
}

#[test]
fn every_unreadable_key_set_and_certificate_is_reported_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let table = |name: &str, text: Option<&str>| {
        let path = folder.path().join(name);
        if let Some(text) = text {
            std::fs::write(&path, text).unwrap();
        }
        let table = platform("x").replace("\"platform\"", &format!("\"{name}\""));
        let table = table.replace("\"invitations\"", &format!("\"{name}\""));
        let file = format!("jwks_file = \"{}\"", path.display());
        table.replace("jwks_url = \"x\"", &file)
    };
    let mut text = table("missing", None);
    text += &table("garbage", Some("<html>"));
    text += &table("empty", Some("{\"keys\": []}"));
    text += &table("good", Some(&key_set(&[&JwtSigner::eddsa("1")])));
    let url = platform("https://localhost/").replace("\"platform\"", "\"roots\"");
    text.push_str(&url);
    text.push_str("roots_file = \"/nowhere\"\n");
    let file = CallersFile::parse(&text).unwrap();
    let problems = Callers::new(file.callers, file.issuers, Arc::new(SystemClock)).unwrap_err();
    let expected = [
        "issuer \"missing\": jwks_file: the file cannot be read: No such file",
        "issuer \"garbage\": jwks_file: not a JWK Set",
        "issuer \"empty\": jwks_file: holds no key",
        "issuer \"roots\": roots_file /nowhere: No such file",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, start) in problems.iter().zip(expected) {
        assert!(problem.starts_with(start), "{problem}");
    }
}

//! Callers that come with JWTs: whose tokens count, for how long, and what becomes of calls while an issuer fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::future::join_all;
use invitations::clock::{Clock as _, SystemClock};
use invitations::identity::{
    Callers, FETCH_TIMEOUT, KEY_SET_BYTES_MAX, KEYS_FRESH_FOR, KEYS_KEPT_FOR, REFRESH_PAUSE,
    UNKNOWN_KEY_PAUSE,
};
use invitations::proto::{GetMembershipRequest, ListRequest};
use invitations::settings::callers_file::CallersFile;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use prost::Message as _;
use prost::bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::certificates::localhost_tls;
use crate::support::issuer::{JwtSigner, KeyServer, KeySetReply, RSA, key_set};
use crate::support::raw_grpc;
use crate::support::{ACME, OTHER, World, reason};

const PLATFORM: &str = "https://platform.example.com/";
const LIST: &str = "/invitation.v1.InvitationService/List";

/// A table of an issuer of services.
fn platform(url: &str) -> String {
    format!(
        "[[issuer]]\nname = \"platform\"\nissuer = \"{PLATFORM}\"\naudience = \"invitations\"\n\
         jwks_url = \"{url}\"\nkind = \"service\"\nscopes = [\"invitations:read\", \"invitations:write\"]\n"
    )
}

/// What a token that counts says, at the world's time.
fn claims(world: &World) -> Value {
    let now = world.clock.now().unix_timestamp();
    json!({
        "iss": PLATFORM,
        "aud": ["invitations", "other"],
        "sub": "onboarding",
        "iat": now,
        "exp": now + 600,
        "scope": "openid invitations:read directory:read",
    })
}

fn with(world: &World, changes: &Value) -> Value {
    let mut claims = claims(world);
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn list(world: &World, token: &str) -> Result<Vec<u8>, Status> {
    list_of(world, token, ACME).await
}

async fn list_of(world: &World, token: &str, organization_id: &str) -> Result<Vec<u8>, Status> {
    let request = ListRequest {
        organization_id: organization_id.to_owned(),
        ..ListRequest::default()
    };
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str())];
    raw_grpc::call(world.address(), LIST, &headers, &request.encode_to_vec()).await
}

fn advance(world: &World, duration: time::Duration) {
    world.clock.advance(duration);
}

async fn assert_unavailable(world: &World, token: &str) {
    let status = list(world, token).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_error_details().retry_info().is_some());
    assert_eq!(reason(Err::<(), _>(status)), "OVERLOADED");
}

async fn assert_stranger(world: &World, token: &str, case: &str) {
    let status = list(world, token).await.expect_err(case);
    assert_eq!(status.code(), Code::Unauthenticated, "{case}");
    assert_eq!(
        reason(Err::<(), _>(status)),
        "CREDENTIALS_INVALID",
        "{case}"
    );
}

#[tokio::test]
async fn tokens_of_all_three_algorithms_call_with_the_scopes_that_token_and_table_name() {
    let (es, ed) = (JwtSigner::es256("es"), JwtSigner::eddsa("ed"));
    let server = KeyServer::start(&[&RSA[0], &es, &ed]).await;
    let world = World::builder()
        .issuers(&platform(&server.url()))
        .start()
        .await;
    for signer in [&RSA[0], &es, &ed] {
        let token = signer.sign(&claims(&world));
        list(&world, &token).await.unwrap();
        // The token has this scope and its table does not.
        let request = GetMembershipRequest {
            organization_id: ACME.to_owned(),
            user_id: "ada".to_owned(),
        };
        let mut directory = world.directory_of(&token);
        let refused = directory.get_membership(request).await;
        assert_eq!(reason(refused), "SCOPE_MISSING", "{:?}", signer.algorithm);
    }
    let without_scopes = ed.sign(&with(&world, &json!({"scope": null})));
    assert_eq!(reason(list(&world, &without_scopes).await), "SCOPE_MISSING");
    assert_eq!(server.requests(), 1);
    // Configured tokens go on beside them.
    list(&world, "all").await.unwrap();
}

#[tokio::test]
async fn whatever_is_wrong_with_a_token_a_stranger_is_told_the_same() {
    let (es, ed) = (JwtSigner::es256("es"), JwtSigner::eddsa("ed"));
    let foreign = JwtSigner::eddsa("foreign");
    let server = KeyServer::start(&[&RSA[0], &es, &ed]).await;
    let other_server = KeyServer::start(&[&foreign]).await;
    let other = platform(&other_server.url())
        .replace("\"platform\"", "\"other\"")
        .replace(PLATFORM, "https://other.example.com/");
    let world = World::builder()
        .issuers(&format!("{}{other}", platform(&server.url())))
        .start()
        .await;
    let good = ed.sign(&claims(&world));
    list(&world, &good).await.unwrap();

    let mut told = Vec::new();
    let mut tokens = signed_tokens(&world, &ed);
    tokens.extend(forged_tokens(&world, [&RSA[0], &es, &ed], &foreign));
    for (case, token) in tokens {
        let status = list(&world, &token).await.expect_err(case);
        assert_eq!(status.code(), Code::Unauthenticated, "{case}");
        told.push((case, status.message().to_owned(), status.details().to_vec()));
    }
    for (case, message, details) in &told {
        assert_eq!((message, details), (&told[0].1, &told[0].2), "{case}");
    }
    let status = list(&world, &good[1..]).await.unwrap_err();
    assert_eq!(status.details(), told[0].2);
    assert_eq!(reason(Err::<(), _>(status)), "CREDENTIALS_INVALID");
}

/// Tokens that their issuer has signed and that say something wrong.
fn signed_tokens(world: &World, ed: &JwtSigner) -> Vec<(&'static str, String)> {
    let now = world.clock.now().unix_timestamp();
    let good = claims(world);
    let claim = |changes: Value| ed.sign(&with(world, &changes));
    let header = |change: fn(&mut Header)| {
        let mut header = ed.header();
        change(&mut header);
        ed.sign_as(&header, &good)
    };
    vec![
        ("expired", claim(json!({"exp": now - 31}))),
        ("without exp", claim(json!({"exp": null}))),
        ("not valid yet", claim(json!({"nbf": now + 31}))),
        ("from the future", claim(json!({"iat": now + 31}))),
        ("lives too long", claim(json!({"exp": now + 86_401}))),
        ("another audience", claim(json!({"aud": "other"}))),
        ("no audience", claim(json!({"aud": null}))),
        (
            "another issuer",
            claim(json!({"iss": "https://evil.example/"})),
        ),
        ("no issuer", claim(json!({"iss": null}))),
        ("no subject", claim(json!({"sub": null}))),
        ("an unfit subject", claim(json!({"sub": "a\nb"}))),
        ("a claim of the wrong type", claim(json!({"scope": 1}))),
        ("names no key", header(|header| header.kid = None)),
        (
            "asks for more",
            header(|header| header.crit = Some(vec!["b64".to_owned()])),
        ),
        (
            "a logout token",
            header(|header| header.typ = Some("logout+jwt".to_owned())),
        ),
    ]
}

/// Tokens whose signature or form is wrong.
fn forged_tokens(
    world: &World,
    [rsa, es, ed]: [&JwtSigner; 3],
    foreign: &JwtSigner,
) -> Vec<(&'static str, String)> {
    let good = claims(world);
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let parts = |token: &str| -> Vec<String> { token.split('.').map(str::to_owned).collect() };
    let genuine = parts(&ed.sign(&good));
    let tampered = encoded(&with(world, &json!({"scope": "invitations:write"})));
    let mut signature = URL_SAFE_NO_PAD.decode(&genuine[2]).unwrap();
    signature[0] ^= 1;
    let hmac = |secret: &[u8], kid: &str| {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..Header::new(Algorithm::HS256)
        };
        encode(&header, &good, &EncodingKey::from_secret(secret)).unwrap()
    };
    let bytes = |jwk: Value, name: &str| {
        let text = jwk[name].as_str().unwrap().to_owned();
        URL_SAFE_NO_PAD.decode(text).unwrap()
    };
    let none = encoded(&json!({"alg": "none", "kid": ed.kid}));
    let renamed = |signer: &JwtSigner, kid: &str| {
        let header = Header {
            kid: Some(kid.to_owned()),
            ..signer.header()
        };
        signer.sign_as(&header, &good)
    };
    let with_own_key = Header {
        jwk: Some(serde_json::from_value(foreign.jwk()).unwrap()),
        jku: Some("https://evil.example/jwks.json".to_owned()),
        kid: Some(ed.kid.clone()),
        ..foreign.header()
    };
    vec![
        (
            "tampered claims",
            format!("{}.{tampered}.{}", genuine[0], genuine[2]),
        ),
        (
            "tampered signature",
            format!(
                "{}.{}.{}",
                genuine[0],
                genuine[1],
                URL_SAFE_NO_PAD.encode(signature)
            ),
        ),
        ("no signature", format!("{}.{}.", genuine[0], genuine[1])),
        ("alg none", format!("{none}.{}.", genuine[1])),
        (
            "alg none, signed",
            format!("{none}.{}.{}", genuine[1], genuine[2]),
        ),
        (
            "HS256 with the EdDSA key",
            hmac(&bytes(ed.jwk(), "x"), &ed.kid),
        ),
        (
            "HS256 with the RSA modulus",
            hmac(&bytes(rsa.jwk(), "n"), &rsa.kid),
        ),
        (
            "HS256 with the JWK",
            hmac(ed.jwk().to_string().as_bytes(), &ed.kid),
        ),
        (
            "RS384",
            rsa.sign_as(
                &Header {
                    alg: Algorithm::RS384,
                    ..rsa.header()
                },
                &good,
            ),
        ),
        (
            "PS256",
            rsa.sign_as(
                &Header {
                    alg: Algorithm::PS256,
                    ..rsa.header()
                },
                &good,
            ),
        ),
        ("the name of a key of another type", renamed(es, &rsa.kid)),
        ("the name of another's key", renamed(foreign, &ed.kid)),
        ("an unknown key", renamed(ed, "unknown")),
        ("a key of another issuer", foreign.sign(&good)),
        (
            "a key of another issuer, of that issuer's name",
            ed.sign(&with(world, &json!({"iss": "https://other.example.com/"}))),
        ),
        ("brings its own key", foreign.sign_as(&with_own_key, &good)),
        ("two parts", genuine[..2].join(".")),
        ("encrypted", format!("{}.a.b", genuine.join("."))),
        ("no JWT", "a.b.c".to_owned()),
    ]
}

#[tokio::test]
async fn a_new_key_counts_at_once_and_a_key_that_was_taken_back_does_not() {
    let (old, new) = (JwtSigner::eddsa("old"), JwtSigner::es256("new"));
    let server = KeyServer::start(&[&old]).await;
    let world = World::builder()
        .issuers(&platform(&server.url()))
        .start()
        .await;
    list(&world, &old.sign(&claims(&world))).await.unwrap();
    assert_eq!(server.requests(), 1);

    server.rotate(&[&old, &new]);
    list(&world, &new.sign(&claims(&world))).await.unwrap();
    assert_eq!(server.requests(), 2);
    list(&world, &old.sign(&claims(&world))).await.unwrap();

    server.rotate(&[&new]);
    advance(&world, 2 * KEYS_FRESH_FOR);
    // Nobody has asked for long, so this call waits for the answer.
    assert_stranger(&world, &old.sign(&claims(&world)), "taken back").await;
    list(&world, &new.sign(&claims(&world))).await.unwrap();
    assert_eq!(server.requests(), 3, "and asks once, for age");
}

#[tokio::test]
async fn names_of_keys_that_somebody_makes_up_ask_the_issuer_once_in_a_while() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let world = World::builder()
        .issuers(&platform(&server.url()))
        .start()
        .await;
    list(&world, &key.sign(&claims(&world))).await.unwrap();
    let made_up = |number: usize| {
        let header = Header {
            kid: Some(format!("made-up-{number}")),
            ..key.header()
        };
        key.sign_as(&header, &claims(&world))
    };
    for number in 0..20 {
        assert_stranger(&world, &made_up(number), "made up").await;
    }
    assert_eq!(server.requests(), 2);
    advance(&world, UNKNOWN_KEY_PAUSE);
    for number in 0..20 {
        assert_stranger(&world, &made_up(number), "made up").await;
    }
    assert_eq!(server.requests(), 3);
    list(&world, &key.sign(&claims(&world))).await.unwrap();
}

#[tokio::test]
async fn however_many_calls_need_keys_at_once_they_are_fetched_once() {
    let key = JwtSigner::es256("1");
    let server = KeyServer::start(&[&key]).await;
    let world = World::builder()
        .issuers(&platform(&server.url()))
        .start()
        .await;
    let all = async || {
        let token = key.sign(&claims(&world));
        let calls = (0..50).map(|_| list(&world, &token));
        for answer in join_all(calls).await {
            answer.unwrap();
        }
    };
    server.reply_with(KeySetReply::Slow(
        Duration::from_millis(300),
        key_set(&[&key]),
    ));
    all().await;
    assert_eq!(server.requests(), 1);
    advance(&world, KEYS_FRESH_FOR);
    all().await;
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn old_keys_go_on_while_an_issuer_fails_and_then_it_is_our_fault_and_not_the_callers() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let world = World::builder()
        .issuers(&platform(&server.url()))
        .start()
        .await;
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
        advance(&world, KEYS_FRESH_FOR);
        // The first call that finds them old does not wait for the issuer, so what it does is waited for here.
        list(&world, &key.sign(&claims(&world))).await.unwrap();
        wait_until(|| server.requests() > before).await;
        // A key that is not known may be a new one: nobody can tell.
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
            "a failing issuer is left alone"
        );
    }
    advance(&world, KEYS_KEPT_FOR - 5 * KEYS_FRESH_FOR);
    assert_unavailable(&world, &key.sign(&claims(&world))).await;
    // Nobody else is harmed.
    list(&world, "all").await.unwrap();

    server.rotate(&[&key]);
    assert_unavailable(&world, &key.sign(&claims(&world))).await;
    advance(&world, REFRESH_PAUSE);
    list(&world, &key.sign(&claims(&world))).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_asked_again_after_a_pause() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    server.reply_with(KeySetReply::Status(500));
    let world = World::builder()
        .issuers(&platform(&server.url()))
        .start()
        .await;
    for _ in 0..10 {
        assert_unavailable(&world, &key.sign(&claims(&world))).await;
    }
    assert_eq!(server.requests(), 1);
    server.rotate(&[&key]);
    advance(&world, REFRESH_PAUSE);
    list(&world, &key.sign(&claims(&world))).await.unwrap();
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn a_slow_issuer_delays_nobody_who_has_keys_and_others_for_a_bounded_time() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let world = World::builder()
        .issuers(&platform(&server.url()))
        .start()
        .await;
    let slow = || server.reply_with(KeySetReply::Slow(Duration::from_secs(10), key_set(&[&key])));
    list(&world, &key.sign(&claims(&world))).await.unwrap();
    slow();
    advance(&world, KEYS_FRESH_FOR);
    let began = Instant::now();
    for _ in 0..10 {
        list(&world, &key.sign(&claims(&world))).await.unwrap();
    }
    assert!(began.elapsed() < FETCH_TIMEOUT / 2, "{:?}", began.elapsed());
    assert_eq!(server.requests(), 2);

    let other = KeyServer::start(&[&key]).await;
    other.reply_with(KeySetReply::Slow(Duration::from_secs(10), key_set(&[&key])));
    let world = World::builder()
        .issuers(&platform(&other.url()))
        .start()
        .await;
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
async fn a_caller_that_hangs_up_does_not_end_the_fetch_for_the_others() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    server.reply_with(KeySetReply::Slow(
        Duration::from_millis(500),
        key_set(&[&key]),
    ));
    let world = World::builder()
        .issuers(&platform(&server.url()))
        .start()
        .await;
    let token = key.sign(&claims(&world));
    let short = tokio::time::timeout(Duration::from_millis(100), list(&world, &token));
    let (gone, stayed) = tokio::join!(short, list(&world, &token));
    assert!(gone.is_err());
    stayed.unwrap();
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn an_issuer_that_takes_all_its_keys_back_is_believed() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let world = World::builder()
        .issuers(&platform(&server.url()))
        .start()
        .await;
    list(&world, &key.sign(&claims(&world))).await.unwrap();
    server.rotate(&[]);
    advance(&world, 2 * KEYS_FRESH_FOR);
    assert_stranger(&world, &key.sign(&claims(&world)), "taken back").await;
}

#[tokio::test]
async fn a_service_acts_for_the_organizations_that_token_and_table_name() {
    let key = JwtSigner::eddsa("1");
    let server = KeyServer::start(&[&key]).await;
    let table = format!(
        "{}organizations_claim = \"orgs\"\norganizations = [\"{ACME}\", \"more\"]\n",
        platform(&server.url())
    );
    let world = World::builder().issuers(&table).start().await;
    let token = |orgs: Value| key.sign(&with(&world, &json!({"orgs": orgs})));
    let both = token(json!([ACME, OTHER]));
    list_of(&world, &both, ACME).await.unwrap();
    for (token, organization_id) in [
        (both, OTHER),
        (token(json!([])), ACME),
        (token(json!(null)), ACME),
    ] {
        let refused = list_of(&world, &token, organization_id).await;
        assert_eq!(reason(refused), "ORGANIZATION_DENIED");
    }
}

#[tokio::test]
async fn keys_of_a_file_count_and_are_read_again() {
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
    assert_stranger(&world, &old.sign(&claims(&world)), "gone").await;
    std::fs::remove_file(&path).unwrap();
    advance(&world, KEYS_FRESH_FOR);
    list(&world, &new.sign(&claims(&world))).await.unwrap();
}

/// Waits for something that is about to happen elsewhere.
async fn wait_until(mut condition: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen");
}

#[tokio::test]
async fn a_bearer_that_is_longer_than_all_headers_may_be_harms_its_own_call_or_connection() {
    let world = World::start().await;
    let connect = async || {
        let stream = TcpStream::connect(world.address()).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        client
    };
    let call = async |client: &h2::client::SendRequest<Bytes>, bytes: usize| {
        let head = http::Request::post(format!("http://{}{LIST}", world.address()))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", "x".repeat(bytes)))
            .body(())
            .unwrap();
        let mut client = client.clone().ready().await?;
        let (response, _) = client.send_request(head, true)?;
        response.await
    };
    let client = connect().await;
    for bytes in [25 * 1024, 64 * 1024] {
        let refused = call(&client, bytes).await.unwrap();
        assert_eq!(
            refused.status(),
            http::StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        );
    }
    // The same connection goes on, and a token that fits is refused in words.
    let refused = call(&client, 8 * 1024).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "16");
    // Four times as much as may be is taken for an attack.
    let ended = call(&client, 96 * 1024).await.unwrap_err();
    assert_eq!(ended.reason(), Some(h2::Reason::ENHANCE_YOUR_CALM));
    let refused = call(&connect().await, 8 * 1024).await.unwrap();
    assert_eq!(refused.headers()["grpc-status"], "16");
}

#[tokio::test]
async fn keys_come_over_tls_from_whoever_shows_a_trusted_certificate() {
    let key = JwtSigner::eddsa("1");
    let (tls, certificate) = localhost_tls(2100);
    let (_, another) = localhost_tls(2100);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let body = key_set(&[&key]);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not like the certificate is gone by now.
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
    let wary = World::builder()
        .issuers(&table("another.pem", &another))
        .start()
        .await;
    assert_unavailable(&wary, &key.sign(&claims(&wary))).await;
    let trusting = World::builder()
        .issuers(&table("own.pem", &certificate))
        .start()
        .await;
    list(&trusting, &key.sign(&claims(&trusting)))
        .await
        .unwrap();
}

#[test]
fn every_key_set_and_certificate_that_cannot_be_read_is_told_at_once() {
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

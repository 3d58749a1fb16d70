//! Invalid tokens: every one gets the same refusal, so that a caller learns nothing from it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use invitations::clock::Clock as _;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tonic::Code;

use super::{PLATFORM, claims, list, platform, with};
use crate::support::issuer::{JwtSigner, KeyServer, RSA};
use crate::support::{World, status_reason};

#[tokio::test]
async fn every_invalid_token_gets_the_same_refusal() {
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

    let mut refusals = Vec::new();
    let mut tokens = signed_tokens(&world, &ed);
    tokens.extend(malformed_tokens(&world, &ed));
    tokens.extend(tokens_of_other_algorithms(&world, &RSA[0], &ed));
    tokens.extend(tokens_of_other_keys(&world, [&RSA[0], &es, &ed], &foreign));
    for (case, token) in tokens {
        let status = list(&world, &token).await.expect_err(case);
        assert_eq!(status.code(), Code::Unauthenticated, "{case}");
        refusals.push((case, status.message().to_owned(), status.details().to_vec()));
    }
    for (case, message, details) in &refusals {
        assert_eq!(
            (message, details),
            (&refusals[0].1, &refusals[0].2),
            "{case}"
        );
    }
    let status = list(&world, &good[1..]).await.unwrap_err();
    assert_eq!(status.details(), refusals[0].2);
    assert_eq!(status_reason(&status), "CREDENTIALS_INVALID");
}

/// Tokens with a valid signature and invalid claims or headers.
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

/// Tokens with an invalid form, or with a signature of other bytes.
fn malformed_tokens(world: &World, ed: &JwtSigner) -> Vec<(&'static str, String)> {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let genuine = ed.sign(&claims(world));
    let parts: Vec<&str> = genuine.split('.').collect();
    let [header, payload, signature] = parts.try_into().unwrap();
    let other_payload = encoded(&with(world, &json!({"scope": "invitations:write"})));
    let mut other_signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    other_signature[0] ^= 1;
    let other_signature = URL_SAFE_NO_PAD.encode(other_signature);
    let none = encoded(&json!({"alg": "none", "kid": ed.kid}));
    vec![
        (
            "tampered claims",
            format!("{header}.{other_payload}.{signature}"),
        ),
        (
            "tampered signature",
            format!("{header}.{payload}.{other_signature}"),
        ),
        ("no signature", format!("{header}.{payload}.")),
        ("alg none", format!("{none}.{payload}.")),
        ("alg none, signed", format!("{none}.{payload}.{signature}")),
        ("two parts", format!("{header}.{payload}")),
        ("encrypted", format!("{genuine}.a.b")),
        ("no JWT", "a.b.c".to_owned()),
    ]
}

/// Tokens signed with an algorithm that is not that of the key.
fn tokens_of_other_algorithms(
    world: &World,
    rsa: &JwtSigner,
    ed: &JwtSigner,
) -> Vec<(&'static str, String)> {
    let good = claims(world);
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
    let rsa_with = |alg: Algorithm| {
        let header = Header {
            alg,
            ..rsa.header()
        };
        rsa.sign_as(&header, &good)
    };
    vec![
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
        ("RS384", rsa_with(Algorithm::RS384)),
        ("PS256", rsa_with(Algorithm::PS256)),
    ]
}

/// Tokens signed with a key that is not the key of that name and issuer.
fn tokens_of_other_keys(
    world: &World,
    [rsa, es, ed]: [&JwtSigner; 3],
    foreign: &JwtSigner,
) -> Vec<(&'static str, String)> {
    let good = claims(world);
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
    let other_issuer = with(world, &json!({"iss": "https://other.example.com/"}));
    vec![
        ("the name of a key of another type", renamed(es, &rsa.kid)),
        ("the name of another key", renamed(foreign, &ed.kid)),
        ("an unknown key", renamed(ed, "unknown")),
        ("a key of another issuer", foreign.sign(&good)),
        ("the name of another issuer", ed.sign(&other_issuer)),
        (
            "a header with its own key",
            foreign.sign_as(&with_own_key, &good),
        ),
    ]
}

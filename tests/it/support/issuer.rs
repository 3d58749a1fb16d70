//! An issuer of JWTs: real keys of each algorithm, and a server that publishes them as a key set over real HTTP.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use data_encoding::BASE64;
use http::{StatusCode, header};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A key with which an issuer signs.
pub(crate) struct JwtSigner {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: String,
    key: EncodingKey,
}

/// Two RSA keys that all tests share, because generating one takes long.
pub(crate) static RSA: LazyLock<[JwtSigner; 2]> =
    LazyLock::new(|| [JwtSigner::rs256("rsa-1"), JwtSigner::rs256("rsa-2")]);

impl JwtSigner {
    fn rs256(kid: &str) -> Self {
        let key = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            BASE64.encode(der.as_ref())
        );
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self::new(Algorithm::RS256, kid, key)
    }

    /// A new ES256 key.
    pub(crate) fn es256(kid: &str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ec_der(der.as_ref());
        Self::new(Algorithm::ES256, kid, key)
    }

    /// A new `EdDSA` key.
    pub(crate) fn eddsa(kid: &str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ed_der(der.as_ref());
        Self::new(Algorithm::EdDSA, kid, key)
    }

    fn new(algorithm: Algorithm, kid: &str, key: EncodingKey) -> Self {
        Self {
            algorithm,
            kid: kid.to_owned(),
            key,
        }
    }

    /// The header of a JWT of this key.
    pub(crate) fn header(&self) -> Header {
        Header {
            kid: Some(self.kid.clone()),
            ..Header::new(self.algorithm)
        }
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.header(), claims)
    }

    /// A JWT with another header.
    pub(crate) fn sign_as(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }

    /// The public key as a member of a key set.
    pub(crate) fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }
}

/// A JWK set of these keys.
pub(crate) fn key_set(signers: &[&JwtSigner]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// How a key server answers.
#[derive(Clone)]
pub(crate) enum KeySetReply {
    Keys(String),
    /// The same after a delay.
    Slow(Duration, String),
    Status(u16),
    Redirect(String),
}

struct KeyServerState {
    reply: Mutex<KeySetReply>,
    requests: AtomicUsize,
}

/// A server of a key set. It stops when it is dropped.
pub(crate) struct KeyServer {
    state: Arc<KeyServerState>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl KeyServer {
    pub(crate) async fn start(signers: &[&JwtSigner]) -> Self {
        let state = Arc::new(KeyServerState {
            reply: Mutex::new(KeySetReply::Keys(key_set(signers))),
            requests: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&state));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            state,
            address,
            task,
        }
    }

    /// The URL of the key set.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// Answers like this from now on.
    pub(crate) fn reply_with(&self, reply: KeySetReply) {
        *self.state.reply.lock().unwrap() = reply;
    }

    /// Publishes these keys from now on.
    pub(crate) fn rotate(&self, signers: &[&JwtSigner]) {
        self.reply_with(KeySetReply::Keys(key_set(signers)));
    }

    /// The number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(state): State<Arc<KeyServerState>>) -> Response {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let reply = state.reply.lock().unwrap().clone();
    match reply {
        KeySetReply::Keys(text) => text.into_response(),
        KeySetReply::Slow(delay, text) => {
            tokio::time::sleep(delay).await;
            text.into_response()
        }
        KeySetReply::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        KeySetReply::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
    }
}

//! An issuer of JWTs that does what a test tells it: real keys of each algorithm, and a key set over real HTTP.

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
use invitations::clock::Clock as _;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::harness::World;

/// A key that an issuer signs with.
pub(crate) struct Signer {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: String,
    key: EncodingKey,
}

/// Making an RSA key takes a while, so all tests share two.
pub(crate) static RSA: LazyLock<[Signer; 2]> =
    LazyLock::new(|| [Signer::rs256("rsa-1"), Signer::rs256("rsa-2")]);

impl Signer {
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

    /// An ES256 key of its own.
    pub(crate) fn es256(kid: &str) -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let key = EncodingKey::from_ec_der(der.as_ref());
        Self::new(Algorithm::ES256, kid, key)
    }

    /// An `EdDSA` key of its own.
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

    /// What a JWT of this key begins with.
    pub(crate) fn header(&self) -> Header {
        Header {
            kid: Some(self.kid.clone()),
            ..Header::new(self.algorithm)
        }
    }

    /// A JWT.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.header(), claims)
    }

    /// A JWT that begins differently.
    pub(crate) fn sign_as(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }

    /// The public key, as a key set has it.
    pub(crate) fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk
    }
}

/// A key set of these keys.
pub(crate) fn key_set(signers: &[&Signer]) -> String {
    let keys: Vec<Value> = signers.iter().map(|signer| signer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// What the server answers.
#[derive(Clone)]
pub(crate) enum Answer {
    Keys(String),
    /// The same, after so long.
    Slow(Duration, String),
    Status(u16),
    Redirect(String),
}

struct Shared {
    answer: Mutex<Answer>,
    requests: AtomicUsize,
}

/// The server of a key set. Ends when it is dropped.
pub(crate) struct KeyServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl KeyServer {
    pub(crate) async fn start(signers: &[&Signer]) -> Self {
        let shared = Arc::new(Shared {
            answer: Mutex::new(Answer::Keys(key_set(signers))),
            requests: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&shared));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            shared,
            address,
            task,
        }
    }

    /// Where the keys are.
    pub(crate) fn url(&self) -> String {
        format!("http://{}/jwks.json", self.address)
    }

    /// Answers like this from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    /// Has these keys from now on.
    pub(crate) fn rotate(&self, signers: &[&Signer]) {
        self.answer(Answer::Keys(key_set(signers)));
    }

    /// How often it was asked.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>) -> Response {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let answer = shared.answer.lock().unwrap().clone();
    match answer {
        Answer::Keys(text) => text.into_response(),
        Answer::Slow(delay, text) => {
            tokio::time::sleep(delay).await;
            text.into_response()
        }
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
    }
}

/// An issuer whose tokens name users.
pub(crate) struct Accounts {
    server: KeyServer,
    signer: Signer,
}

impl Accounts {
    pub(crate) async fn start() -> Self {
        let signer = Signer::eddsa("accounts-1");
        let server = KeyServer::start(&[&signer]).await;
        Self { server, signer }
    }

    /// Its table in a callers file.
    pub(crate) fn table(&self) -> String {
        format!(
            "[[issuer]]\nname = \"accounts\"\nissuer = \"https://accounts.example.com/\"\n\
             audience = \"invitations\"\njwks_url = \"{}\"\nkind = \"user\"\n",
            self.server.url()
        )
    }

    /// A token of a user whose verified address is `USER@example.com`.
    pub(crate) fn token(&self, world: &World, user_id: &str) -> String {
        let email = format!("{user_id}@example.com");
        let claims = json!({"sub": user_id, "email": email, "email_verified": true});
        self.token_saying(world, &claims)
    }

    /// The same, but nobody has verified the address.
    pub(crate) fn unverified_token(&self, world: &World, user_id: &str) -> String {
        let email = format!("{user_id}@example.com");
        self.token_saying(world, &json!({"sub": user_id, "email": email}))
    }

    /// A token that says this besides what it must.
    pub(crate) fn token_saying(&self, world: &World, besides: &Value) -> String {
        let now = world.clock.now().unix_timestamp();
        let mut claims = json!({
            "iss": "https://accounts.example.com/",
            "aud": "invitations",
            "iat": now,
            "exp": now + 600,
        });
        for (name, value) in besides.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.signer.sign(&claims)
    }
}

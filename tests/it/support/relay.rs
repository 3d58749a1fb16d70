//! A mail relay that does what a test tells it, over real TCP, and remembers every byte it was sent.
//!
//! It answers properly unless told otherwise: each stage has a queue of acts, taken one per occurrence over all
//! connections. Recipients can be refused by name, or greylisted. It checks nothing but that a message has a recipient;
//! what was said is for the test to judge.

mod conversation;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto};

use conversation::Conversation;

/// Where in the conversation an act happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum On {
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    Message,
    Rset,
    Quit,
}

/// What the relay does instead of answering properly.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Answers with these lines; the last line end is added.
    Say(String),
    /// Answers with these bytes as they are.
    SayBytes(Vec<u8>),
    /// Answers after a while.
    SayLate(Duration, String),
    /// Answers and closes the connection.
    SayAndClose(String),
    /// Answers with these bytes, each piece in a packet of its own.
    SayInPieces(Vec<Vec<u8>>),
    /// Closes the connection without a word.
    Close,
    /// Resets the connection, which also takes back what was said and not read yet.
    Reset,
    /// Says nothing any more and goes on listening.
    Silence,
    /// Leaves this answer out, and goes on with the next command.
    Skip,
}

/// How the relay speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    None,
    StartTls,
    Implicit,
}

/// One connection as the relay saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Every byte after decryption, in order.
    pub(crate) bytes: Vec<u8>,
    /// How many of them came before the connection was encrypted.
    pub(crate) plain_bytes: usize,
    /// The same bytes as they arrived: what was there when the relay had read all that came before.
    pub(crate) arrivals: Vec<Vec<u8>>,
    verbs: Vec<String>,
}

impl Seen {
    /// The verbs of the commands, in order; message bodies left out.
    pub(crate) fn verbs(&self) -> Vec<String> {
        self.verbs.clone()
    }
}

/// A message between DATA and its final dot, dot-stuffed as it came.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) rcpt: String,
    pub(crate) wire: Vec<u8>,
}

impl Taken {
    /// The message as it was before the client stuffed its dots.
    pub(crate) fn unstuffed(&self) -> Vec<u8> {
        let lines = self.wire.split_inclusive(|byte| *byte == b'\n');
        lines
            .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
            .copied()
            .collect()
    }
}

#[derive(Default)]
struct State {
    offers_pipelining: bool,
    script: HashMap<On, VecDeque<Act>>,
    /// Replies to recipients that are always refused.
    refused: HashMap<String, String>,
    greylisted_times: u32,
    /// How often each recipient was greylisted.
    greylisted: HashMap<String, u32>,
    seen: Vec<Seen>,
    taken: Vec<Taken>,
    is_taken: Arc<Notify>,
}

/// A running relay; it stops when dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    certificate_pem: String,
    state: Arc<Mutex<State>>,
    listener: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port of localhost.
    pub(crate) async fn start(tls: Encryption) -> Self {
        Self::start_with(tls, 2100).await
    }

    /// The same with a certificate that ended long ago.
    pub(crate) async fn start_expired(tls: Encryption) -> Self {
        Self::start_with(tls, 2020).await
    }

    async fn start_with(tls: Encryption, certificate_ends: i32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (acceptor, certificate_pem) = acceptor(certificate_ends);
        let conversation = Conversation {
            state: Arc::clone(&state),
            tls,
            acceptor,
            number: 0,
        };
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let conversation = conversation.clone();
                // How a conversation ends is the test's business, not the relay's.
                tokio::spawn(async move { drop(conversation.hold(stream).await) });
            }
        });
        Self {
            address,
            certificate_pem,
            state,
            listener,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The certificate for `localhost` that the relay shows.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// Offers PIPELINING from now on.
    pub(crate) fn offers_pipelining(&self) -> &Self {
        self.state.lock().unwrap().offers_pipelining = true;
        self
    }

    /// Always gives this answer to a recipient.
    pub(crate) fn refuses(&self, recipient: &str, reply: &str) -> &Self {
        let refused = &mut self.state.lock().unwrap().refused;
        refused.insert(recipient.to_owned(), reply.to_owned());
        self
    }

    /// Puts every recipient off so many times before it is taken.
    pub(crate) fn greylists(&self, times: u32) -> &Self {
        self.state.lock().unwrap().greylisted_times = times;
        self
    }

    /// Queues an act for the next time a stage is reached.
    pub(crate) fn next(&self, on: On, act: Act) -> &Self {
        let mut state = self.state.lock().unwrap();
        state.script.entry(on).or_default().push_back(act);
        self
    }

    /// Queues a reply.
    pub(crate) fn says(&self, on: On, reply: &str) -> &Self {
        self.next(on, Act::Say(reply.to_owned()))
    }

    /// Waits until so many messages were received whole.
    pub(crate) async fn until_taken(&self, count: usize) {
        let is_taken = Arc::clone(&self.state.lock().unwrap().is_taken);
        loop {
            let next = is_taken.notified();
            if self.taken().len() >= count {
                return;
            }
            next.await;
        }
    }

    /// All connections so far, in the order they were made.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// All messages that were received whole, whatever was answered to them.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.state.lock().unwrap().taken.clone()
    }

    /// How many there are.
    pub(crate) fn taken_count(&self) -> usize {
        self.state.lock().unwrap().taken.len()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// TLS as `localhost`, and the certificate it shows in PEM.
pub(crate) fn acceptor(certificate_ends: i32) -> (TlsAcceptor, String) {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = date_time_ymd(2010, 1, 1);
    params.not_after = date_time_ymd(certificate_ends, 1, 1);
    let signing_key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), cert.pem())
}

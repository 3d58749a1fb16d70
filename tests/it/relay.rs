//! A mail relay that does what a test tells it, over real TCP, and remembers every byte it was sent.
//!
//! It answers properly unless told otherwise: each stage has a queue of acts, taken one per occurrence over all
//! connections. It checks nothing; what was said is for the test to judge.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::{ServerConfig, crypto};

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
    /// Answers with these octets as they are.
    SayOctets(Vec<u8>),
    /// Answers after a while.
    SayLate(Duration, String),
    /// Answers and closes the connection.
    SayAndClose(String),
    /// Closes the connection without a word.
    Close,
    /// Says nothing and goes on listening.
    Silence,
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
    pub(crate) plain_octets: usize,
}

impl Seen {
    /// The verbs of the commands, in order; message bodies left out.
    pub(crate) fn verbs(&self) -> Vec<String> {
        let mut in_body = false;
        let mut verbs = Vec::new();
        for line in String::from_utf8_lossy(&self.bytes).split_terminator("\r\n") {
            if in_body {
                in_body = line != ".";
                continue;
            }
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            in_body = verb == "DATA";
            verbs.push(verb.to_owned());
        }
        verbs
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
    script: HashMap<On, VecDeque<Act>>,
    seen: Vec<Seen>,
    taken: Vec<Taken>,
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (acceptor, certificate_pem) = acceptor();
        let conversation = Conversation {
            state: Arc::clone(&state),
            tls,
            acceptor,
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

    /// All connections so far, in the order they were made.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.lock().unwrap().seen.clone()
    }

    /// All messages that were received whole, whatever was answered to them.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.state.lock().unwrap().taken.clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// TLS as `localhost`, and the certificate it shows in PEM.
pub(crate) fn acceptor() -> (TlsAcceptor, String) {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), cert.pem())
}

/// A connection, encrypted or not.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

type Stream = BufReader<Box<dyn Duplex>>;

#[derive(Clone)]
struct Conversation {
    state: Arc<Mutex<State>>,
    tls: Encryption,
    acceptor: TlsAcceptor,
}

impl Conversation {
    async fn hold(&self, tcp: TcpStream) -> io::Result<()> {
        let number = {
            let mut state = self.state.lock().unwrap();
            state.seen.push(Seen::default());
            state.seen.len() - 1
        };
        let mut is_encrypted = self.tls == Encryption::Implicit;
        let boxed: Box<dyn Duplex> = if is_encrypted {
            Box::new(self.acceptor.accept(tcp).await?)
        } else {
            Box::new(tcp)
        };
        let mut stream = BufReader::new(boxed);
        self.act(&mut stream, On::Greeting, "220 relay.test ESMTP")
            .await?;
        let mut rcpt = String::new();
        while let Some(line) = self.read_line(&mut stream, number).await? {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            let (on, proper) = match verb {
                "EHLO" => (On::Ehlo, self.ehlo(is_encrypted)),
                "STARTTLS" => (On::StartTls, "220 2.0.0 go ahead".to_owned()),
                "AUTH" => (On::Auth, "235 2.7.0 welcome".to_owned()),
                "MAIL" => (On::Mail, "250 2.1.0 ok".to_owned()),
                "RCPT" => (On::Rcpt, "250 2.1.5 ok".to_owned()),
                "DATA" => (On::Data, "354 go on".to_owned()),
                "RSET" => (On::Rset, "250 2.0.0 ok".to_owned()),
                "QUIT" => (On::Quit, "221 2.0.0 bye".to_owned()),
                _ => return Err(io::Error::other("an unknown command")),
            };
            if on == On::Rcpt {
                line.clone_into(&mut rcpt);
            }
            let is_agreed = self.act(&mut stream, on, &proper).await?;
            if is_agreed && on == On::StartTls {
                self.mark_encrypted(number);
                let tls = self.acceptor.accept(stream.into_inner()).await?;
                stream = BufReader::new(Box::new(tls));
                is_encrypted = true;
            }
            if is_agreed && on == On::Data {
                self.read_message(&mut stream, number, &rcpt).await?;
                self.act(&mut stream, On::Message, "250 2.0.0 queued")
                    .await?;
            }
        }
        Ok(())
    }

    fn mark_encrypted(&self, number: usize) {
        let seen = &mut self.state.lock().unwrap().seen[number];
        seen.plain_octets = seen.bytes.len();
    }

    fn ehlo(&self, is_encrypted: bool) -> String {
        let mut lines = vec!["250-relay.test", "250-8BITMIME"];
        if self.tls == Encryption::StartTls && !is_encrypted {
            lines.push("250-STARTTLS");
        }
        // Offered in the clear as well, so that only the client's own care keeps the password off the wire.
        lines.push("250-AUTH PLAIN LOGIN");
        lines.push("250 SIZE 10000000");
        lines.join("\r\n")
    }

    /// Answers as scripted, or properly; whether that was a yes. Closing is an error, which ends the conversation.
    async fn act(&self, stream: &mut Stream, on: On, proper: &str) -> io::Result<bool> {
        let scripted = {
            let mut state = self.state.lock().unwrap();
            state.script.entry(on).or_default().pop_front()
        };
        let is_last = matches!(scripted, Some(Act::SayAndClose(_))) || on == On::Quit;
        let reply = match scripted {
            None => proper.to_owned(),
            Some(Act::Say(reply) | Act::SayAndClose(reply)) => reply,
            Some(Act::SayOctets(octets)) => {
                stream.write_all(&octets).await?;
                stream.flush().await?;
                return Ok(false);
            }
            Some(Act::SayLate(pause, reply)) => {
                tokio::time::sleep(pause).await;
                reply
            }
            Some(Act::Close) => return Err(io::Error::other("closed as scripted")),
            Some(Act::Silence) => return Ok(false),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        stream.flush().await?;
        if is_last {
            return Err(io::Error::other("closed after the reply"));
        }
        Ok(reply.starts_with(['2', '3']))
    }

    async fn read_line(&self, stream: &mut Stream, number: usize) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await?;
        let mut state = self.state.lock().unwrap();
        state.seen[number].bytes.extend_from_slice(&line);
        Ok((!line.is_empty()).then_some(line))
    }

    /// Reads up to the final dot, or until the client goes away.
    async fn read_message(&self, stream: &mut Stream, number: usize, rcpt: &str) -> io::Result<()> {
        let mut wire = Vec::new();
        while let Some(line) = self.read_line(stream, number).await? {
            if line == b".\r\n" {
                let rcpt = rcpt.to_owned();
                self.state.lock().unwrap().taken.push(Taken { rcpt, wire });
                return Ok(());
            }
            wire.extend_from_slice(&line);
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

//! One conversation of the relay: reads commands and answers them by the script, or as a working relay does.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::script::{Encryption, RelayAction, SmtpStep};
use super::state::{ReceivedMessage, RelayConnection, RelayState};

/// Between two pieces of a reply, so that they travel in two packets.
const PIECE_PAUSE: Duration = Duration::from_millis(5);

/// A connection, encrypted or not.
trait SmtpStream: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl SmtpStream for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl SmtpStream for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl SmtpStream for TlsStream<Box<dyn SmtpStream>> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.tcp()
    }
}

type BufferedStream = BufReader<Box<dyn SmtpStream>>;

#[derive(Clone)]
pub(super) struct Conversation {
    pub(super) state: Arc<Mutex<RelayState>>,
    pub(super) tls: Encryption,
    pub(super) acceptor: TlsAcceptor,
    /// The index of its connection in the state.
    pub(super) number: usize,
}

impl Conversation {
    /// Answers commands until the connection ends. An action that closes the connection ends as an error.
    pub(super) async fn run(mut self, tcp: TcpStream) -> io::Result<()> {
        self.number = {
            let connections = &mut self.state.lock().unwrap().connections;
            connections.push(RelayConnection {
                is_open: true,
                ..RelayConnection::default()
            });
            connections.len() - 1
        };
        let ended = self.converse(tcp).await;
        self.with_connection(|connection| connection.is_open = false);
        ended
    }

    async fn converse(&self, tcp: TcpStream) -> io::Result<()> {
        let mut is_encrypted = self.tls == Encryption::Implicit;
        let boxed: Box<dyn SmtpStream> = if is_encrypted {
            Box::new(self.acceptor.accept(tcp).await?)
        } else {
            Box::new(tcp)
        };
        let mut stream = BufReader::new(boxed);
        if self.is_beyond_limit() {
            return refuse(&mut stream, "421 4.7.0 too many connections").await;
        }
        self.act(&mut stream, SmtpStep::Greeting, "220 relay.test ESMTP")
            .await?;
        let (mut transaction, mut message_count) = (Transaction::default(), 0);
        while let Some(line) = self.read_line(&mut stream).await? {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let (step, usual) = self.usual_reply(&line, &transaction, is_encrypted)?;
            if step == SmtpStep::Mail && self.is_last_message(message_count) {
                return refuse(&mut stream, "421 4.7.0 too many messages").await;
            }
            let is_positive = self.act(&mut stream, step, &usual).await?;
            transaction.follow(step, is_positive, &line);
            if is_positive && step == SmtpStep::StartTls {
                self.mark_encrypted();
                let tls = self.acceptor.accept(stream.into_inner()).await?;
                stream = BufReader::new(Box::new(tls));
                is_encrypted = true;
            }
            if is_positive && step == SmtpStep::Data {
                let usual = self.read_message(&mut stream, &transaction).await?;
                self.act(&mut stream, SmtpStep::Message, usual).await?;
                transaction = Transaction::default();
                message_count += 1;
            }
        }
        Ok(())
    }

    /// Whether more connections are open than the script allows.
    fn is_beyond_limit(&self) -> bool {
        let state = self.state.lock().unwrap();
        let open = state.connections.iter().filter(|other| other.is_open);
        let max = state.script.connections_max;
        max.is_some_and(|max| open.count() > max)
    }

    /// Whether a connection has sent all the messages that the script allows.
    fn is_last_message(&self, count: usize) -> bool {
        let max = self.state.lock().unwrap().script.messages_per_connection;
        max.is_some_and(|max| count >= max)
    }

    fn usual_reply(
        &self,
        line: &str,
        transaction: &Transaction,
        is_encrypted: bool,
    ) -> io::Result<(SmtpStep, String)> {
        let verb = line.split([' ', ':']).next().unwrap_or_default();
        self.with_connection(|connection| connection.verbs.push(verb.to_owned()));
        let (step, reply) = match verb {
            "EHLO" => return Ok((SmtpStep::Ehlo, self.ehlo_reply(is_encrypted))),
            "RCPT" => return Ok((SmtpStep::Rcpt, self.rcpt_reply(transaction, line))),
            "STARTTLS" => (SmtpStep::StartTls, "220 2.0.0 go ahead"),
            "AUTH" => (SmtpStep::Auth, "235 2.7.0 welcome"),
            "MAIL" => (SmtpStep::Mail, "250 2.1.0 ok"),
            "DATA" => (SmtpStep::Data, transaction.data_reply()),
            "RSET" => (SmtpStep::Rset, "250 2.0.0 ok"),
            "QUIT" => (SmtpStep::Quit, "221 2.0.0 bye"),
            _ => return Err(io::Error::other("an unknown command")),
        };
        Ok((step, reply.to_owned()))
    }

    fn rcpt_reply(&self, transaction: &Transaction, line: &str) -> String {
        if !transaction.is_begun {
            return "503 5.5.1 MAIL first".to_owned();
        }
        let recipient = line.trim_start_matches("RCPT TO:<").trim_end_matches('>');
        self.state.lock().unwrap().script.rcpt_reply(recipient)
    }

    fn ehlo_reply(&self, is_encrypted: bool) -> String {
        let mut lines = vec!["250-relay.test", "250-8BITMIME"];
        if self.tls == Encryption::StartTls && !is_encrypted {
            lines.push("250-STARTTLS");
        }
        // Also offered without encryption, so that only the client keeps the password from being sent in the clear.
        lines.push("250-AUTH PLAIN LOGIN");
        if self.state.lock().unwrap().script.offers_pipelining {
            lines.push("250-PIPELINING");
        }
        lines.push("250 SIZE 10000000");
        lines.join("\r\n")
    }

    fn mark_encrypted(&self) {
        self.with_connection(|connection| connection.plain_bytes = connection.bytes.len());
    }

    fn forgets_bytes(&self) -> bool {
        self.state.lock().unwrap().script.forgets_bytes
    }

    /// Keeps bytes, unless the script says otherwise.
    fn record(&self, record: impl FnOnce(&mut RelayConnection)) {
        if !self.forgets_bytes() {
            self.with_connection(record);
        }
    }

    fn with_connection(&self, change: impl FnOnce(&mut RelayConnection)) {
        change(&mut self.state.lock().unwrap().connections[self.number]);
    }

    /// Answers by the script, or with the usual reply. Returns whether the reply was positive.
    async fn act(
        &self,
        stream: &mut BufferedStream,
        step: SmtpStep,
        usual: &str,
    ) -> io::Result<bool> {
        let action = self.state.lock().unwrap().script.pop(step);
        let is_last =
            matches!(action, Some(RelayAction::ReplyAndClose(_))) || step == SmtpStep::Quit;
        let reply = match action {
            None => usual.to_owned(),
            Some(RelayAction::Reply(reply) | RelayAction::ReplyAndClose(reply)) => reply,
            Some(RelayAction::ReplyBytes(bytes)) => return write_pieces(stream, &[bytes]).await,
            Some(RelayAction::ReplyInPieces(pieces)) => return write_pieces(stream, &pieces).await,
            Some(RelayAction::ReplyLate(delay, reply)) => {
                tokio::time::sleep(delay).await;
                reply
            }
            Some(RelayAction::Close) => return Err(io::Error::other("closed by the script")),
            Some(RelayAction::Reset) => {
                stream.get_ref().tcp().set_zero_linger()?;
                return Err(io::Error::other("reset by the script"));
            }
            Some(RelayAction::Silence) => {
                while self.read_line(stream).await?.is_some() {}
                return Err(io::Error::other("the client gave up"));
            }
            Some(RelayAction::Skip) => return Ok(true),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        stream.flush().await?;
        if is_last {
            return Err(io::Error::other("closed after the reply"));
        }
        Ok(reply.starts_with(['2', '3']))
    }

    async fn read_line(&self, stream: &mut BufferedStream) -> io::Result<Option<Vec<u8>>> {
        if stream.buffer().is_empty() {
            let arrived = stream.fill_buf().await?.to_vec();
            self.record(|connection| connection.arrivals.push(arrived));
        }
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await?;
        self.record(|connection| connection.bytes.extend_from_slice(&line));
        Ok((!line.is_empty()).then_some(line))
    }

    /// Reads a message up to its final dot. Returns the usual reply.
    async fn read_message(
        &self,
        stream: &mut BufferedStream,
        transaction: &Transaction,
    ) -> io::Result<&'static str> {
        let mut wire = Vec::new();
        while let Some(line) = self.read_line(stream).await? {
            if line == b".\r\n" {
                let Some(rcpt) = transaction.rcpt.clone() else {
                    return Ok("554 5.5.1 no valid recipients");
                };
                let mut state = self.state.lock().unwrap();
                state.received.push(ReceivedMessage { rcpt, wire });
                state.message_received.notify_waiters();
                return Ok("250 2.0.0 queued");
            }
            if !self.forgets_bytes() || line.starts_with(b"Message-ID: ") {
                wire.extend_from_slice(&line);
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Writes a reply and closes the connection.
async fn refuse(stream: &mut BufferedStream, reply: &str) -> io::Result<()> {
    write_pieces(stream, &[format!("{reply}\r\n").into_bytes()]).await?;
    Err(io::Error::other("closed by a limit"))
}

/// Writes a reply. Returns whether it is positive.
async fn write_pieces(stream: &mut BufferedStream, pieces: &[Vec<u8>]) -> io::Result<bool> {
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            tokio::time::sleep(PIECE_PAUSE).await;
        }
        stream.write_all(piece).await?;
        stream.flush().await?;
    }
    Ok(matches!(pieces[0].first(), Some(b'2' | b'3')))
}

/// The commands with a positive reply since MAIL.
#[derive(Default)]
struct Transaction {
    is_begun: bool,
    /// The line that named the recipient.
    rcpt: Option<String>,
}

impl Transaction {
    fn data_reply(&self) -> &'static str {
        if self.rcpt.is_some() {
            "354 go on"
        } else {
            "503 5.5.1 no valid recipients"
        }
    }

    fn follow(&mut self, step: SmtpStep, is_positive: bool, line: &str) {
        match step {
            SmtpStep::Mail => {
                self.is_begun = is_positive;
                self.rcpt = None;
            }
            SmtpStep::Rcpt if is_positive => self.rcpt = Some(line.to_owned()),
            SmtpStep::Rset => *self = Self::default(),
            _ => {}
        }
    }
}

//! One conversation of the relay: reading commands, answering as scripted or properly.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Act, Encryption, On, Seen, State, Taken};

/// Between two pieces of an answer, so that they do not travel together.
const PIECE_PAUSE: Duration = Duration::from_millis(5);

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {
    fn tcp(&self) -> &TcpStream;
}

impl Duplex for TcpStream {
    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl Duplex for TlsStream<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0
    }
}

impl Duplex for TlsStream<Box<dyn Duplex>> {
    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.tcp()
    }
}

type Stream = BufReader<Box<dyn Duplex>>;

#[derive(Clone)]
pub(super) struct Conversation {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) tls: Encryption,
    pub(super) acceptor: TlsAcceptor,
    /// Which of the connections seen this one is.
    pub(super) number: usize,
}

impl Conversation {
    pub(super) async fn hold(mut self, tcp: TcpStream) -> io::Result<()> {
        self.number = {
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
        let mut transaction = Transaction::default();
        while let Some(line) = self.read_line(&mut stream).await? {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            self.state.lock().unwrap().seen[self.number]
                .verbs
                .push(verb.to_owned());
            let (on, proper) = match verb {
                "EHLO" => (On::Ehlo, self.ehlo(is_encrypted)),
                "STARTTLS" => (On::StartTls, "220 2.0.0 go ahead".to_owned()),
                "AUTH" => (On::Auth, "235 2.7.0 welcome".to_owned()),
                "MAIL" => (On::Mail, "250 2.1.0 ok".to_owned()),
                "RCPT" => (On::Rcpt, self.rcpt(&transaction, &line)),
                "DATA" => (On::Data, transaction.data().to_owned()),
                "RSET" => (On::Rset, "250 2.0.0 ok".to_owned()),
                "QUIT" => (On::Quit, "221 2.0.0 bye".to_owned()),
                _ => return Err(io::Error::other("an unknown command")),
            };
            let is_agreed = self.act(&mut stream, on, &proper).await?;
            transaction.follow(on, is_agreed, &line);
            if is_agreed && on == On::StartTls {
                self.mark_encrypted();
                let tls = self.acceptor.accept(stream.into_inner()).await?;
                stream = BufReader::new(Box::new(tls));
                is_encrypted = true;
            }
            if is_agreed && on == On::Data {
                let proper = self.read_message(&mut stream, &transaction).await?;
                self.act(&mut stream, On::Message, proper).await?;
                transaction = Transaction::default();
            }
        }
        Ok(())
    }

    /// The answer to a recipient.
    fn rcpt(&self, transaction: &Transaction, line: &str) -> String {
        if !transaction.is_begun {
            return "503 5.5.1 MAIL first".to_owned();
        }
        let recipient = line.trim_start_matches("RCPT TO:<").trim_end_matches('>');
        let mut state = self.state.lock().unwrap();
        if let Some(reply) = state.refused.get(recipient) {
            return reply.clone();
        }
        let times = state.greylisted_times;
        let greylisted = state.greylisted.entry(recipient.to_owned()).or_default();
        if *greylisted < times {
            *greylisted += 1;
            return "450 4.2.0 greylisted, try again in 5 minutes".to_owned();
        }
        "250 2.1.5 ok".to_owned()
    }

    fn mark_encrypted(&self) {
        let seen = &mut self.state.lock().unwrap().seen[self.number];
        seen.plain_bytes = seen.bytes.len();
    }

    fn ehlo(&self, is_encrypted: bool) -> String {
        let mut lines = vec!["250-relay.test", "250-8BITMIME"];
        if self.tls == Encryption::StartTls && !is_encrypted {
            lines.push("250-STARTTLS");
        }
        // Offered in the clear as well, so that only the client's own care keeps the password off the wire.
        lines.push("250-AUTH PLAIN LOGIN");
        if self.state.lock().unwrap().offers_pipelining {
            lines.push("250-PIPELINING");
        }
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
            Some(Act::SayBytes(bytes)) => return say_pieces(stream, &[bytes]).await,
            Some(Act::SayInPieces(pieces)) => return say_pieces(stream, &pieces).await,
            Some(Act::SayLate(pause, reply)) => {
                tokio::time::sleep(pause).await;
                reply
            }
            Some(Act::Close) => return Err(io::Error::other("closed as scripted")),
            Some(Act::Reset) => {
                stream.get_ref().tcp().set_zero_linger()?;
                return Err(io::Error::other("reset as scripted"));
            }
            Some(Act::Silence) => {
                while self.read_line(stream).await?.is_some() {}
                return Err(io::Error::other("the client gave up"));
            }
            Some(Act::Skip) => return Ok(true),
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
        stream.flush().await?;
        if is_last {
            return Err(io::Error::other("closed after the reply"));
        }
        Ok(reply.starts_with(['2', '3']))
    }

    async fn read_line(&self, stream: &mut Stream) -> io::Result<Option<Vec<u8>>> {
        if stream.buffer().is_empty() {
            let arrived = stream.fill_buf().await?.to_vec();
            self.state.lock().unwrap().seen[self.number]
                .arrivals
                .push(arrived);
        }
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await?;
        let mut state = self.state.lock().unwrap();
        state.seen[self.number].bytes.extend_from_slice(&line);
        Ok((!line.is_empty()).then_some(line))
    }

    /// Reads up to the final dot, or until the client goes away; the proper answer.
    async fn read_message(
        &self,
        stream: &mut Stream,
        transaction: &Transaction,
    ) -> io::Result<&'static str> {
        let mut wire = Vec::new();
        while let Some(line) = self.read_line(stream).await? {
            if line == b".\r\n" {
                let Some(rcpt) = transaction.rcpt.clone() else {
                    return Ok("554 5.5.1 no valid recipients");
                };
                let mut state = self.state.lock().unwrap();
                state.taken.push(Taken { rcpt, wire });
                state.is_taken.notify_waiters();
                return Ok("250 2.0.0 queued");
            }
            wire.extend_from_slice(&line);
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Writes an answer; whether it was a yes.
async fn say_pieces(stream: &mut Stream, pieces: &[Vec<u8>]) -> io::Result<bool> {
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            tokio::time::sleep(PIECE_PAUSE).await;
        }
        stream.write_all(piece).await?;
        stream.flush().await?;
    }
    Ok(matches!(pieces[0].first(), Some(b'2' | b'3')))
}

/// What was agreed on since MAIL.
#[derive(Default)]
struct Transaction {
    is_begun: bool,
    /// The line that named the recipient.
    rcpt: Option<String>,
}

impl Transaction {
    fn data(&self) -> &'static str {
        if self.rcpt.is_some() {
            "354 go on"
        } else {
            "503 5.5.1 no valid recipients"
        }
    }

    fn follow(&mut self, on: On, is_agreed: bool, line: &str) {
        match on {
            On::Mail => {
                self.is_begun = is_agreed;
                self.rcpt = None;
            }
            On::Rcpt if is_agreed => self.rcpt = Some(line.to_owned()),
            On::Rset => *self = Self::default(),
            _ => {}
        }
    }
}

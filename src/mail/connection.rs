//! One open SMTP connection and the commands that deliver one mail over it.
//!
//! A mail costs four round trips, or two where the server offers PIPELINING (RFC 2920): then all commands up to DATA go
//! out in one write. Their replies are still read one after the other, each in its own time and judged by its own stage,
//! and all of them are read before the connection may be used again.
//!
//! `lettre` frames the commands and reads the replies; which command comes when, how long it may take and what its
//! reply means are decided here, because its own `send` credits a late reply to the next message. A connection says of
//! itself whether it is still in step; keeping or dropping it is the session's business.

use std::future::Future;
use std::io;
use std::mem;
use std::time::Duration;

use futures::FutureExt;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Ehlo, Mail, Quit, Rcpt};
use lettre::transport::smtp::response::Response;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::message::ComposedMail;
use super::outcome::{Accepted, Fate, SendError, Stage, masked};
use super::reply::{Failure, Left, blames_certificate, expect, judge, settle, text_of};
use super::smtp::{Route, SmtpLimits, SmtpTimeouts};
use super::stream::{ImplicitTls, LineByLine};
use super::tls::TlsSetup;

/// How long QUIT may take: it is a courtesy, and a shutdown waits for it.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

/// An open conversation.
pub(super) struct Connection {
    inner: AsyncSmtpConnection,
    opened_at: Instant,
    used_at: Instant,
    mails: u32,
    /// Commands may be sent ahead of replies.
    is_pipelining: bool,
    /// A transaction was begun and refused; RSET must end it before the next.
    is_reset_due: bool,
}

/// A command, and which replies to it are good.
struct Command {
    stage: Stage,
    line: String,
    expected: &'static [u16],
    limit: Duration,
}

impl Connection {
    /// Connects, encrypts and signs in, as configured.
    pub(super) async fn open(route: &Route) -> Result<Self, SendError> {
        let timeouts = &route.timeouts;
        let tcp = dial(&route.host, route.port, timeouts.connect).await?;
        let stream: Box<dyn AsyncTokioStream> = match &route.tls {
            TlsSetup::None => Box::new(tcp),
            TlsSetup::StartTls(_) => Box::new(LineByLine::new(tcp)),
            TlsSetup::Implicit { connector, name } => {
                let handshake = connector.connect(name.clone(), tcp);
                let tls = within(timeouts.command, Stage::Tls, handshake).await?;
                Box::new(ImplicitTls(Box::new(tls)))
            }
        };
        let connect = AsyncSmtpConnection::connect_with_transport(stream, &route.hello);
        let mut inner = within(timeouts.greeting, Stage::Greeting, connect).await?;
        if let TlsSetup::StartTls(parameters) = &route.tls {
            if !inner.can_starttls() {
                let text = "the server does not offer STARTTLS";
                return Err(SendError::misconfigured(Stage::Tls, text));
            }
            let upgrade = inner.starttls(parameters.clone(), &route.hello);
            within(timeouts.command, Stage::Tls, upgrade).await?;
        }
        let is_pipelining = route.pipelining && offers_pipelining(&mut inner, route).await?;
        if let Some(credentials) = &route.credentials {
            let mechanisms = [Mechanism::Plain, Mechanism::Login];
            let sign_in = inner.auth(&mechanisms, credentials);
            let response = within(timeouts.command, Stage::Auth, sign_in).await?;
            expect(Stage::Auth, &[235], &response).map_err(|failure| failure.error)?;
        }
        let now = Instant::now();
        Ok(Self {
            inner,
            opened_at: now,
            used_at: now,
            mails: 0,
            is_pipelining,
            is_reset_due: false,
        })
    }

    /// Delivers one mail. Success is 250 after the final dot and nothing else.
    ///
    /// The future must run to its end: after a dropped one, a reply is outstanding and the connection is worthless.
    pub(super) async fn deliver(
        &mut self,
        mail: &ComposedMail,
        timeouts: &SmtpTimeouts,
    ) -> Result<Accepted, Failure> {
        self.mails += 1;
        let commands = self.commands(mail, timeouts);
        self.is_reset_due = true;
        if self.is_pipelining {
            self.pipeline(&commands, timeouts.body).await?;
        } else {
            for command in &commands {
                self.step(command, &command.line).await?;
            }
        }
        if self.has_spoken_unasked() {
            // The next reply would pass for the one to a message that the server has not read.
            return Err(Failure {
                error: SendError::broken(
                    Stage::Data,
                    "the server spoke or hung up before the message",
                ),
                left: Left::OutOfStep,
            });
        }
        let response = self.body(mail.bytes(), timeouts.body).await?;
        self.is_reset_due = false;
        self.used_at = Instant::now();
        Ok(Accepted {
            reply: masked(&text_of(&response)),
        })
    }

    /// Whether another mail may go over this connection.
    ///
    /// A server that spoke unasked, or hung up, has said goodbye; whatever it said must not answer our next command.
    pub(super) fn is_reusable(&mut self, limits: &SmtpLimits) -> bool {
        self.mails < limits.messages_per_connection
            && self.opened_at.elapsed() < limits.connection_max_age
            && self.used_at.elapsed() < limits.idle_close
            && !self.has_spoken_unasked()
    }

    pub(super) fn used_at(&self) -> Instant {
        self.used_at
    }

    /// Says QUIT and forgets the answer.
    pub(super) async fn quit(mut self) {
        // An error or a timeout changes nothing: the socket is closed either way.
        let _ = timeout(QUIT_TIMEOUT, self.inner.command(Quit)).await;
    }

    /// Whether a reply is there that nothing asked for, or the end of the connection.
    fn has_spoken_unasked(&mut self) -> bool {
        self.inner.read_response().now_or_never().is_some()
    }

    /// What is to be said before the message.
    fn commands(&self, mail: &ComposedMail, timeouts: &SmtpTimeouts) -> Vec<Command> {
        let mut commands = Vec::with_capacity(4);
        let mut push = |stage, line, expected, limit| {
            commands.push(Command {
                stage,
                line,
                expected,
                limit,
            });
        };
        if self.is_reset_due {
            let line = "RSET\r\n".to_owned();
            push(Stage::MailFrom, line, &[250][..], timeouts.command);
        }
        let line = Mail::new(mail.from().cloned(), Vec::new()).to_string();
        push(Stage::MailFrom, line, &[250], timeouts.command);
        let line = Rcpt::new(mail.recipient().clone(), Vec::new()).to_string();
        // 251: not local, will be forwarded (RFC 5321 §4.2.3).
        push(Stage::RcptTo, line, &[250, 251], timeouts.command);
        push(Stage::Data, Data.to_string(), &[354], timeouts.data);
        commands
    }

    /// Sends all commands at once and reads all replies, up to the first after which the connection is given up.
    async fn pipeline(&mut self, commands: &[Command], limit: Duration) -> Result<(), Failure> {
        let mut batch: String = commands.iter().map(|command| &*command.line).collect();
        for (at, command) in commands.iter().enumerate() {
            match self.step(command, &mem::take(&mut batch)).await {
                Ok(_) => {}
                Err(refusal) if refusal.left == Left::InStep && command.stage < Stage::Data => {
                    let left = self.forgo(&commands[at + 1..], limit).await;
                    return Err(Failure { left, ..refusal });
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Gets back in step after a refused recipient, with DATA sent already. What is said now is about nobody.
    ///
    /// A server with no recipient should refuse DATA. If it says 354 all the same, it gets a lone dot and has to refuse
    /// that (RFC 2920 §3.1); one that accepts even this cannot be followed.
    async fn forgo(&mut self, commands: &[Command], limit: Duration) -> Left {
        for command in commands {
            match self.step(command, "").await {
                Ok(_) => {}
                Err(failure) => return failure.left,
            }
        }
        let dot = Command {
            stage: Stage::FinalReply,
            line: ".\r\n".to_owned(),
            expected: &[],
            limit,
        };
        match self.step(&dot, &dot.line).await {
            Ok(_) => Left::OutOfStep,
            Err(failure) => failure.left,
        }
    }

    /// Writes something, unless that was done before, and reads the reply to one command.
    async fn step(&mut self, command: &Command, write: &str) -> Result<Response, Failure> {
        let outcome = if write.is_empty() {
            timeout(command.limit, self.inner.read_response()).await
        } else {
            timeout(command.limit, self.inner.command(write)).await
        };
        self.used_at = Instant::now();
        settle(command.stage, command.expected, outcome)
    }

    async fn body(&mut self, bytes: &[u8], limit: Duration) -> Result<Response, Failure> {
        // The line end before the final dot is the dot's own (RFC 5321 §4.1.1.4).
        let bytes = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
        let mut is_whole = false;
        // The dot is written once the iterator ends: an error after that leaves the outcome unknown.
        let parts = std::iter::once(bytes).chain(std::iter::from_fn(|| {
            is_whole = true;
            None
        }));
        let outcome = timeout(limit, self.inner.message_iter(parts)).await;
        let stage = if is_whole {
            Stage::FinalReply
        } else {
            Stage::Body
        };
        let outcome = settle(stage, &[250], outcome);
        if matches!(&outcome, Err(failure) if failure.left == Left::InStep) {
            // A refused message ends its transaction (RFC 5321 §4.1.1.4).
            self.is_reset_due = false;
        }
        outcome
    }
}

/// Whether commands may be sent ahead of replies. `lettre` has read EHLO's answer and did not keep this, so it is asked
/// again, which costs less than the first mail saves. A refused EHLO changes nothing (RFC 5321 §4.1.4).
async fn offers_pipelining(
    inner: &mut AsyncSmtpConnection,
    route: &Route,
) -> Result<bool, SendError> {
    let hello = inner.command(Ehlo::new(route.hello.clone()));
    let response = match within(route.timeouts.command, Stage::Greeting, hello).await {
        Ok(response) => response,
        Err(error) if error.reply_code.is_some_and(|code| code != 421) => return Ok(false),
        Err(error) => return Err(error),
    };
    expect(Stage::Greeting, &[250], &response).map_err(|failure| failure.error)?;
    // The first line is the server's name.
    let mut extensions = response.message().skip(1);
    Ok(extensions.any(|line| line.trim().eq_ignore_ascii_case("PIPELINING")))
}

/// Tries every address of a name, each for as long as `limit`.
async fn dial(host: &str, port: u16, limit: Duration) -> Result<TcpStream, SendError> {
    let down = |text: &str| SendError::fault(Fate::LaneDown, Stage::Connect, text);
    let found = timeout(limit, lookup_host((host, port)))
        .await
        .map_err(|_| down("the name was not resolved in time"))?
        .map_err(|_| down("the name was not resolved"))?;
    let mut last = down("the name has no address");
    for address in found {
        match timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Without this the final dot waits 40 ms for the acknowledgement of the body.
                stream
                    .set_nodelay(true)
                    .map_err(|error| down(&error.to_string()))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = down(&error.to_string()),
            Err(_) => last = down("no connection in time"),
        }
    }
    Err(last)
}

/// Bounds a step of the opening. Whatever fails there is the lane's fault.
async fn within<T, E: Into<OpeningError>>(
    limit: Duration,
    stage: Stage,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, SendError> {
    match timeout(limit, step).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(match error.into() {
            OpeningError::Smtp(error) => judge(stage, &error).error,
            OpeningError::Io(error) if blames_certificate(&error) => {
                SendError::misconfigured(stage, &error.to_string())
            }
            OpeningError::Io(error) => SendError::fault(Fate::LaneDown, stage, &error.to_string()),
        }),
        Err(_) => Err(SendError::timed_out(stage)),
    }
}

enum OpeningError {
    Smtp(SmtpError),
    Io(io::Error),
}

impl From<SmtpError> for OpeningError {
    fn from(error: SmtpError) -> Self {
        Self::Smtp(error)
    }
}

impl From<io::Error> for OpeningError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

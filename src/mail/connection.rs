//! One open SMTP connection and the commands that deliver one mail over it.
//!
//! `lettre` frames the commands and reads the replies; which command comes when, how long it may take and what its
//! reply means are decided here, because its own `send` credits a late reply to the next message. A connection says of
//! itself whether it is still in step; keeping or dropping it is the session's business.

use std::error::Error as _;
use std::fmt::Display;
use std::future::Future;
use std::io;
use std::mem;
use std::time::Duration;

use futures::FutureExt;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Mechanism;
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::commands::{Data, Mail, Quit, Rcpt};
use lettre::transport::smtp::response::Response;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

use super::message::ComposedMail;
use super::outcome::{Accepted, Fate, SendError, Stage, masked};
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
    /// A transaction was begun and refused; RSET must end it before the next.
    is_reset_due: bool,
}

/// A mail that was not accepted, and what is left of the connection.
pub(super) struct Failure {
    pub(super) error: SendError,
    pub(super) left: Left,
}

/// What is left of a connection after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It can go on: the refusal was an orderly reply.
    InStep,
    /// The server hung up.
    HungUp,
    /// Nobody knows which reply comes next.
    OutOfStep,
}

impl Connection {
    /// Connects, encrypts and signs in, as configured.
    pub(super) async fn open(route: &Route) -> Result<Self, SendError> {
        let timeouts = &route.timeouts;
        let tcp = dial(&route.host, route.port, timeouts.connect).await?;
        let stream: Box<dyn AsyncTokioStream> = match &route.tls {
            TlsSetup::None => Box::new(tcp),
            TlsSetup::StartTls(_) => Box::new(LineByLine(tcp)),
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
                return Err(SendError::fault(Fate::LaneDown, Stage::Tls, text));
            }
            let upgrade = inner.starttls(parameters.clone(), &route.hello);
            within(timeouts.command, Stage::Tls, upgrade).await?;
        }
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
        if mem::take(&mut self.is_reset_due) {
            self.step(Stage::MailFrom, timeouts.command, "RSET\r\n", &[250])
                .await?;
        }
        let from = Mail::new(mail.from().cloned(), Vec::new());
        self.step(Stage::MailFrom, timeouts.command, from, &[250])
            .await?;
        self.is_reset_due = true;
        let to = Rcpt::new(mail.recipient().clone(), Vec::new());
        // 251: not local, will be forwarded (RFC 5321 §4.2.3).
        self.step(Stage::RcptTo, timeouts.command, to, &[250, 251])
            .await?;
        self.step(Stage::Data, timeouts.data, Data, &[354]).await?;
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
            && self.inner.read_response().now_or_never().is_none()
    }

    pub(super) fn used_at(&self) -> Instant {
        self.used_at
    }

    /// Says QUIT and forgets the answer.
    pub(super) async fn quit(mut self) {
        // An error or a timeout changes nothing: the socket is closed either way.
        let _ = timeout(QUIT_TIMEOUT, self.inner.command(Quit)).await;
    }

    async fn step(
        &mut self,
        stage: Stage,
        limit: Duration,
        command: impl Display,
        expected: &[u16],
    ) -> Result<Response, Failure> {
        let outcome = timeout(limit, self.inner.command(command)).await;
        self.used_at = Instant::now();
        settle(stage, expected, outcome)
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

fn settle(
    stage: Stage,
    expected: &[u16],
    outcome: Result<Result<Response, SmtpError>, tokio::time::error::Elapsed>,
) -> Result<Response, Failure> {
    match outcome {
        Ok(Ok(response)) => {
            expect(stage, expected, &response)?;
            Ok(response)
        }
        Ok(Err(error)) => Err(judge(stage, &error)),
        Err(_) => Err(Failure {
            error: SendError::timed_out(stage),
            left: Left::OutOfStep,
        }),
    }
}

fn expect(stage: Stage, expected: &[u16], response: &Response) -> Result<(), Failure> {
    let code = u16::from(response.code());
    if expected.contains(&code) {
        return Ok(());
    }
    Err(Failure {
        error: SendError::out_of_step(stage, code, &text_of(response)),
        left: Left::OutOfStep,
    })
}

fn judge(stage: Stage, error: &SmtpError) -> Failure {
    let Some(code) = error.status().map(u16::from) else {
        return if is_garbled(error) {
            Failure {
                error: SendError::garbled(stage),
                left: Left::OutOfStep,
            }
        } else {
            Failure {
                error: SendError::broken(stage, &cause_of(error)),
                left: Left::HungUp,
            }
        };
    };
    let text = error.source().map_or_else(String::new, ToString::to_string);
    let error = SendError::reply(stage, code, &text);
    let left = if stage >= Stage::RcptTo && code != 421 {
        Left::InStep
    } else {
        Left::OutOfStep
    };
    Failure { error, left }
}

/// Whether a reply came that is not UTF-8: `lettre` then shows neither text nor code.
fn is_garbled(error: &SmtpError) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}

/// The innermost cause, such as what is wrong with a certificate; the layers above it only repeat themselves.
fn cause_of(error: &SmtpError) -> String {
    if error.is_response() {
        return "the server hung up or sent no SMTP reply".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn text_of(response: &Response) -> String {
    response.message().collect::<Vec<_>>().join(" ")
}

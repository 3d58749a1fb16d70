//! An open SMTP connection and the commands that deliver one email over it.
//!
//! An email costs four round trips, or two if the server offers PIPELINING (RFC 2920): all commands up to DATA then go
//! out in one write. Their replies are still read one by one, each with its own timeout and stage. The connection is
//! not used again before all of them are read.
//!
//! `lettre` formats the commands and parses the replies. The order, the timeouts and the meaning of replies are decided
//! here, because `lettre`'s own `send` assigns a late reply to the next message.

use std::mem;
use std::time::Duration;

use futures::FutureExt;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Quit, Rcpt};
use lettre::transport::smtp::response::Response;
use tokio::time::{Instant, timeout};

use super::relay_connect::connect;
use super::relay_reply::{ConnectionState, RelayFailure, check, text_of};
use super::smtp_config::{RelayEndpoint, SmtpLimits, SmtpTimeouts};
use crate::domain::masking::masked;
use crate::mail::message::ComposedMessage;
use crate::mail::send_error::{SendError, SendReceipt, SendStage};

/// Closing must not delay a shutdown, and the reply to QUIT changes nothing.
const QUIT_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) struct RelayConnection {
    inner: AsyncSmtpConnection,
    opened_at: Instant,
    used_at: Instant,
    message_count: u32,
    /// Whether commands are sent before the replies to earlier ones.
    is_pipelining: bool,
    /// Whether a transaction was begun and refused, so that RSET must end it before the next.
    is_reset_due: bool,
}

/// A command and the reply codes that mean success.
struct SmtpCommand {
    stage: SendStage,
    line: String,
    expected: &'static [u16],
    timeout: Duration,
}

impl RelayConnection {
    pub(super) async fn open(endpoint: &RelayEndpoint) -> Result<Self, SendError> {
        let (inner, is_pipelining) = connect(endpoint).await?;
        let now = Instant::now();
        Ok(Self {
            inner,
            opened_at: now,
            used_at: now,
            message_count: 0,
            is_pipelining,
            is_reset_due: false,
        })
    }

    /// Delivers one email. Only 250 after the final dot is a success.
    ///
    /// If the future is dropped, a reply is outstanding and the connection must be dropped too.
    pub(super) async fn deliver(
        &mut self,
        message: &ComposedMessage,
        timeouts: &SmtpTimeouts,
    ) -> Result<SendReceipt, RelayFailure> {
        self.message_count += 1;
        let commands = self.commands(message, timeouts);
        self.is_reset_due = true;
        if self.is_pipelining {
            self.run_pipelined(&commands, timeouts.body).await?;
        } else {
            for command in &commands {
                self.run(command, &command.line).await?;
            }
        }
        if self.was_ended_by_server() {
            // Otherwise this input would be taken for the reply to a message that the server has not read.
            let text = "the server sent something or closed the connection before the message";
            return Err(RelayFailure {
                error: SendError::broken(SendStage::Data, text),
                connection: ConnectionState::Closed,
            });
        }
        let response = self.send_body(message.bytes(), timeouts.body).await?;
        self.is_reset_due = false;
        self.used_at = Instant::now();
        Ok(SendReceipt {
            reply: masked(&text_of(&response)),
        })
    }

    /// Whether the server has closed the connection or announced that (421).
    ///
    /// Any unexpected input counts. It must not be taken for the reply to the next command.
    pub(super) fn was_ended_by_server(&mut self) -> bool {
        self.inner.read_response().now_or_never().is_some()
    }

    /// Whether the limits allow another email over this connection.
    pub(super) fn is_within(&self, limits: &SmtpLimits) -> bool {
        self.message_count < limits.messages_per_connection
            && self.opened_at.elapsed() < limits.connection_max_age
            && self.used_at.elapsed() < limits.idle_close
    }

    pub(super) fn used_at(&self) -> Instant {
        self.used_at
    }

    pub(super) async fn quit(mut self) {
        // The socket is closed either way, so an error or a timeout changes nothing.
        let _ = timeout(QUIT_TIMEOUT, self.inner.command(Quit)).await;
    }

    fn commands(&self, message: &ComposedMessage, timeouts: &SmtpTimeouts) -> Vec<SmtpCommand> {
        let command = |stage, line, expected, timeout| SmtpCommand {
            stage,
            line,
            expected,
            timeout,
        };
        let reset = "RSET\r\n".to_owned();
        let mail = Mail::new(message.from().cloned(), Vec::new()).to_string();
        let rcpt = Rcpt::new(message.recipient().clone(), Vec::new()).to_string();
        let mut commands = vec![
            command(SendStage::MailFrom, reset, &[250][..], timeouts.command),
            command(SendStage::MailFrom, mail, &[250], timeouts.command),
            // 251: the recipient is not local and the server forwards (RFC 5321 §4.2.3).
            command(SendStage::RcptTo, rcpt, &[250, 251], timeouts.command),
            command(SendStage::Data, Data.to_string(), &[354], timeouts.data),
        ];
        if !self.is_reset_due {
            commands.remove(0);
        }
        commands
    }

    /// Sends all commands at once and reads all replies, up to the first one after which the connection is unusable.
    async fn run_pipelined(
        &mut self,
        commands: &[SmtpCommand],
        body_timeout: Duration,
    ) -> Result<(), RelayFailure> {
        let mut lines: String = commands.iter().map(|command| &*command.line).collect();
        for (at, command) in commands.iter().enumerate() {
            // The first command writes all lines.
            let Err(failure) = self.run(command, &mem::take(&mut lines)).await else {
                continue;
            };
            let is_refusal = failure.connection == ConnectionState::InSync;
            if !is_refusal || command.stage >= SendStage::Data {
                return Err(failure);
            }
            let connection = self.abandon(&commands[at + 1..], body_timeout).await;
            return Err(RelayFailure {
                connection,
                ..failure
            });
        }
        Ok(())
    }

    /// Reads the remaining replies after a refused recipient, when DATA was sent already.
    ///
    /// Without a recipient the server should refuse DATA. If it replies 354, it gets a lone dot and must refuse that
    /// (RFC 2920 §3.1). A server that accepts even the dot is out of sync.
    async fn abandon(&mut self, remaining: &[SmtpCommand], timeout: Duration) -> ConnectionState {
        for command in remaining {
            if let Err(failure) = self.run(command, "").await {
                return failure.connection;
            }
        }
        let dot = SmtpCommand {
            stage: SendStage::FinalReply,
            line: ".\r\n".to_owned(),
            expected: &[],
            timeout,
        };
        match self.run(&dot, &dot.line).await {
            Ok(_) => ConnectionState::OutOfSync,
            Err(failure) => failure.connection,
        }
    }

    /// Writes `lines`, if there are any, and reads the reply to one command.
    async fn run(&mut self, command: &SmtpCommand, lines: &str) -> Result<Response, RelayFailure> {
        let outcome = if lines.is_empty() {
            timeout(command.timeout, self.inner.read_response()).await
        } else {
            timeout(command.timeout, self.inner.command(lines)).await
        };
        self.used_at = Instant::now();
        check(command.stage, command.expected, outcome)
    }

    async fn send_body(&mut self, bytes: &[u8], limit: Duration) -> Result<Response, RelayFailure> {
        // The line end before the final dot is part of the terminator (RFC 5321 §4.1.1.4), which `lettre` writes.
        let bytes = bytes.strip_suffix(b"\r\n").unwrap_or(bytes);
        let mut is_sent_whole = false;
        // `lettre` writes the dot when the iterator ends. After that, an error leaves the outcome unknown.
        let parts = std::iter::once(bytes).chain(std::iter::from_fn(|| {
            is_sent_whole = true;
            None
        }));
        let outcome = timeout(limit, self.inner.message_iter(parts)).await;
        let stage = if is_sent_whole {
            SendStage::FinalReply
        } else {
            SendStage::Body
        };
        let outcome = check(stage, &[250], outcome);
        if matches!(&outcome, Err(failure) if failure.connection == ConnectionState::InSync) {
            // A refused message ends its transaction (RFC 5321 §4.1.1.4).
            self.is_reset_due = false;
        }
        outcome
    }
}

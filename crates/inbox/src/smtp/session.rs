//! Accepts connections and answers the commands of each.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::mailbox::{Envelope, Mailbox};
use crate::smtp::command::{CommandProblem, SmtpCommand, parse, syntax_problem};
use crate::smtp::smtp_stream::{CommandLine, MESSAGE_BYTES_MAX, SmtpStream};

/// Recipients of one message. RFC 5321 §4.5.3.1.8 requires at least 100.
const RECIPIENTS_MAX: usize = 100;
const CONNECTIONS_MAX: usize = 512;
/// Wrong commands before a connection is closed. Its client most likely does not speak SMTP.
const ERRORS_MAX: u32 = 20;
/// Pause after a failed accept. The most likely cause is a lack of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long the shutdown waits for messages that are being stored.
const SHUTDOWN_DURATION_MAX: Duration = Duration::from_secs(5);

const HOST: &str = "inbox.localhost";

pub(crate) async fn serve(listener: TcpListener, mailbox: Arc<Mailbox>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_BACKOFF).await;
                continue;
            }
        };
        let permit = Arc::clone(&permits).try_acquire_owned().ok();
        let (mailbox, stop) = (Arc::clone(&mailbox), stop.clone());
        tasks.spawn(async move {
            let result = if permit.is_some() {
                handle(stream, &mailbox, &stop).await
            } else {
                refuse(stream).await
            };
            drop(permit);
            if let Err(error) = result {
                tracing::debug!(%error, "a connection failed");
            }
        });
    }
    drop(listener);
    tasks.close();
    let finished = tokio::time::timeout(SHUTDOWN_DURATION_MAX, tasks.wait()).await;
    if finished.is_err() {
        let connections = tasks.len();
        tracing::warn!(
            connections,
            "some connections did not end before the shutdown"
        );
    }
}

async fn refuse(stream: TcpStream) -> io::Result<()> {
    let mut stream = SmtpStream::new(stream);
    stream.reply(421, "too many connections, try again later");
    stream.flush().await
}

async fn handle(stream: TcpStream, mailbox: &Mailbox, stop: &CancellationToken) -> io::Result<()> {
    // The client waits for each short reply, so Nagle's algorithm would delay it until an acknowledgement.
    stream.set_nodelay(true)?;
    let mut session = SmtpSession {
        stream: SmtpStream::new(stream),
        mailbox,
        has_greeted: false,
        sender: None,
        recipients: Vec::new(),
        error_count: 0,
    };
    match session.run(stop).await {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            session
                .stream
                .reply(421, "the connection was idle too long");
        }
        result => result?,
    }
    session.stream.flush().await
}

struct SmtpSession<'a, S> {
    stream: SmtpStream<S>,
    mailbox: &'a Mailbox,
    has_greeted: bool,
    /// Set from MAIL to the end of the transaction.
    sender: Option<String>,
    recipients: Vec<String>,
    error_count: u32,
}

impl<S: AsyncRead + AsyncWrite + Unpin> SmtpSession<'_, S> {
    /// Answers commands until either side ends the session. The last replies are not flushed.
    async fn run(&mut self, stop: &CancellationToken) -> io::Result<()> {
        let greeting = format!("{HOST} ESMTP development inbox, delivers no messages");
        self.stream.reply(220, &greeting);
        loop {
            // A shutdown interrupts the wait for a command, but not the storing of a message.
            let line = tokio::select! {
                () = stop.cancelled() => {
                    self.stream.reply(421, "shutting down");
                    return Ok(());
                }
                line = self.stream.read_line() => line?,
            };
            let command = match line {
                None => return Ok(()),
                Some(CommandLine::TooLong) => Err(syntax_problem("the line is too long")),
                Some(CommandLine::Malformed) => {
                    Err(syntax_problem("a line must be UTF-8 and end with CRLF"))
                }
                Some(CommandLine::Text(text)) => parse(&text),
            };
            let next = match command {
                Ok(SmtpCommand::Data) => self.data(stop).await?,
                Ok(command) => self.answer(command),
                Err(problem) => self.reject(&problem),
            };
            if next.is_break() {
                return Ok(());
            }
        }
    }

    /// Answers every command except DATA. Breaks if the connection must be closed.
    fn answer(&mut self, command: SmtpCommand) -> ControlFlow<()> {
        match command {
            SmtpCommand::Helo => {
                self.greet();
                self.stream.reply(250, HOST);
            }
            SmtpCommand::Ehlo => {
                self.greet();
                let size = format!("SIZE {MESSAGE_BYTES_MAX}");
                let lines = [HOST, "PIPELINING", "8BITMIME", &size];
                self.stream.reply_lines(250, &lines);
            }
            SmtpCommand::Mail { sender, size } => self.mail(sender, size),
            SmtpCommand::Rcpt { recipient } => self.rcpt(recipient),
            SmtpCommand::Rset => {
                self.reset();
                self.stream.reply(250, "OK");
            }
            SmtpCommand::Noop => self.stream.reply(250, "OK"),
            SmtpCommand::Vrfy => self.stream.reply(252, "every address is accepted"),
            SmtpCommand::Help => self.stream.reply(214, "a browser shows the messages"),
            SmtpCommand::Quit => {
                self.stream.reply(221, "closing the connection");
                return ControlFlow::Break(());
            }
            SmtpCommand::Data => unreachable!("run() handles DATA"),
        }
        ControlFlow::Continue(())
    }

    fn greet(&mut self) {
        self.has_greeted = true;
        self.reset();
    }

    fn mail(&mut self, sender: String, size: Option<u64>) {
        let size_max = MESSAGE_BYTES_MAX as u64;
        if !self.has_greeted {
            self.stream.reply(503, "send EHLO first");
        } else if self.sender.is_some() {
            self.stream.reply(503, "a transaction is already open");
        } else if size.is_some_and(|size| size > size_max) {
            self.stream.reply(552, "the message is too large");
        } else {
            self.sender = Some(sender);
            self.stream.reply(250, "OK");
        }
    }

    fn rcpt(&mut self, recipient: String) {
        if self.sender.is_none() {
            self.stream.reply(503, "send MAIL first");
        } else if self.recipients.len() >= RECIPIENTS_MAX {
            self.stream.reply(452, "too many recipients");
        } else {
            self.recipients.push(recipient);
            self.stream.reply(250, "OK");
        }
    }

    async fn data(&mut self, stop: &CancellationToken) -> io::Result<ControlFlow<()>> {
        if self.sender.is_none() || self.recipients.is_empty() {
            self.stream.reply(503, "send MAIL and RCPT first");
            return Ok(ControlFlow::Continue(()));
        }
        self.stream
            .reply(354, "end the message with a line that has a single dot");
        // A client must read this reply before it sends the message, even with PIPELINING.
        self.stream.flush().await?;
        let message = tokio::select! {
            () = stop.cancelled() => None,
            message = self.stream.read_message() => message?,
        };
        let Some(message) = message else {
            self.stream.reply(421, "the message is incomplete");
            return Ok(ControlFlow::Break(()));
        };
        let envelope = Envelope {
            sender: self.sender.take().unwrap_or_default(),
            recipients: std::mem::take(&mut self.recipients),
        };
        match message {
            None => self.stream.reply(552, "the message is too large"),
            Some(message) => match self.mailbox.store(&envelope, &message).await {
                Ok(id) => self.stream.reply(250, &format!("stored as {id}")),
                Err(error) => {
                    tracing::error!(%error, "cannot store a message");
                    let text = "cannot store the message, see the log of the inbox";
                    self.stream.reply(451, text);
                }
            },
        }
        Ok(ControlFlow::Continue(()))
    }

    fn reject(&mut self, problem: &CommandProblem) -> ControlFlow<()> {
        self.error_count += 1;
        if self.error_count > ERRORS_MAX {
            self.stream.reply(421, "too many errors");
            return ControlFlow::Break(());
        }
        self.stream.reply(problem.0, problem.1);
        ControlFlow::Continue(())
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }
}

#[cfg(test)]
#[path = "smtp_tests.rs"]
mod tests;

//! A small SMTP server (RFC 5321) that accepts every mail and delivers none.
//!
//! Offers PIPELINING, 8BITMIME and SIZE, and deliberately no AUTH, no STARTTLS and no relaying. A 250 after the final
//! dot means that the mail is in its file.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::command::{Command, CommandError, parse};
use super::mailbox::{Envelope, Mailbox};
use super::wire::{Line, MAIL_BYTES_MAX, Wire};

/// Recipients of one mail; RFC 5321 §4.5.3.1.8 asks for at least 100.
const RECIPIENTS_MAX: usize = 100;
/// Connections at once; more are told to come back.
const CONNECTIONS_MAX: usize = 512;
/// Wrong commands before a connection is ended: whoever is there does not speak SMTP.
const ERRORS_MAX: u32 = 20;
/// Pause after a failed accept, which is most likely a lack of file descriptors.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long a stop waits for mails that are being written.
const STOP_DURATION_MAX: Duration = Duration::from_secs(5);

const HOST: &str = "inbox.localhost";

/// Takes connections until `stop` is cancelled.
pub(super) async fn serve(listener: TcpListener, mailbox: Arc<Mailbox>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
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
        let slot = Arc::clone(&slots).try_acquire_owned().ok();
        let (mailbox, stop) = (Arc::clone(&mailbox), stop.clone());
        tasks.spawn(async move {
            let ended = if slot.is_some() {
                converse(stream, &mailbox, &stop).await
            } else {
                refuse(stream).await
            };
            drop(slot);
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke off");
            }
        });
    }
    drop(listener);
    tasks.close();
    if tokio::time::timeout(STOP_DURATION_MAX, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(connections = tasks.len(), "left connections behind");
    }
}

async fn refuse(stream: TcpStream) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    wire.reply(421, "too many connections, come back later");
    wire.flush().await
}

async fn converse(
    stream: TcpStream,
    mailbox: &Mailbox,
    stop: &CancellationToken,
) -> io::Result<()> {
    // Replies are short and awaited: Nagle's algorithm would hold each back for a delayed acknowledgement.
    stream.set_nodelay(true)?;
    let mut session = Session {
        wire: Wire::new(stream),
        mailbox,
        is_greeted: false,
        sender: None,
        recipients: Vec::new(),
        errors: 0,
    };
    match session.run(stop).await {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            session.wire.reply(421, "too long silent, good-bye");
        }
        ended => ended?,
    }
    session.wire.flush().await
}

/// One conversation.
struct Session<'a, S> {
    wire: Wire<S>,
    mailbox: &'a Mailbox,
    is_greeted: bool,
    /// Set from MAIL to the end of the transaction.
    sender: Option<String>,
    recipients: Vec<String>,
    errors: u32,
}

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Listen,
    HangUp,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<'_, S> {
    /// Talks until one side has enough. The last replies may still be unsent then.
    async fn run(&mut self, stop: &CancellationToken) -> io::Result<()> {
        self.wire.reply(
            220,
            &format!("{HOST} ESMTP development inbox, delivers nothing"),
        );
        loop {
            // Only the waiting is cut short by a stop, never the storing of a mail.
            let line = tokio::select! {
                () = stop.cancelled() => {
                    self.wire.reply(421, "shutting down");
                    return Ok(());
                }
                line = self.wire.read_line() => line?,
            };
            let parsed = match line {
                None => return Ok(()),
                Some(Line::TooLong) => Err(CommandError::Syntax("line too long")),
                Some(Line::Malformed) => {
                    Err(CommandError::Syntax("a line is UTF-8 and ends in CRLF"))
                }
                Some(Line::Text(text)) => parse(&text),
            };
            let next = match parsed {
                Ok(Command::Data) => self.data(stop).await?,
                Ok(command) => self.obey(command),
                Err(error) => self.complain(&error),
            };
            if next == Next::HangUp {
                return Ok(());
            }
        }
    }

    /// Every command but DATA: none of them waits for anything.
    fn obey(&mut self, command: Command) -> Next {
        match command {
            Command::Helo => {
                self.greet();
                self.wire.reply(250, HOST);
            }
            Command::Ehlo => {
                self.greet();
                let size = format!("SIZE {MAIL_BYTES_MAX}");
                self.wire
                    .reply_lines(250, &[HOST, "PIPELINING", "8BITMIME", &size]);
            }
            Command::Mail { sender, size } => self.mail(sender, size),
            Command::Rcpt { recipient } => self.rcpt(recipient),
            Command::Rset => {
                self.forget();
                self.wire.reply(250, "forgotten");
            }
            Command::Noop => self.wire.reply(250, "still here"),
            Command::Vrfy => self.wire.reply(252, "will take a mail for anybody"),
            Command::Help => self
                .wire
                .reply(214, "the mails are shown in a browser, see the terminal"),
            Command::Quit => {
                self.wire.reply(221, "good-bye");
                return Next::HangUp;
            }
            Command::Data => unreachable!("run() takes DATA for itself"),
        }
        Next::Listen
    }

    fn greet(&mut self) {
        self.is_greeted = true;
        self.forget();
    }

    fn mail(&mut self, sender: String, size: Option<u64>) {
        let size_max = MAIL_BYTES_MAX as u64;
        if !self.is_greeted {
            self.wire.reply(503, "EHLO first");
        } else if self.sender.is_some() {
            self.wire.reply(503, "one mail at a time");
        } else if size.is_some_and(|size| size > size_max) {
            self.wire.reply(552, "too large");
        } else {
            self.sender = Some(sender);
            self.wire.reply(250, "sender noted");
        }
    }

    fn rcpt(&mut self, recipient: String) {
        if self.sender.is_none() {
            self.wire.reply(503, "MAIL first");
        } else if self.recipients.len() >= RECIPIENTS_MAX {
            self.wire.reply(452, "too many recipients");
        } else {
            self.recipients.push(recipient);
            self.wire.reply(250, "recipient noted");
        }
    }

    async fn data(&mut self, stop: &CancellationToken) -> io::Result<Next> {
        if self.sender.is_none() || self.recipients.is_empty() {
            self.wire.reply(503, "MAIL and RCPT first");
            return Ok(Next::Listen);
        }
        self.wire.reply(354, "end with a dot on a line of its own");
        // A client that pipelines must not send the mail before it has seen this, so it cannot wait for a quiet moment.
        self.wire.flush().await?;
        let mail = tokio::select! {
            () = stop.cancelled() => None,
            mail = self.wire.read_mail() => mail?,
        };
        let Some(mail) = mail else {
            self.wire.reply(421, "the mail was cut off");
            return Ok(Next::HangUp);
        };
        let envelope = Envelope {
            sender: self.sender.take().unwrap_or_default(),
            recipients: std::mem::take(&mut self.recipients),
        };
        match mail {
            None => self.wire.reply(552, "too large"),
            Some(mail) => match self.mailbox.store(&envelope, &mail).await {
                Ok(id) => self.wire.reply(250, &format!("kept as {id}")),
                Err(error) => {
                    tracing::error!(%error, "cannot keep a mail");
                    self.wire.reply(451, "cannot keep it, see the inbox's log");
                }
            },
        }
        Ok(Next::Listen)
    }

    fn complain(&mut self, error: &CommandError) -> Next {
        self.errors += 1;
        if self.errors > ERRORS_MAX {
            self.wire.reply(421, "too many errors");
            return Next::HangUp;
        }
        match error {
            CommandError::Unknown => self.wire.reply(500, "no such command"),
            CommandError::NotImplemented => self.wire.reply(502, "not offered here"),
            CommandError::Syntax(hint) => self.wire.reply(501, hint),
            CommandError::Parameter => self.wire.reply(555, "no such parameter here"),
        }
        Next::Listen
    }

    fn forget(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }
}

#[cfg(test)]
#[path = "smtp_tests.rs"]
mod tests;

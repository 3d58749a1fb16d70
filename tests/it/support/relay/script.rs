//! What a relay does at which step of a conversation.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How the relay uses TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encryption {
    None,
    StartTls,
    Implicit,
}

/// A step of an SMTP conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SmtpStep {
    Greeting,
    Ehlo,
    StartTls,
    Auth,
    Mail,
    Rcpt,
    Data,
    /// The final dot of a message.
    Message,
    Rset,
    Quit,
}

/// What the relay does instead of its usual reply.
#[derive(Debug, Clone)]
pub(crate) enum RelayAction {
    /// Sends this reply, to which the last line end is added.
    Reply(String),
    /// Sends these bytes as they are.
    ReplyBytes(Vec<u8>),
    /// Sends a reply after a delay.
    ReplyLate(Duration, String),
    /// Sends a reply and closes the connection.
    ReplyAndClose(String),
    /// Sends these bytes, each piece in a packet of its own.
    ReplyInPieces(Vec<Vec<u8>>),
    /// Closes the connection without a reply.
    Close,
    /// Resets the connection. The client also loses replies that it has not read yet.
    Reset,
    /// Sends nothing more and continues to read.
    Silence,
    /// Sends no reply and continues with the next command.
    Skip,
}

#[derive(Default)]
pub(super) struct Script {
    pub(super) offers_pipelining: bool,
    /// The replies to recipients that are always refused.
    pub(super) refused: HashMap<String, String>,
    pub(super) greylist_times: u32,
    /// How often each recipient was greylisted.
    greylisted: HashMap<String, u32>,
    actions: HashMap<SmtpStep, VecDeque<RelayAction>>,
    /// The actions of steps without a queued action, until the relay recovers.
    pub(super) usual_actions: HashMap<SmtpStep, RelayAction>,
    /// The relay closes a connection after this many messages.
    pub(super) messages_per_connection: Option<usize>,
    /// The relay refuses further connections at the same time.
    pub(super) connections_max: Option<usize>,
    /// The relay forgets what it receives, except for recipients and message ids.
    pub(super) forgets_bytes: bool,
}

impl Script {
    pub(super) fn push(&mut self, step: SmtpStep, action: RelayAction) {
        self.actions.entry(step).or_default().push_back(action);
    }

    pub(super) fn pop(&mut self, step: SmtpStep) -> Option<RelayAction> {
        let queued = self.actions.get_mut(&step).and_then(VecDeque::pop_front);
        queued.or_else(|| self.usual_actions.get(&step).cloned())
    }

    /// The usual reply to a recipient.
    pub(super) fn rcpt_reply(&mut self, recipient: &str) -> String {
        if let Some(reply) = self.refused.get(recipient) {
            return reply.clone();
        }
        let greylisted = self.greylisted.entry(recipient.to_owned()).or_default();
        if *greylisted < self.greylist_times {
            *greylisted += 1;
            return "450 4.2.0 greylisted, try again in 5 minutes".to_owned();
        }
        "250 2.1.5 ok".to_owned()
    }
}

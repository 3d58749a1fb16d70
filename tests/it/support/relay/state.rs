//! What a relay has received so far.

use std::sync::Arc;

use tokio::sync::Notify;

use super::script::Script;

/// One connection as the relay saw it.
#[derive(Debug, Clone, Default)]
pub(crate) struct RelayConnection {
    /// Every byte after decryption, in order.
    pub(crate) bytes: Vec<u8>,
    /// The number of those bytes that came before the connection was encrypted.
    pub(crate) plain_bytes: usize,
    /// The same bytes in pieces: each piece is what had arrived when the relay had read everything before it.
    pub(crate) arrivals: Vec<Vec<u8>>,
    /// The verbs of the commands, in order, without message bodies.
    pub(crate) verbs: Vec<String>,
    pub(crate) is_open: bool,
}

/// A message that was received up to its final dot.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedMessage {
    /// The line of the `RCPT TO` command.
    pub(crate) rcpt: String,
    /// The bytes between `DATA` and the final dot, dot-stuffed.
    pub(crate) wire: Vec<u8>,
}

impl ReceivedMessage {
    /// The address in the `RCPT TO` command.
    pub(crate) fn address(&self) -> &str {
        let rest = self.rcpt.trim_start_matches("RCPT TO:<");
        rest.split('>').next().unwrap()
    }

    /// The message before the client stuffed its dots.
    pub(crate) fn unstuffed(&self) -> Vec<u8> {
        let lines = self.wire.split_inclusive(|byte| *byte == b'\n');
        lines
            .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
            .copied()
            .collect()
    }
}

#[derive(Default)]
pub(super) struct RelayState {
    pub(super) script: Script,
    pub(super) connections: Vec<RelayConnection>,
    pub(super) received: Vec<ReceivedMessage>,
    pub(super) message_received: Arc<Notify>,
}

//! The calls of a provider, and what it replies to them.

use serde_json::Value;

/// What the provider does at the next call instead of accepting everything.
#[derive(Debug, Clone)]
pub(crate) enum ProviderReply {
    /// Accepts everything, as without a script.
    Ok,
    /// Accepts all messages but these: index, error code of Postmark, error message.
    Refuse(Vec<(usize, u16, &'static str)>),
    /// Accepts nothing and replies with this status, these headers and this body.
    Say(u16, Vec<(&'static str, String)>, String),
    /// Accepts everything and replies with this status and body, as a broken gateway would.
    AcceptAndSay(u16, String),
    /// Accepts everything. The results come in the wrong order.
    AcceptAndShuffle,
    /// Accepts everything. The first result names another recipient.
    AcceptAndMisaddress,
    /// Accepts everything. The last result is missing.
    AcceptAndOmitLast,
    /// Accepts everything and closes the connection without a reply.
    AcceptAndClose,
    /// Accepts everything and closes the connection in the middle of the reply.
    AcceptAndCut,
    /// Accepts everything and never replies.
    AcceptAndHang,
    /// Reads the call, accepts nothing and closes the connection.
    Close,
    /// Closes the next new connection before anything is read.
    CloseUnread,
}

/// A call as the provider saw it.
#[derive(Debug, Clone)]
pub(crate) struct ProviderCall {
    pub(crate) path: String,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl ProviderCall {
    /// A header, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The message objects.
    pub(crate) fn mails(&self) -> Vec<Value> {
        serde_json::from_slice(&self.body).unwrap()
    }
}

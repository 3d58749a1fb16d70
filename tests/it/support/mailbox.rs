//! Messages as their readers see them.

use mail_parser::MessageParser;

use crate::support::links::token_of_link;
use crate::support::relay::ReceivedMessage;

/// A message that the relay received, parsed.
pub(crate) struct ReceivedMail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) message_id: String,
    pub(crate) text: String,
    pub(crate) html: String,
    pub(crate) raw: Vec<u8>,
}

impl ReceivedMail {
    pub(crate) fn parse(received: &ReceivedMessage) -> Self {
        let raw = received.unstuffed();
        let message = MessageParser::default().parse(&raw).unwrap();
        Self {
            to: received.address().to_owned(),
            subject: message.subject().unwrap().to_owned(),
            message_id: message.message_id().unwrap().to_owned(),
            text: message.body_text(0).unwrap().into_owned(),
            html: message.body_html(0).unwrap().into_owned(),
            raw,
        }
    }

    /// The token in the link of the message.
    pub(crate) fn token(&self) -> String {
        token_of_link(
            self.text
                .split_whitespace()
                .find(|word| word.contains("#token="))
                .unwrap(),
        )
    }
}

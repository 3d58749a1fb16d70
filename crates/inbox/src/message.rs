//! The parts and headers of a stored message, as text. They were written by other people and must be escaped.

use mail_parser::{Message, MessageParser, PartType};
use serde::Serialize;

/// Prefix of every token. A link with a token is an invitation link.
const TOKEN_PREFIX: &str = "inv1_";

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ParsedMessage {
    /// Decoded. Empty if there is none.
    #[serde(skip)]
    pub(crate) subject: String,
    /// The decoded name and address of the From header.
    pub(crate) from: String,
    pub(crate) text: Option<String>,
    pub(crate) html: Option<String>,
    /// Names and raw values, in the order of the message.
    pub(crate) headers: Vec<(String, String)>,
    /// The whole file. Bytes that are not UTF-8 are replaced.
    #[serde(skip)]
    pub(crate) source: String,
}

impl ParsedMessage {
    /// Parses any file. A file that is not a message has only a `source`.
    pub(crate) fn parse(file: &[u8]) -> Self {
        let source = String::from_utf8_lossy(file).into_owned();
        let Some(message) = MessageParser::default().parse(file) else {
            return Self {
                source,
                ..Self::default()
            };
        };
        let headers = message.headers_raw();
        let headers = headers.map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        // The parser converts between text and HTML where one of them is missing. Converted parts are skipped here.
        let text = message.text_bodies().find_map(|part| match &part.body {
            PartType::Text(text) => Some(text.to_string()),
            _ => None,
        });
        let html = message.html_bodies().find_map(|part| match &part.body {
            PartType::Html(html) => Some(html.to_string()),
            _ => None,
        });
        Self {
            subject: message.subject().unwrap_or_default().to_owned(),
            from: from(&message),
            text,
            html,
            headers: headers.collect(),
            source,
        }
    }

    pub(crate) fn invitation_link(&self) -> Option<&str> {
        invitation_link(self.text.as_deref()?)
    }
}

fn from(message: &Message<'_>) -> String {
    let Some(sender) = message.from().and_then(|senders| senders.first()) else {
        return String::new();
    };
    match (sender.name(), sender.address()) {
        (Some(name), Some(address)) => format!("{name} <{address}>"),
        (name, address) => name.or(address).unwrap_or_default().to_owned(),
    }
}

fn invitation_link(text: &str) -> Option<&str> {
    text.split(|character: char| character.is_whitespace() || "<>\"".contains(character))
        .find(|word| {
            let is_web = word.starts_with("https://") || word.starts_with("http://");
            is_web && word.contains(TOKEN_PREFIX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_of_the_message_are_shown() {
        let both = concat!(
            "From: =?utf-8?q?J=C3=B6rg?= <j@b.co>\r\n",
            "Subject: Hi\r\n",
            "Content-Type: multipart/alternative; boundary=x\r\n\r\n",
            "--x\r\nContent-Type: text/plain; charset=utf-8\r\n",
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n",
            "gr=C3=BC=\r\n=C3=9Fe\r\n",
            "--x\r\nContent-Type: text/html; charset=utf-8\r\n\r\n",
            "<p>hi</p>\r\n--x--\r\n",
        );
        let message = ParsedMessage::parse(both.as_bytes());
        assert_eq!(message.from, "Jörg <j@b.co>");
        assert_eq!(message.text.as_deref().map(str::trim), Some("grüße"));
        assert_eq!(message.html.as_deref().map(str::trim), Some("<p>hi</p>"));
        assert_eq!(message.headers[1], ("Subject".to_owned(), "Hi".to_owned()));

        let plain = ParsedMessage::parse(b"Subject: x\r\n\r\nonly text\r\n");
        assert_eq!((plain.text.is_some(), plain.html.is_some()), (true, false));
        let html = ParsedMessage::parse(b"Content-Type: text/html\r\n\r\n<b>x</b>\r\n");
        assert_eq!((html.text.is_some(), html.html.is_some()), (false, true));
    }

    #[test]
    fn a_file_that_is_not_a_message_has_a_source() {
        for file in [&b""[..], b"\xff\xfe\0", b"\r\n.\r\n", b":::\n\n\n"] {
            assert_eq!(
                ParsedMessage::parse(file).source,
                String::from_utf8_lossy(file)
            );
        }
    }

    #[test]
    fn the_link_is_found_anywhere_in_the_text() {
        let link = "http://127.0.0.1:8025/welcome#token=inv1_AbC-_9";
        for text in [
            link.to_owned(),
            format!("Accept: <{link}>\n"),
            format!("see https://example.com/ first,\r\nthen\r\n\r\n    {link}\r\n"),
        ] {
            assert_eq!(invitation_link(&text), Some(link), "{text}");
        }
        assert_eq!(invitation_link("javascript:inv1_x inv1_y"), None);
    }
}

//! A stored mail, opened: its parts and headers as text.
//!
//! Everything in it was written by somebody else. It is text to be escaped, never markup to be trusted.

use mail_parser::{Message, MessageParser, PartType};

/// What every token begins with, and so what tells an invitation's link from other links.
const TOKEN_PREFIX: &str = "inv1_";

/// The readable parts of a mail.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Decoded, or empty.
    pub subject: String,
    /// The From header as it stands there, decoded as far as it can be.
    pub from: String,
    /// The text/plain part.
    pub text: Option<String>,
    /// The text/html part.
    pub html: Option<String>,
    /// Names and raw values in the mail's order.
    pub headers: Vec<(String, String)>,
    /// The whole file; bytes that are not UTF-8 are replaced.
    pub source: String,
}

impl Letter {
    /// Opens the file of a mail. Whatever it is, there is something to show.
    #[must_use]
    pub fn open(file: &[u8]) -> Self {
        let source = String::from_utf8_lossy(file).into_owned();
        let Some(message) = MessageParser::default().parse(file) else {
            return Self {
                source,
                ..Self::default()
            };
        };
        let headers = message
            .headers_raw()
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        // The parser offers text made from HTML and the reverse where one is missing; what was not sent is not shown.
        let text = message.text_bodies().find_map(|part| match &part.body {
            PartType::Text(text) => Some(text.clone().into_owned()),
            _ => None,
        });
        let html = message.html_bodies().find_map(|part| match &part.body {
            PartType::Html(html) => Some(html.clone().into_owned()),
            _ => None,
        });
        Self {
            subject: message.subject().unwrap_or_default().to_owned(),
            from: from(&message),
            text,
            html,
            headers,
            source,
        }
    }

    /// The link of the invitation in the text part.
    #[must_use]
    pub fn invitation_link(&self) -> Option<&str> {
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
    fn the_parts_that_were_sent_are_shown_and_no_others() {
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
        let letter = Letter::open(both.as_bytes());
        assert_eq!(letter.from, "Jörg <j@b.co>");
        assert_eq!(letter.text.as_deref().map(str::trim), Some("grüße"));
        assert_eq!(letter.html.as_deref().map(str::trim), Some("<p>hi</p>"));
        assert_eq!(letter.headers[1], ("Subject".to_owned(), "Hi".to_owned()));

        let plain = Letter::open(b"Subject: x\r\n\r\nonly text\r\n");
        assert_eq!((plain.text.is_some(), plain.html.is_some()), (true, false));
        let html = Letter::open(b"Content-Type: text/html\r\n\r\n<b>x</b>\r\n");
        assert_eq!((html.text.is_some(), html.html.is_some()), (false, true));
    }

    #[test]
    fn bytes_that_are_no_mail_are_still_shown() {
        for file in [&b""[..], b"\xff\xfe\0", b"\r\n.\r\n", b":::\n\n\n"] {
            assert_eq!(Letter::open(file).source, String::from_utf8_lossy(file));
        }
    }

    #[test]
    fn the_link_is_found_wherever_the_text_puts_it() {
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

//! Renders an invitation and composes its message.
//!
//! A retry after an unknown outcome must be recognizable as the same email. So nothing here is random or reads the
//! time: Message-ID and Date are given, and the multipart boundary follows from the Message-ID. The Subject is the only
//! header with text of other people, and it is encoded.

use std::fmt;
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use url::Url;

use super::sender::{Sender, parse_address};
use crate::mail::invitation_email::InvitationEmail;
use crate::mail::templates::{TemplateError, TemplateErrors, Templates};

/// Without its angle brackets; far below the 998 bytes of a line (RFC 5322 §2.1.1).
const MESSAGE_ID_BYTES_MAX: usize = 200;
const LINK_BYTES_MAX: usize = 4_096;
/// Its header is one line, which RFC 5322 §2.1.1 limits to 998 bytes.
pub const UNSUBSCRIBE_URL_BYTES_MAX: usize = 900;

/// Why an email could not be composed. Another attempt fails in the same way.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    #[error("the message id is not of the form `local@domain`")]
    MessageId,
    /// The link of the invitation or the one that stops further email.
    #[error("a link is not an absolute http or https URL in its encoded form")]
    Link,
    #[error("the email library refused an address")]
    Address,
    #[error("the date is before 1970 or after 9999")]
    Date,
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("the email library refused the message")]
    Message,
}

/// An email as texts, for providers that build the message themselves. Not `Debug`: it holds an address and a link.
#[derive(Clone)]
pub struct RenderedMessage {
    /// Without angle brackets.
    pub message_id: String,
    /// The sender as `Name <address>`, encoded where needed.
    pub from: String,
    /// The one recipient.
    pub to: String,
    /// At most 78 characters, not encoded.
    pub subject: String,
    pub text: String,
    pub html: String,
    /// Other headers, as name and ASCII value.
    pub headers: Vec<(&'static str, String)>,
}

/// A message with its envelope, ready to be sent. `Debug` shows only its size.
#[derive(Clone)]
pub struct ComposedMessage {
    envelope: Envelope,
    message_id: String,
    bytes: Vec<u8>,
}

/// Turns invitations into messages. Created once and shared behind an `Arc`.
pub struct Composer {
    templates: Templates,
    sender: Sender,
}

impl Composer {
    /// A composer with the built-in templates.
    pub fn new(sender: Sender) -> Result<Self, TemplateErrors> {
        Ok(Self::with_templates(sender, Templates::embedded()?))
    }

    pub const fn with_templates(sender: Sender, templates: Templates) -> Self {
        Self { templates, sender }
    }

    /// Renders one email as texts. [`compose`](Self::compose) sends the same texts.
    pub fn render(&self, email: &InvitationEmail) -> Result<RenderedMessage, ComposeError> {
        if !is_message_id(&email.message_id) {
            return Err(ComposeError::MessageId);
        }
        header_date(email.date).ok_or(ComposeError::Date)?;
        let headers = headers(email)?;
        if !is_link(email.link.expose_secret()) {
            return Err(ComposeError::Link);
        }
        let parts = self.templates.render(email, &self.sender.name)?;
        Ok(RenderedMessage {
            message_id: email.message_id.clone(),
            from: self.sender.from.to_string(),
            to: email.to.mailbox().to_owned(),
            subject: parts.subject,
            text: parts.text,
            html: parts.html,
            headers,
        })
    }

    /// Composes one message: multipart/alternative, quoted-printable, ASCII throughout.
    pub fn compose(&self, email: &InvitationEmail) -> Result<ComposedMessage, ComposeError> {
        let rendered = self.render(email)?;
        let to: Address = rendered.to.parse().map_err(|_| ComposeError::Address)?;
        let envelope_from = match &email.envelope_from {
            Some(address) => parse_address(address).ok_or(ComposeError::Address)?,
            None => self.sender.envelope_from.clone(),
        };
        let envelope = Envelope::new(Some(envelope_from), vec![to.clone()])
            .map_err(|_| ComposeError::Address)?;
        let mut builder = Message::builder()
            .from(self.sender.from.clone())
            .to(Mailbox::new(None, to))
            .subject(rendered.subject)
            .date(header_date(email.date).ok_or(ComposeError::Date)?)
            .message_id(Some(format!("<{}>", rendered.message_id)))
            .envelope(envelope.clone());
        for (name, value) in rendered.headers {
            let name = HeaderName::new_from_ascii_str(name);
            builder = builder.raw_header(HeaderValue::new(name, value));
        }
        let message = builder
            .multipart(
                MultiPart::alternative()
                    .boundary(boundary(&rendered.message_id))
                    .singlepart(part(ContentType::TEXT_PLAIN, rendered.text))
                    .singlepart(part(ContentType::TEXT_HTML, rendered.html)),
            )
            .map_err(|_| ComposeError::Message)?;
        Ok(ComposedMessage {
            envelope,
            message_id: rendered.message_id,
            bytes: message.formatted(),
        })
    }
}

impl ComposedMessage {
    /// Headers and body (RFC 5322). The transport adds dot-stuffing.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The Message-ID without angle brackets.
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    pub(crate) fn from(&self) -> Option<&Address> {
        self.envelope.from()
    }

    /// The one recipient.
    pub(crate) fn recipient(&self) -> &Address {
        &self.envelope.to()[0]
    }
}

impl fmt::Debug for ComposedMessage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ComposedMessage({} bytes)", self.bytes.len())
    }
}

fn part(content_type: ContentType, body: String) -> SinglePart {
    SinglePart::builder()
        .header(content_type)
        // Otherwise `lettre` chooses the encoding by the longest line of the text.
        .header(ContentTransferEncoding::QuotedPrintable)
        .body(body)
}

/// The headers of every message besides sender, recipient, subject, date and id: a machine wrote it (RFC 3834), and how
/// to stop further email.
fn headers(email: &InvitationEmail) -> Result<Vec<(&'static str, String)>, ComposeError> {
    let mut headers = vec![
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
    ];
    if let Some(url) = email.unsubscribe_url() {
        if url.len() > UNSUBSCRIBE_URL_BYTES_MAX || !is_link(url) {
            return Err(ComposeError::Link);
        }
        headers.push(("List-Unsubscribe", format!("<{url}>")));
        let one_click = "List-Unsubscribe=One-Click".to_owned();
        headers.push(("List-Unsubscribe-Post", one_click));
    }
    Ok(headers)
}

/// `None` before 1970 and after 9999: `lettre` panics on such a date.
fn header_date(date: OffsetDateTime) -> Option<SystemTime> {
    (date.unix_timestamp() >= 0 && date.year() <= 9_999).then(|| SystemTime::from(date))
}

/// Whether an id is `dot-atom@dot-atom`.
fn is_message_id(id: &str) -> bool {
    let is_atom_text =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let is_dot_atom = |part: &str| {
        part.split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_text))
    };
    let parts = id.split_once('@');
    id.len() <= MESSAGE_ID_BYTES_MAX
        && parts.is_some_and(|(left, right)| is_dot_atom(left) && is_dot_atom(right))
}

/// Whether a link can stand in plain text so that mail clients find its end: absolute, visible ASCII, no double quote,
/// no angle bracket, no backslash. HTML escapes the other characters. Every redirect URL that the domain accepts passes.
fn is_link(link: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\".contains(&byte);
    link.len() <= LINK_BYTES_MAX
        && link.bytes().all(is_plain)
        && Url::parse(link)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

/// The multipart boundary of a message. It contains `=_`, which neither quoted-printable nor base64 can contain
/// (RFC 2045 §6.7).
fn boundary(message_id: &str) -> String {
    let digest = Sha256::digest(message_id.as_bytes());
    format!("=_{}", HEXLOWER.encode(&digest[..16]))
}

#[cfg(test)]
#[path = "composer_tests.rs"]
pub(crate) mod tests;

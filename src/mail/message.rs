//! One invitation, composed: the same invitation gives the same bytes, on any worker, at any time.
//!
//! A retry after an unknown outcome must be recognizable as the same mail, so nothing here is random or asks for the
//! time: Message-ID and Date are given and the multipart boundary follows from the Message-ID. No header carries
//! other people's text but the Subject, which is encoded. The composer neither sends nor remembers.

use std::fmt;
use std::time::SystemTime;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use url::Url;

use super::templates::{Content, Rendered, TemplateError, TemplateErrors, Templates};
use super::untrusted::{clean_line, clean_lines};
use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;

/// Longest Message-ID, in bytes without its brackets; far below the 998 of a line (RFC 5322 §2.1.1).
pub const MESSAGE_ID_BYTES_MAX: usize = 200;
/// Longest link, in bytes.
pub const LINK_BYTES_MAX: usize = 4_096;
/// Longest URL that stops further mail, in bytes: its header is one line, which RFC 5322 §2.1.1 bounds at 998.
pub const UNSUBSCRIBE_URL_BYTES_MAX: usize = 900;
/// Longest sender name, in characters.
pub const SENDER_NAME_CHARS_MAX: usize = 64;

/// What a mail is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailKind {
    /// To invite.
    Invitation,
    /// To say that an invitation is about to expire.
    Reminder,
}

/// What one mail is made of.
#[derive(Debug, Clone)]
pub struct InvitationMail {
    /// What it is for.
    pub kind: MailKind,
    /// Identifies the mail, without angle brackets: `local@domain`. The same on every attempt.
    pub message_id: String,
    /// When the mail was asked for, not when it is sent. The same on every attempt.
    pub date: OffsetDateTime,
    /// Who gets it.
    pub to: EmailAddress,
    /// Display name of the organization.
    pub organization_name: String,
    /// What the organization shows of itself besides.
    pub brand: Brand,
    /// Display name of whoever invites; without one the wording is neutral.
    pub inviter_name: Option<String>,
    /// What the reader would be in the organization.
    pub role: String,
    /// Personal message; line breaks are kept.
    pub note: Option<String>,
    /// The link that shows the invitation, token included.
    pub link: SecretString,
    /// When the invitation ends.
    pub expires_at: OffsetDateTime,
    /// Language tag (BCP 47); one that nobody wrote a locale for reads English.
    pub locale: String,
    /// Where bounces of this mail go; the sender's envelope address if not set.
    pub envelope_from: Option<String>,
    /// What the reader may press to get no more mail: an https URL that takes a POST (RFC 8058).
    pub unsubscribe_url: Option<SecretString>,
}

/// Who mails come from: the product, never the organization that invites.
#[derive(Clone)]
pub struct Sender {
    from: Mailbox,
    name: String,
    envelope_from: Address,
}

/// Why a configured sender is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    /// The name is empty, too long or contains control characters.
    #[error("the sender name must be 1 to {SENDER_NAME_CHARS_MAX} characters on one line")]
    Name,
    /// The address in From breaks the grammar.
    #[error("the sender address is not a mail address")]
    Address,
    /// The address bounces go to breaks the grammar.
    #[error("the envelope sender is not a mail address")]
    EnvelopeFrom,
}

/// Why a mail could not be composed. Trying the same mail again gives the same answer.
#[derive(Debug, thiserror::Error)]
pub enum ComposeError {
    /// The Message-ID is not `dot-atom@dot-atom`.
    #[error("the message id is malformed")]
    MessageId,
    /// The link, or the one that stops further mail, is not an absolute http or https URL in its encoded form.
    #[error("a link is malformed")]
    Link,
    /// The mail library does not take the address.
    #[error("the address is not one the mail library takes")]
    Address,
    /// A date lies outside what a header can say.
    #[error("the date is out of range")]
    Date,
    /// A template failed.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The mail library refused the message.
    #[error("the mail library refused the message")]
    Message,
}

/// A mail in words, for ways out that build their own messages. Not `Debug`: it holds an address and a link.
#[derive(Clone)]
pub struct Letter {
    /// Identifies the mail, without angle brackets.
    pub message_id: String,
    /// When the mail was asked for.
    pub date: OffsetDateTime,
    /// The sender as `Name <address>`, encoded where needed.
    pub from: String,
    /// The one recipient.
    pub to: String,
    /// At most 78 characters, not encoded.
    pub subject: String,
    /// The text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// Headers besides, as name and ASCII value.
    pub headers: Vec<(&'static str, String)>,
}

/// A mail that is ready for the wire. `Debug` says its size and nothing else.
#[derive(Clone)]
pub struct ComposedMail {
    envelope: Envelope,
    message_id: String,
    bytes: Vec<u8>,
}

/// Turns invitations into mails. Made once; cheap to share behind an `Arc`.
pub struct Composer {
    templates: Templates,
    sender: Sender,
}

impl Sender {
    /// Checks a configured sender. Bounces go to `envelope_from`, or to the address itself.
    pub fn parse(
        name: &str,
        address: &str,
        envelope_from: Option<&str>,
    ) -> Result<Self, SenderError> {
        // The mail library panics on a line break in a display name, hence no repair but refusal.
        let is_line = !name.trim().is_empty() && clean_line(name) == name;
        if !is_line || name.chars().count() > SENDER_NAME_CHARS_MAX {
            return Err(SenderError::Name);
        }
        let from = parse_address(address).ok_or(SenderError::Address)?;
        let envelope_from = match envelope_from {
            Some(address) => parse_address(address).ok_or(SenderError::EnvelopeFrom)?,
            None => from.clone(),
        };
        Ok(Self {
            from: Mailbox::new(Some(name.to_owned()), from),
            name: name.to_owned(),
            envelope_from,
        })
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Sender").field(&self.name).finish()
    }
}

impl Composer {
    /// A composer with the embedded templates.
    pub fn new(sender: Sender) -> Result<Self, TemplateErrors> {
        Ok(Self::with_templates(sender, Templates::embedded()?))
    }

    /// A composer with these templates.
    #[must_use]
    pub const fn with_templates(sender: Sender, templates: Templates) -> Self {
        Self { templates, sender }
    }

    /// Writes one mail in words: the same mail that [`compose`](Self::compose) makes bytes of.
    pub fn write(&self, mail: &InvitationMail) -> Result<Letter, ComposeError> {
        if !is_message_id(&mail.message_id) {
            return Err(ComposeError::MessageId);
        }
        header_date(mail.date)?;
        let rendered = self.render(mail)?;
        Ok(Letter {
            message_id: mail.message_id.clone(),
            date: mail.date,
            from: self.sender.from.to_string(),
            to: mail.to.mailbox().to_owned(),
            subject: rendered.subject,
            text: rendered.text,
            html: rendered.html,
            headers: headers(mail)?,
        })
    }

    /// Composes one mail: multipart/alternative, quoted-printable, ASCII throughout.
    pub fn compose(&self, mail: &InvitationMail) -> Result<ComposedMail, ComposeError> {
        let letter = self.write(mail)?;
        let to = letter
            .to
            .parse::<Address>()
            .map_err(|_| ComposeError::Address)?;
        let envelope_from = match &mail.envelope_from {
            Some(address) => parse_address(address).ok_or(ComposeError::Address)?,
            None => self.sender.envelope_from.clone(),
        };
        let envelope = Envelope::new(Some(envelope_from), vec![to.clone()])
            .map_err(|_| ComposeError::Address)?;
        let builder = Message::builder()
            .from(self.sender.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject)
            .date(header_date(letter.date)?)
            .message_id(Some(format!("<{}>", letter.message_id)))
            .envelope(envelope.clone());
        let message = letter
            .headers
            .into_iter()
            .fold(builder, |builder, (name, value)| {
                builder.raw_header(fixed_header(name, value))
            })
            .multipart(
                MultiPart::alternative()
                    .boundary(boundary(&letter.message_id))
                    .singlepart(part(ContentType::TEXT_PLAIN, letter.text))
                    .singlepart(part(ContentType::TEXT_HTML, letter.html)),
            )
            .map_err(|_| ComposeError::Message)?;
        Ok(ComposedMail {
            envelope,
            message_id: letter.message_id,
            bytes: message.formatted(),
        })
    }

    fn render(&self, mail: &InvitationMail) -> Result<Rendered, ComposeError> {
        let link = mail.link.expose_secret();
        let unsubscribe_url = unsubscribe_url(mail)?;
        if !is_link(link) {
            return Err(ComposeError::Link);
        }
        let inviter = mail.inviter_name.as_deref().map(clean_line);
        let content = Content {
            is_reminder: mail.kind == MailKind::Reminder,
            organization: clean_line(&mail.organization_name),
            brand: &mail.brand,
            inviter: inviter.filter(|name| !name.is_empty()),
            role: clean_line(&mail.role),
            note_lines: clean_lines(mail.note.as_deref().unwrap_or_default()),
            address: mail.to.mailbox(),
            link,
            unsubscribe_url,
            expires_at: mail.expires_at,
            sender: &self.sender.name,
        };
        Ok(self.templates.render(&mail.locale, &content)?)
    }
}

impl ComposedMail {
    /// The message, headers and body, as RFC 5322 has it; dot-stuffing is the transport's.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The Message-ID without angle brackets.
    #[must_use]
    pub fn message_id(&self) -> &str {
        &self.message_id
    }

    pub(super) fn from(&self) -> Option<&Address> {
        self.envelope.from()
    }

    /// The one recipient.
    pub(super) fn recipient(&self) -> &Address {
        &self.envelope.to()[0]
    }
}

impl fmt::Debug for ComposedMail {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ComposedMail")
            .field("bytes_len", &self.bytes.len())
            .finish_non_exhaustive()
    }
}

fn parse_address(address: &str) -> Option<Address> {
    EmailAddress::parse(address).ok()?.mailbox().parse().ok()
}

fn part(content_type: ContentType, body: String) -> SinglePart {
    SinglePart::builder()
        .header(content_type)
        // Always the same, whatever the text: the choice otherwise depends on the longest line.
        .header(ContentTransferEncoding::QuotedPrintable)
        .body(body)
}

/// What every mail says beside who, what and when: that a machine wrote it, and how to get no more.
fn headers(mail: &InvitationMail) -> Result<Vec<(&'static str, String)>, ComposeError> {
    let mut headers = vec![
        ("Auto-Submitted", "auto-generated".to_owned()),
        ("X-Auto-Response-Suppress", "All".to_owned()),
    ];
    if let Some(url) = unsubscribe_url(mail)? {
        headers.push(("List-Unsubscribe", format!("<{url}>")));
        let one_click = "List-Unsubscribe=One-Click".to_owned();
        headers.push(("List-Unsubscribe-Post", one_click));
    }
    Ok(headers)
}

fn unsubscribe_url(mail: &InvitationMail) -> Result<Option<&str>, ComposeError> {
    let url = mail.unsubscribe_url.as_ref();
    match url.map(ExposeSecret::expose_secret) {
        Some(url) if url.len() > UNSUBSCRIBE_URL_BYTES_MAX || !is_link(url) => {
            Err(ComposeError::Link)
        }
        url => Ok(url),
    }
}

fn fixed_header(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Contains `=_`, which neither quoted-printable nor base64 can (RFC 2045 §6.7).
fn boundary(message_id: &str) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(message_id.as_bytes());
    digest[..16]
        .iter()
        .fold(String::from("=_"), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a String takes every write");
            text
        })
}

/// Dates before 1970 and after 9999 have no header form that the mail library would not panic on.
fn header_date(date: OffsetDateTime) -> Result<SystemTime, ComposeError> {
    if date.unix_timestamp() < 0 || date.year() > 9_999 {
        return Err(ComposeError::Date);
    }
    Ok(SystemTime::from(date))
}

fn is_message_id(id: &str) -> bool {
    let is_atom_text =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    let is_dot_atom = |part: &str| {
        part.split('.')
            .all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_text))
    };
    id.len() <= MESSAGE_ID_BYTES_MAX
        && id
            .split_once('@')
            .is_some_and(|(left, right)| is_dot_atom(left) && is_dot_atom(right))
}

/// Whether a link can stand in text as it is, with nothing a mail client would take for its end: absolute, visible ASCII,
/// no double quote, no angle bracket. HTML escapes the rest. Every redirect URL that the domain accepts passes.
fn is_link(link: &str) -> bool {
    link.len() <= LINK_BYTES_MAX
        && link
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"<>\\".contains(&byte))
        && Url::parse(link)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

#[cfg(test)]
#[path = "message_tests.rs"]
pub(super) mod tests;

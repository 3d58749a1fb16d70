//! Delivery status notifications (RFC 3464): a mail server's report about an email.
//!
//! This module parses a report and classifies it. It does not check that the report is genuine; the
//! [bounce address](super::bounce_address) to which it was sent proves that.

use std::borrow::Cow;

use mail_parser::{ContentType, HeaderValue, Message, MessageParser, MimeHeaders as _, PartType};

use super::diagnostic::{Diagnostic, EnhancedCode};
use super::named_enum::named_enum;

/// Largest part of a report that is parsed, in bytes. The relevant fields are at the beginning, so the rest is ignored.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Most Content-Type headers in a report. Each may open another level of parts, and each level uses stack. A usual
/// report has about eight.
const CONTENT_TYPES_MAX: usize = 64;
/// Most lines of a report. Each may be a header or begin a part, which take hundreds of bytes when they are parsed. A
/// report of the largest size with an attachment has 14,000.
const LINES_MAX: usize = 20_000;
/// Most recipients of a report that are examined. An email of this service has one recipient.
const RECIPIENTS_MAX: usize = 100;
/// Headers in which mail servers write the recipient of an email, the most reliable first.
const RECIPIENT_HEADERS: [&str; 5] = [
    "Delivered-To",
    "X-Original-To",
    "X-Envelope-To",
    "Envelope-To",
    "To",
];

named_enum! {
    /// What the reporting server did with the email.
    pub enum DsnAction {
        Failed = "failed",
        Delayed = "delayed",
        Delivered = "delivered",
        /// Passed on to a server that sends no reports.
        Relayed = "relayed",
        /// Passed on to several addresses.
        Expanded = "expanded",
    }
}

/// What a report means for the address, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DsnVerdict {
    Fine,
    /// The email is not delivered yet.
    Delayed,
    /// The email will not be delivered. Another one may be.
    Bounced,
    /// No email can be delivered to the address.
    Hard,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    pub action: DsnAction,
    /// The status of the report, or the remote server's enhanced status code where that is more specific.
    pub status: EnhancedCode,
    /// The reply of the remote server, with addresses masked, truncated. May be empty.
    pub diagnostic: String,
    pub reply_code: Option<u16>,
}

impl Dsn {
    /// Parses a report. Of several recipients the one with the best result counts: an email of this service has one
    /// recipient, so the others are addresses to which that recipient forwards. Returns `None` if the email is no
    /// report, or has another format such as qmail's.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let message = open(message)?;
        let is_report = message
            .content_type()
            .is_some_and(|kind| kind.ctype().eq_ignore_ascii_case("multipart"));
        let is_status = |kind: &ContentType<'_>| {
            let is_message = kind.ctype().eq_ignore_ascii_case("message");
            is_message && kind.subtype().is_some_and(is_delivery_status)
        };
        let mut parts = message.parts.iter().filter(|_| is_report);
        let fields = parts.find(|part| {
            let is_status = part.content_type().is_some_and(is_status);
            is_status && !matches!(part.body, PartType::Multipart(_))
        });
        let text = String::from_utf8_lossy(fields?.contents());
        groups(&text)
            .into_iter()
            .take(RECIPIENTS_MAX)
            .filter_map(|group| Self::of_group(&group))
            .min_by_key(Self::verdict)
    }

    pub const fn verdict(&self) -> DsnVerdict {
        match self.action {
            DsnAction::Failed if self.status.is_invalid_address() => DsnVerdict::Hard,
            DsnAction::Failed => DsnVerdict::Bounced,
            DsnAction::Delayed => DsnVerdict::Delayed,
            DsnAction::Delivered | DsnAction::Relayed | DsnAction::Expanded => DsnVerdict::Fine,
        }
    }

    /// Parses the fields of one recipient. Returns `None` for the fields of the whole report and for invalid fields.
    fn of_group(group: &[(String, String)]) -> Option<Self> {
        let value = |name: &str| {
            let mut fields = group.iter();
            let field = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
            field.map(|(_, value)| value.as_str())
        };
        // A comment may follow the word.
        let action = value("Action")?.split([' ', '\t', '(', ';']).next()?;
        let action = DsnAction::from_name(&action.to_ascii_lowercase())?;
        let diagnostic = Diagnostic::parse(value("Diagnostic-Code").unwrap_or_default());
        let given = value("Status").and_then(EnhancedCode::parse);
        let status = match (given, diagnostic.enhanced_code) {
            // Detail 0 means "other or undefined", so the remote server's own code is more specific.
            (Some(EnhancedCode(class, 0, _)), Some(said)) if said.0 == class => said,
            (Some(given), _) => given,
            (None, Some(said)) => said,
            (None, None) if action == DsnAction::Failed => EnhancedCode(5, 0, 0),
            (None, None) => EnhancedCode(4, 0, 0),
        };
        Some(Self {
            action,
            status,
            diagnostic: diagnostic.text,
            reply_code: diagnostic.reply_code,
        })
    }
}

/// The addresses to which an email was delivered according to its headers, the most reliable first. For callers that
/// do not know the envelope recipient.
pub fn envelope_recipients(message: &[u8]) -> Vec<String> {
    let message = parsable(message);
    let message = message.and_then(|message| MessageParser::default().parse_headers(message));
    let Some(message) = message else {
        return Vec::new();
    };
    RECIPIENT_HEADERS
        .into_iter()
        .flat_map(|name| message.header_values(name))
        .flat_map(addresses)
        .take(RECIPIENTS_MAX)
        .collect()
}

/// The part that is parsed. `None` if parsing it would take much memory.
fn parsable(message: &[u8]) -> Option<&[u8]> {
    let message = &message[..message.len().min(MESSAGE_BYTES_MAX)];
    let lines = message.iter().filter(|byte| **byte == b'\n');
    (lines.count() <= LINES_MAX).then_some(message)
}

fn open(message: &[u8]) -> Option<Message<'_>> {
    let message = parsable(message)?;
    let names = message.windows("content-type".len());
    let names = names.filter(|window| window.eq_ignore_ascii_case(b"content-type"));
    (names.count() <= CONTENT_TYPES_MAX).then_some(())?;
    MessageParser::default().parse(message)
}

/// RFC 3464, and RFC 6533 for addresses outside ASCII.
fn is_delivery_status(subtype: &str) -> bool {
    ["delivery-status", "global-delivery-status"]
        .iter()
        .any(|known| subtype.eq_ignore_ascii_case(known))
}

fn addresses(value: &HeaderValue<'_>) -> Vec<String> {
    let bare = |text: &Cow<'_, str>| text.trim_matches(['<', '>', ' ']).to_owned();
    match value {
        HeaderValue::Address(list) => {
            let addresses = list.iter().filter_map(|address| address.address.as_deref());
            addresses.map(str::to_owned).collect()
        }
        HeaderValue::Text(text) => vec![bare(text)],
        HeaderValue::TextList(list) => list.iter().map(bare).collect(),
        _ => Vec::new(),
    }
}

/// Splits a text into groups of fields, each a name and its unfolded value. A blank line ends a group (RFC 3464 §2.1).
fn groups(text: &str) -> Vec<Vec<(String, String)>> {
    let mut groups = vec![Vec::<(String, String)>::new()];
    for line in text.lines() {
        let is_folded = line.starts_with([' ', '\t']);
        let group = groups.last_mut().expect("the list starts with one group");
        if line.trim().is_empty() {
            if !group.is_empty() {
                groups.push(Vec::new());
            }
        } else if is_folded && let Some((_, value)) = group.last_mut() {
            value.push(' ');
            value.push_str(line.trim());
        } else if let Some((name, value)) = line.split_once(':') {
            group.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    groups
}

#[cfg(test)]
#[path = "dsn_tests.rs"]
mod tests;

//! Delivery status notifications (RFC 3464): what a mail server reports of a mail it could not deliver.
//!
//! Reads one field by field and says what it means for the address. It does not ask whether the report is genuine:
//! that is what the [bounce address](super::bounce_address) it came to is for.

use mail_parser::{HeaderValue, Message, MessageParser, MimeHeaders as _, PartType};

use super::diagnostic::Diagnostic;
use super::enhanced_code::EnhancedCode;

/// Largest report that is read, in bytes. What matters stands at its beginning, so a longer one may be cut.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Most headers of this name in a report. Each may open another level of parts, and levels cost stack; a report and the
/// mail it returns have about eight.
const CONTENT_TYPES_MAX: usize = 64;
/// Most recipients of a report that are looked at; a mail of ours has one.
const RECIPIENTS_MAX: usize = 100;
/// Headers in which mail servers write where they deliver a mail to, the most reliable first.
const RECIPIENT_HEADERS: [&str; 5] = [
    "Delivered-To",
    "X-Original-To",
    "X-Envelope-To",
    "Envelope-To",
    "To",
];

/// What the reporting server did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DsnAction {
    /// Gave up.
    Failed,
    /// Is still trying.
    Delayed,
    /// Delivered it.
    Delivered,
    /// Passed it on to where no reports come from.
    Relayed,
    /// Passed it on to several addresses.
    Expanded,
}

/// What a report means for the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DsnVerdict {
    /// Nothing went wrong.
    Fine,
    /// This mail did not arrive yet.
    Delayed,
    /// This mail will not arrive; another one may.
    Bounced,
    /// No mail will arrive there.
    Hard,
}

/// A report on one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dsn {
    /// What was done.
    pub action: DsnAction,
    /// Why: the report's own code, or the remote server's where that one says more.
    pub status: EnhancedCode,
    /// What the remote server said, addresses masked, cut; may be empty.
    pub diagnostic: String,
    /// The remote server's reply code, if it gave one.
    pub reply_code: Option<u16>,
}

/// Says that a mail is no report that can be read: an answer of a person or a machine, or another format such as
/// qmail's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a delivery status notification")]
pub struct DsnParseError;

impl Dsn {
    /// Reads a report. Of several recipients the one who fared best counts: a mail of ours goes to one address, so the
    /// others are where that one led to, and do not speak for it.
    pub fn parse(message: &[u8]) -> Result<Self, DsnParseError> {
        let message = open(message).ok_or(DsnParseError)?;
        let is_report = message
            .content_type()
            .is_some_and(|kind| kind.ctype().eq_ignore_ascii_case("multipart"));
        let fields = message
            .parts
            .iter()
            .filter(|_| is_report)
            .find(|part| {
                part.content_type().is_some_and(|kind| {
                    kind.ctype().eq_ignore_ascii_case("message")
                        && kind.subtype().is_some_and(is_delivery_status)
                }) && !matches!(part.body, PartType::Multipart(_))
            })
            .ok_or(DsnParseError)?;
        let text = String::from_utf8_lossy(fields.contents());
        groups(&text)
            .into_iter()
            .take(RECIPIENTS_MAX)
            .filter_map(|group| Self::of_group(&group))
            .min_by_key(Self::verdict)
            .ok_or(DsnParseError)
    }

    /// What it means for the address.
    #[must_use]
    pub const fn verdict(&self) -> DsnVerdict {
        match self.action {
            DsnAction::Failed if self.status.is_invalid_address() => DsnVerdict::Hard,
            DsnAction::Failed => DsnVerdict::Bounced,
            DsnAction::Delayed => DsnVerdict::Delayed,
            DsnAction::Delivered | DsnAction::Relayed | DsnAction::Expanded => DsnVerdict::Fine,
        }
    }

    /// Reads the fields of one recipient; `None` if these are the fields of the whole report, or broken.
    fn of_group(group: &[(String, String)]) -> Option<Self> {
        let value = |name: &str| {
            group
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value.as_str())
        };
        let action = action(value("Action")?)?;
        let diagnostic = Diagnostic::parse(value("Diagnostic-Code").unwrap_or_default());
        let given = value("Status").and_then(EnhancedCode::parse);
        let status = match (given, diagnostic.enhanced_code) {
            // "Other or undefined": whoever refused the mail may have been more exact.
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

/// Where a mail says it was delivered to, in the order in which to believe it; for those who cannot say it themselves.
#[must_use]
pub fn envelope_recipients(message: &[u8]) -> Vec<String> {
    let Some(message) = MessageParser::default().parse_headers(cut(message)) else {
        return Vec::new();
    };
    RECIPIENT_HEADERS
        .into_iter()
        .flat_map(|name| message.header_values(name))
        .flat_map(addresses)
        .take(RECIPIENTS_MAX)
        .collect()
}

fn cut(message: &[u8]) -> &[u8] {
    &message[..message.len().min(MESSAGE_BYTES_MAX)]
}

fn open(message: &[u8]) -> Option<Message<'_>> {
    let message = cut(message);
    let name = b"content-type";
    let count = message
        .windows(name.len())
        .filter(|window| window.eq_ignore_ascii_case(name))
        .count();
    (count <= CONTENT_TYPES_MAX).then_some(())?;
    MessageParser::default().parse(message)
}

/// RFC 3464, and RFC 6533 for addresses outside ASCII.
fn is_delivery_status(subtype: &str) -> bool {
    ["delivery-status", "global-delivery-status"]
        .iter()
        .any(|known| subtype.eq_ignore_ascii_case(known))
}

fn addresses(value: &HeaderValue<'_>) -> Vec<String> {
    match value {
        HeaderValue::Address(list) => list
            .iter()
            .filter_map(|address| address.address.as_deref())
            .map(str::to_owned)
            .collect(),
        HeaderValue::Text(text) => vec![text.trim_matches(['<', '>', ' ']).to_owned()],
        HeaderValue::TextList(list) => list
            .iter()
            .map(|text| text.trim_matches(['<', '>', ' ']).to_owned())
            .collect(),
        _ => Vec::new(),
    }
}

/// Groups of fields, each a name and its unfolded value; a blank line ends a group (RFC 3464 §2.1).
fn groups(text: &str) -> Vec<Vec<(String, String)>> {
    let mut groups = vec![Vec::<(String, String)>::new()];
    for line in text.lines() {
        let is_folded = line.starts_with([' ', '\t']);
        let group = groups.last_mut().expect("there is one from the start");
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

fn action(value: &str) -> Option<DsnAction> {
    // A comment may follow.
    let word = value.split([' ', '\t', '(', ';']).next()?;
    [
        ("failed", DsnAction::Failed),
        ("delayed", DsnAction::Delayed),
        ("delivered", DsnAction::Delivered),
        ("relayed", DsnAction::Relayed),
        ("expanded", DsnAction::Expanded),
    ]
    .into_iter()
    .find(|(name, _)| word.eq_ignore_ascii_case(name))
    .map(|(_, action)| action)
}

#[cfg(test)]
#[path = "dsn_tests.rs"]
mod tests;

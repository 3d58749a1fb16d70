//! Checks values that become part of a header, or a link in the text, without being encoded.

use std::fmt::Write as _;
use std::time::SystemTime;

use lettre::Address;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use url::Url;

use crate::domain::email_address::EmailAddress;

/// Without its angle brackets; far below the 998 bytes of a line (RFC 5322 §2.1.1).
const MESSAGE_ID_BYTES_MAX: usize = 200;
const LINK_BYTES_MAX: usize = 4_096;
/// Its header is one line, which RFC 5322 §2.1.1 limits to 998 bytes.
pub const UNSUBSCRIBE_URL_BYTES_MAX: usize = 900;

pub(super) fn parse_address(address: &str) -> Option<Address> {
    EmailAddress::parse(address).ok()?.mailbox().parse().ok()
}

/// `None` before 1970 and after 9999: `lettre` panics on such a date.
pub(super) fn header_date(date: OffsetDateTime) -> Option<SystemTime> {
    (date.unix_timestamp() >= 0 && date.year() <= 9_999).then(|| SystemTime::from(date))
}

/// Whether an id is `dot-atom@dot-atom`.
pub(super) fn is_message_id(id: &str) -> bool {
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

/// Whether a link can stand in plain text so that mail clients find its end: absolute, visible ASCII, no double quote,
/// no angle bracket, no backslash. HTML escapes the other characters. Every redirect URL that the domain accepts passes.
pub(super) fn is_link(link: &str) -> bool {
    link.len() <= LINK_BYTES_MAX
        && link
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"<>\\".contains(&byte))
        && Url::parse(link)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
}

/// The multipart boundary of a message. It contains `=_`, which neither quoted-printable nor base64 can contain
/// (RFC 2045 §6.7).
pub(super) fn boundary(message_id: &str) -> String {
    let digest = Sha256::digest(message_id.as_bytes());
    let mut boundary = String::from("=_");
    for byte in &digest[..16] {
        write!(boundary, "{byte:02x}").expect("a String takes every write");
    }
    boundary
}

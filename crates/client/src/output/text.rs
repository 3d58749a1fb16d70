//! Printed forms of values: enum values without their prefix, times, and escaped text of other people.
//!
//! Only printed text is escaped. Text that is sent to the server never is.

use prost_types::Timestamp;

use crate::proto::{DeliveryState, ErrorReason};

/// Longest printed text, in characters. Longer text is cut.
const SHOWN_CHARS_MAX: usize = 120;

/// The text with control characters, invisible characters, and spaces at either end escaped.
///
/// A trailing tab becomes `\t`. An escape sequence cannot reach the terminal, and a right-to-left override cannot
/// rearrange the line.
pub(crate) fn escaped(text: &str) -> String {
    let inner = text.trim_matches(' ');
    let leading = text.len() - text.trim_start_matches(' ').len();
    let mut shown = String::with_capacity(inner.len());
    for (index, (offset, character)) in text.char_indices().enumerate() {
        if index == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        match character {
            ' ' if offset < leading || offset >= leading + inner.len() => shown.push_str("\\x20"),
            '\0' => shown.push_str("\\0"),
            _ if character.is_control() || is_invisible(character) => {
                shown.extend(character.escape_default());
            }
            _ => shown.push(character),
        }
    }
    shown
}

/// Soft hyphen, zero-width characters, directional marks and overrides, separators, byte order mark.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// An error reason, such as `EMAIL_INVALID`. A reason that this version does not know becomes `REASON_` and its number.
pub(crate) fn reason_name(reason: i32) -> String {
    ErrorReason::try_from(reason).map_or_else(
        |_| format!("REASON_{reason}"),
        |known| short_name(known.as_str_name(), "ERROR_REASON_"),
    )
}

pub(crate) fn delivery_state_name(state: DeliveryState) -> String {
    short_name(state.as_str_name(), "DELIVERY_STATE_").to_ascii_lowercase()
}

/// The name of an enum value without the prefix that the style guide of Protocol Buffers requires.
pub(crate) fn short_name(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// The time as RFC 3339 text, or an empty text if there is none.
pub(crate) fn time_text(time: Option<Timestamp>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_are_escaped() {
        let cases = [
            ("a@b.co", "a@b.co"),
            ("a b", "a b"),
            ("a@b.co\t", "a@b.co\\t"),
            (" a@b.co ", "\\x20a@b.co\\x20"),
            ("  ", "\\x20\\x20"),
            ("a\r\nBcc: x", "a\\r\\nBcc: x"),
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("\u{202e}moc", "\\u{202e}moc"),
            ("grace@例え.jp", "grace@例え.jp"),
            ("a\0b", "a\\0b"),
            ("", ""),
        ];
        for (text, shown) in cases {
            assert_eq!(escaped(text), shown, "{text:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = escaped(&"a".repeat(900 * 1024));
        assert_eq!(shown.chars().count(), SHOWN_CHARS_MAX + 1);
        assert!(shown.ends_with('…'));
    }

    #[test]
    fn an_unknown_reason_is_printed_as_its_number() {
        assert_eq!(reason_name(1), "EMAIL_INVALID");
        assert_eq!(reason_name(9999), "REASON_9999");
    }
}

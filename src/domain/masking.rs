//! Replies of mail servers and providers, made fit to be stored: no address, no control character, bounded length.
//!
//! Such a reply usually names the recipient. Everything that may be an address is masked, without parsing it.

pub const REPLY_CHARS_MAX: usize = 300;
const ADDRESS_MASK: &str = "[address]";

/// Masks possible addresses, replaces control characters by spaces and truncates.
pub fn masked(text: &str) -> String {
    let is_delimiter = |character: char| {
        character.is_whitespace() || character.is_control() || "<>()[]\",;:\\".contains(character)
    };
    let mut kept = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_delimiter) {
        let word = piece.trim_end_matches(is_delimiter);
        // A link in a reply ("to unblock, see ...") contains the address in percent encoding.
        let is_address = word.contains('@') || word.to_ascii_lowercase().contains("%40");
        kept.push_str(if is_address { ADDRESS_MASK } else { word });
        kept.push_str(&piece[word.len()..].replace(char::is_control, " "));
    }
    truncate(kept.trim(), REPLY_CHARS_MAX)
}

/// Masks every word that contains the local part of an address. A server may reply to `alice@example.com` with `alice`
/// or with `alice=example.com`.
pub fn without_local_part(text: &str, local_part: &str) -> String {
    let is_delimiter =
        |character: char| character.is_whitespace() || "<>()[]\",;:".contains(character);
    text.split_inclusive(is_delimiter)
        .map(|piece| {
            let word = piece.trim_end_matches(is_delimiter);
            if contains_name(word, local_part) {
                format!("{ADDRESS_MASK}{}", &piece[word.len()..])
            } else {
                piece.to_owned()
            }
        })
        .collect()
}

/// Whether a word contains a name in any case, with no letter or digit on either side of it.
fn contains_name(word: &str, name: &str) -> bool {
    let (word, name) = (word.to_ascii_lowercase(), name.to_ascii_lowercase());
    let is_edge = |next: Option<char>| next.is_none_or(|next| !next.is_alphanumeric());
    !name.is_empty()
        && word.match_indices(&name).any(|(at, _)| {
            let after = &word[at + name.len()..];
            is_edge(word[..at].chars().next_back()) && is_edge(after.chars().next())
        })
}

/// Truncates a text to `chars_max` characters, of which the last is an ellipsis.
pub fn truncate(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    // A joiner or a variation selector at the end would apply to the ellipsis.
    let kept = kept.trim_end_matches([' ', '\u{200d}', '\u{fe0f}']);
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_control_characters_are_masked_and_the_length_is_bounded() {
        let cases = [
            (
                "5.1.1 <Alice.O'x+t@Example.com>: unknown",
                "5.1.1 <[address]>: unknown",
            ),
            (
                "see https://r.example/u?a=alice%40example.com",
                "see https:[address]",
            ),
            ("a\r\n\u{1b}[31mred", "a   [31mred"),
            ("2.0.0 Ok: queued as 4Fx", "2.0.0 Ok: queued as 4Fx"),
        ];
        for (text, expected) in cases {
            assert_eq!(masked(text), expected, "{text:?}");
        }
        assert_eq!(masked(&"x".repeat(5_000)).chars().count(), REPLY_CHARS_MAX);
    }

    #[test]
    fn the_local_part_of_an_address_is_masked_too() {
        let cases = [
            ("5.1.1 no user Alice here", "5.1.1 no user [address] here"),
            ("see <alice=example.com>", "see <[address]>"),
            ("alice, alice+x: malice", "[address], [address]: malice"),
            ("alice", "[address]"),
            ("5.2.2 full", "5.2.2 full"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(without_local_part(text, "alice"), expected, "{text:?}");
        }
        assert_eq!(without_local_part("full", ""), "full");
    }

    #[test]
    fn truncation_counts_characters_and_leaves_no_joiner() {
        assert_eq!(truncate("abc", 3), "abc");
        assert_eq!(truncate("abcd", 3), "ab…");
        assert_eq!(truncate("a👩\u{200d}💻", 3), "a👩…");
        assert_eq!(truncate("a👩\u{200d}💻x", 4), "a👩…");
    }
}

//! Names of organizations and people: other people's text that ends up in mails sent in our name.

use super::reason::Reason;

/// Longest name, in characters.
pub const NAME_CHARACTERS_MAX: usize = 100;

/// Checks a name that a mail may show: 1 to 100 characters, no control or bidirectional override characters, no link
/// and no host name, because a signed mail with a link in its first line is what a phisher wants of us.
pub fn parse(input: &str) -> Result<String, Reason> {
    let name = input.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX {
        return Err(Reason::NameInvalid);
    }
    if name.chars().any(is_hidden) || name.contains(['<', '>']) {
        return Err(Reason::NameInvalid);
    }
    if contains_link(name) || name.split_whitespace().any(is_host_name) {
        return Err(Reason::NameContainsLink);
    }
    Ok(name.to_owned())
}

/// Control characters, and those that turn the direction of text around or hide in it.
pub(super) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2028}' | '\u{2029}'
            | '\u{2066}'..='\u{2069}' | '\u{061C}' | '\u{FEFF}')
}

/// Whether text holds what a mail client turns into a link: a scheme, or `www.`.
pub(super) fn contains_link(text: &str) -> bool {
    let lowered = text.to_ascii_lowercase();
    lowered.contains("://") || lowered.contains("www.") || lowered.contains("mailto:")
}

/// Whether a word is a dotted host name: two labels or more, the last of two letters or more.
pub(super) fn is_host_name(word: &str) -> bool {
    let host = word
        .split(['/', ':', '?', '#'])
        .next()
        .unwrap_or_default()
        .trim_matches(|character: char| !character.is_alphanumeric());
    let Some((rest, tld)) = host.rsplit_once('.') else {
        return false;
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .chars()
                .all(|character| character.is_alphanumeric() || character == '-')
    };
    tld.chars().count() >= 2
        && tld.chars().all(char::is_alphabetic)
        && rest
            .rsplit('@')
            .next()
            .unwrap_or(rest)
            .split('.')
            .all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_people_and_companies_pass() {
        for name in [
            "Ada Lovelace",
            "J.R.R. Tolkien",
            "Müller & Söhne, GmbH.",
            "株式会社 例え",
            "O'Brien",
            "🚀 Rockets",
            "St. Mary",
        ] {
            assert_eq!(parse(name).as_deref(), Ok(name));
        }
    }

    #[test]
    fn what_could_mislead_a_reader_is_refused() {
        let long = "x".repeat(101);
        for name in [
            "",
            "  ",
            "Eve\r\nBcc: x@y.zz",
            "a\0b",
            "a\x1bb",
            "\u{202e}moc",
            "<a href=//e>x</a>",
            &long,
        ] {
            assert_eq!(parse(name), Err(Reason::NameInvalid), "{name:?}");
        }
        for name in [
            "Visit https://evil.example",
            "Acme (evil.example)",
            "www.evil",
            "call me at eve@evil.example",
        ] {
            assert_eq!(parse(name), Err(Reason::NameContainsLink), "{name:?}");
        }
    }
}

//! Names of organizations and people: other people's text that ends up in mails sent in our name.

use super::reason::Reason;

/// Longest name, in characters.
pub const NAME_CHARACTERS_MAX: usize = 100;
/// Digits from which on a run of them is a telephone number: a national one with its area code has as many. Dates and
/// the numbers companies are registered under have eight at most.
const TELEPHONE_DIGITS_MIN: usize = 9;

/// Checks a name that a mail may show: 1 to 100 characters, no control or bidirectional override characters, no link,
/// no host name and no telephone number, because a signed mail that says where to go or whom to call in its first line
/// is what a phisher wants of us.
pub fn parse(input: &str) -> Result<String, Reason> {
    let name = input.trim();
    if name.is_empty() || name.chars().count() > NAME_CHARACTERS_MAX {
        return Err(Reason::NameInvalid);
    }
    if name.chars().any(is_hidden) || name.contains(['<', '>']) {
        return Err(Reason::NameInvalid);
    }
    if contains_link(name) || words(name).any(is_host_name) || contains_telephone_number(name) {
        return Err(Reason::NameContainsLink);
    }
    Ok(name.to_owned())
}

/// Control characters, and those that turn the direction of text around or hide in it.
pub(super) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}' | '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}'
        )
}

/// Whether text holds what a mail client turns into a link: a scheme, or `www.`.
pub(super) fn contains_link(text: &str) -> bool {
    let lowered = text.to_ascii_lowercase();
    lowered.contains("://") || lowered.contains("www.") || lowered.contains("mailto:")
}

/// Whether text holds digits as telephone numbers are written: in groups, with at most three other characters between
/// two of them, none of which is a letter. Digits of every script count.
fn contains_telephone_number(text: &str) -> bool {
    let mut digits = 0;
    let mut others = 0;
    for character in text.chars() {
        if character.is_numeric() {
            digits += 1;
            others = 0;
        } else if character.is_alphabetic() || others == 3 {
            digits = 0;
        } else {
            others += 1;
        }
        if digits >= TELEPHONE_DIGITS_MIN {
            return true;
        }
    }
    false
}

/// The pieces of text that could be host names: runs of letters, digits, dots, hyphens and underscores. The dots of
/// other scripts count too (UTS #46 maps them).
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| {
        !character.is_alphanumeric() && !matches!(character, '-' | '_') && !is_dot(character)
    })
}

/// Whether a word is a dotted host name or an IPv4 address: two labels or more, the last of two letters or more, an
/// A-label, or four numbers in all.
pub(super) fn is_host_name(word: &str) -> bool {
    let labels: Vec<&str> = word
        .trim_matches(|character: char| !character.is_alphanumeric())
        .split(is_dot)
        .collect();
    let [_, .., tld] = labels.as_slice() else {
        return false;
    };
    let is_number = |label: &&str| {
        !label.is_empty() && label.len() <= 3 && label.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_address = labels.len() == 4 && labels.iter().all(is_number);
    let is_name = tld.chars().count() >= 2 && tld.chars().all(char::is_alphabetic)
        || tld.to_ascii_lowercase().starts_with("xn--");
    is_address || is_name && labels.iter().all(|label| !label.is_empty())
}

const fn is_dot(character: char) -> bool {
    matches!(character, '.' | '\u{3002}' | '\u{FF0E}' | '\u{FF61}')
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
            "Release 1.2.3",
            "e.g. Acme",
            "Smith Ltd 01234567",
            "Summit 2026-11-22",
            "4711 / 0815",
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
            "Win at evil.com,now",
            "see(evil.com)",
            "foo_bar.evil.com",
            "evil.xn--p1ai",
            "1.2.3.4",
            "evil。com",
            "Call +1 (808) 555-0100",
            "Refund 0800 123 456",
            "０８００１２３４５６",
            "8 0 8 5 5 5 0 1 0 0",
        ] {
            assert_eq!(parse(name), Err(Reason::NameContainsLink), "{name:?}");
        }
    }
}

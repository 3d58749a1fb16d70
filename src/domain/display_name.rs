//! Names of organizations and people: other people's text that ends up in mails sent in our name.

use super::reason::Reason;

/// Longest name, in characters.
pub const NAME_CHARACTERS_MAX: usize = 100;
/// Longest input that is looked at, in bytes: room for a name and white space around it.
const NAME_BYTES_MAX: usize = 16 * NAME_CHARACTERS_MAX;
/// Digits from which on a run of them is a telephone number: a national one with its area code has as many. Dates and
/// the numbers companies are registered under have eight at most.
const TELEPHONE_DIGITS_MIN: usize = 9;

/// Checks a name that a mail may show: 1 to 100 characters, no control or bidirectional override characters, no link,
/// no host name and no telephone number, because a signed mail that says where to go or whom to call in its first line
/// is what a phisher wants of us.
pub fn parse(input: &str) -> Result<String, Reason> {
    let name = input.trim();
    // Four bytes to a character at most: what is longer is not even counted.
    if input.len() > NAME_BYTES_MAX || name.chars().count() > NAME_CHARACTERS_MAX {
        return Err(Reason::NameTooLong);
    }
    if name.is_empty() || name.chars().any(is_hidden) || name.contains(['<', '>']) {
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

/// Whether a word is or holds a dotted host name or an IPv4 address: a label, a dot, and two letters or more or an
/// A-label; or four numbers in all. Where in the word does not matter: mail clients find `evil.com` in `Win..evil.com`.
pub(super) fn is_host_name(word: &str) -> bool {
    let labels: Vec<&str> = word
        .trim_matches(|character: char| !character.is_alphanumeric())
        .split(is_dot)
        .collect();
    let is_number = |label: &&str| {
        !label.is_empty() && label.len() <= 3 && label.bytes().all(|byte| byte.is_ascii_digit())
    };
    let is_address = labels.len() == 4 && labels.iter().all(is_number);
    let is_tld = |label: &str| {
        label.chars().count() >= 2 && label.chars().all(char::is_alphabetic)
            || label.to_ascii_lowercase().starts_with("xn--")
    };
    let mut pairs = labels.windows(2);
    is_address || pairs.any(|pair| !pair[0].is_empty() && is_tld(pair[1]))
}

const fn is_dot(character: char) -> bool {
    matches!(character, '.' | '\u{3002}' | '\u{FF0E}' | '\u{FF61}')
}

#[cfg(test)]
#[path = "display_name_tests.rs"]
mod tests;

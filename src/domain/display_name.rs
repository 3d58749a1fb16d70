//! Names of organizations and people. Strangers choose them, and they appear in emails that this service sends.

use super::reason::Reason;

pub const NAME_CHARACTERS_MAX: usize = 100;
/// Longest input that is examined, in bytes: a name and white space around it.
const NAME_BYTES_MAX: usize = 16 * NAME_CHARACTERS_MAX;
/// Shortest telephone number, in digits: a national number with its area code. Dates and company registration numbers
/// have at most eight digits.
const TELEPHONE_DIGITS_MIN: usize = 9;

/// Checks a name: 1 to 100 characters without control characters, characters that change the text direction, links,
/// host names and telephone numbers.
///
/// The name appears in the first line of a signed email. A link or a number there is what a phisher needs.
pub fn parse(input: &str) -> Result<String, Reason> {
    let name = input.trim();
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

/// Whether a character is a control character, changes the direction of text or is invisible.
pub(super) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{AD}' | '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}'
                | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}'
        )
}

/// Whether a text contains what a mail client turns into a link: a scheme, `mailto:` or `www.`.
pub(super) fn contains_link(text: &str) -> bool {
    let lowered = text.to_ascii_lowercase();
    lowered.contains("://") || lowered.contains("www.") || lowered.contains("mailto:")
}

/// Whether a text contains a telephone number: digits of any script with at most three other characters between two
/// digits, none of them a letter.
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

/// Splits a text into possible host names: runs of letters, digits, dots, hyphens and underscores. Dots of other
/// scripts count as dots, because UTS #46 maps them to dots.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|character: char| {
        !character.is_alphanumeric() && !matches!(character, '-' | '_') && !is_dot(character)
    })
}

/// Whether a word contains a host name with a dot, or is an IPv4 address. A host name is a label, a dot, and at least
/// two letters or an A-label. It may stand anywhere in the word, because mail clients find `evil.com` in
/// `Win..evil.com`.
pub(super) fn is_host_name(word: &str) -> bool {
    let word = word.trim_matches(|character: char| !character.is_alphanumeric());
    let labels: Vec<&str> = word.split(is_dot).collect();
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

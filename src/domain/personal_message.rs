//! The inviter's personal note: plain text in a mail that carries our name.

use super::display_name::{contains_link, is_hidden, is_host_name, words};
use super::reason::Reason;

/// Longest message, in characters.
pub const MESSAGE_CHARACTERS_MAX: usize = 500;
/// Most bytes that are looked at: those of the longest message, its line ends as two each, with room for white space
/// around it.
const MESSAGE_BYTES_MAX: usize = 8 * MESSAGE_CHARACTERS_MAX;

/// Checks a note: at most 500 characters, no control characters but line feeds and tabs, no link.
///
/// A bare `host.tld` passes, because "see you.Ada" is how people type; with a path or a port behind it, it is a link.
pub fn parse(input: &str) -> Result<String, Reason> {
    if input.len() > MESSAGE_BYTES_MAX {
        return Err(Reason::MessageInvalid);
    }
    let text = input.replace("\r\n", "\n");
    let message = text.trim();
    let is_too_long = message.chars().count() > MESSAGE_CHARACTERS_MAX;
    let is_hiding = message
        .chars()
        .any(|character| is_hidden(character) && !matches!(character, '\n' | '\t'));
    let is_linking = contains_link(message) || names_a_page(message);
    if is_too_long || is_hiding || is_linking {
        return Err(Reason::MessageInvalid);
    }
    Ok(message.to_owned())
}

/// Whether a host name stands in it with a path or a port behind it.
fn names_a_page(message: &str) -> bool {
    words(message).any(|word| {
        let end = word.as_ptr() as usize - message.as_ptr() as usize + word.len();
        is_host_name(word) && message[end..].starts_with(['/', ':'])
    })
}

#[cfg(test)]
#[path = "personal_message_tests.rs"]
mod tests;

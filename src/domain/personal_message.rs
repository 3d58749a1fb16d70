//! Personal messages: plain text of the inviter in an email that this service sends.

use super::display_name::{contains_link, is_hidden, is_host_name, words};
use super::reason::Reason;

pub const MESSAGE_CHARACTERS_MAX: usize = 500;
/// Longest input that is examined, in bytes: the longest message with two bytes for each line end, and white space
/// around it.
const MESSAGE_BYTES_MAX: usize = 8 * MESSAGE_CHARACTERS_MAX;

/// Checks a message: at most 500 characters, no control characters except line feeds and tabs, no link.
///
/// A bare `host.tld` is accepted, because people type "see you.Ada". With a path or a port it is a link.
pub fn parse(input: &str) -> Result<String, Reason> {
    if input.len() > MESSAGE_BYTES_MAX {
        return Err(Reason::MessageInvalid);
    }
    let text = input.replace("\r\n", "\n");
    let message = text.trim();
    let is_too_long = message.chars().count() > MESSAGE_CHARACTERS_MAX;
    let is_refused = |character| is_hidden(character) && !matches!(character, '\n' | '\t');
    let has_link = contains_link(message) || contains_page_address(message);
    if is_too_long || message.chars().any(is_refused) || has_link {
        return Err(Reason::MessageInvalid);
    }
    Ok(message.to_owned())
}

/// Whether a text contains a host name that is followed by a path or a port.
fn contains_page_address(message: &str) -> bool {
    words(message).any(|word| {
        let end = word.as_ptr() as usize - message.as_ptr() as usize + word.len();
        is_host_name(word) && message[end..].starts_with(['/', ':'])
    })
}

#[cfg(test)]
#[path = "personal_message_tests.rs"]
mod tests;

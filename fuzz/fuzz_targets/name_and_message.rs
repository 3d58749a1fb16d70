//! An accepted name or message contains no control characters.
#![no_main]

use invitations::domain::{display_name, personal_message};
use invitations_fuzz::parse_stable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Some(name) = parse_stable(input, display_name::parse) {
        assert!(!name.chars().any(char::is_control) && !name.contains("://"));
    }
    if let Some(message) = parse_stable(input, personal_message::parse) {
        let is_allowed =
            |character: char| !character.is_control() || matches!(character, '\n' | '\t');
        assert!(message.chars().all(is_allowed));
    }
});

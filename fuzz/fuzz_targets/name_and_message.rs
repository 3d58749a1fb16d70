//! A name or note that is taken is taken again as it is, and holds no control character.
#![no_main]

use invitations::domain::{display_name, personal_message};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(name) = display_name::parse(input) {
        assert!(!name.chars().any(char::is_control) && !name.contains("://"));
        assert_eq!(display_name::parse(&name).as_deref(), Ok(&*name));
    }
    if let Ok(note) = personal_message::parse(input) {
        assert!(
            note.chars()
                .all(|character| !character.is_control() || matches!(character, '\n' | '\t'))
        );
        assert_eq!(personal_message::parse(&note).as_deref(), Ok(&*note));
    }
});

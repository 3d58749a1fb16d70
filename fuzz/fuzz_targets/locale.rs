//! A locale that is taken is the input in canonical case.
#![no_main]

use invitations::domain::locale;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(tag) = locale::parse(input) {
        assert!(tag.eq_ignore_ascii_case(input));
        assert_eq!(locale::parse(&tag).as_deref(), Ok(&*tag));
    }
});

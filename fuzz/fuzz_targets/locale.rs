//! An accepted locale differs from the input in case alone.
#![no_main]

use invitations::domain::locale;
use invitations_fuzz::parse_stable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Some(tag) = parse_stable(input, locale::parse) {
        assert!(tag.eq_ignore_ascii_case(input));
    }
});

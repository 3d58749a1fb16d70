//! Parses and classifies any reply of a relay. The text that is kept never contains an address.
#![no_main]

use invitations::mail::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for error in fuzzing::errors_of_reply(bytes) {
        assert!(
            !error.text.contains('@') && error.text.chars().count() <= 300,
            "{error}"
        );
        assert!(!error.text.chars().any(char::is_control), "{error}");
        assert!(
            error
                .retry_after
                .is_none_or(|wait| wait.as_secs() <= 86_400),
            "{error}"
        );
        let _ = (
            error.refusal_reason,
            error.is_ambiguous(),
            error.is_throttle(),
        );
    }
});

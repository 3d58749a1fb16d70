//! Whatever a relay says is judged, and what is kept of it names nobody.
#![no_main]

use invitations::mail::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for error in fuzzing::judged(bytes) {
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
        let _ = (error.verdict(), error.is_ambiguous(), error.is_throttle());
    }
});

//! Any SMTP reply is classified, and the stored text contains no address.
#![no_main]

use invitations::mail::fuzzing;
use invitations_fuzz::assert_anonymous;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for error in fuzzing::judged(bytes) {
        assert_anonymous(&error.text);
        assert!(!error.text.chars().any(char::is_control), "{error}");
        let is_bounded = error
            .retry_after
            .is_none_or(|wait| wait.as_secs() <= 86_400);
        assert!(is_bounded, "{error}");
        let _ = (error.verdict(), error.is_ambiguous(), error.is_throttle());
    }
});

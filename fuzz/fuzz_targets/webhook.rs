//! A report without a valid signature or password is refused, and reading a report never panics.
#![no_main]

use std::sync::LazyLock;

use invitations::http::{PostmarkPassword, WebhookSecret, fuzzing};
use libfuzzer_sys::fuzz_target;

static SECRET: LazyLock<WebhookSecret> = LazyLock::new(|| {
    WebhookSecret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").expect("a secret")
});
static PASSWORD: LazyLock<PostmarkPassword> =
    LazyLock::new(|| PostmarkPassword::parse("0123456789abcdef").expect("a password"));

fuzz_target!(|input: (&[u8], &[u8], &[u8], i64, &[u8])| {
    let (id, time, signature, second, body) = input;
    assert!(!fuzzing::is_signed(
        &SECRET,
        [id, time, signature],
        body,
        second
    ));
    assert!(!fuzzing::has_password(&PASSWORD, signature));
    assert!(fuzzing::understood(body) <= 2);
});

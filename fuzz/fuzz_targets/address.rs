//! An address that is taken is ASCII, within its limits, and normal once it is normalized.
#![no_main]

use invitations::domain::email_address::EmailAddress;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(address) = EmailAddress::parse(input) {
        assert!(address.mailbox().is_ascii() && address.mailbox().len() <= 254);
        assert!(
            !address
                .mailbox()
                .bytes()
                .any(|byte| byte <= b' ' || b"<>()[]\",:;\\".contains(&byte))
        );
        assert_eq!(address.mailbox().matches('@').count(), 1);
        let again =
            EmailAddress::parse(address.normalized()).expect("normal addresses are addresses");
        assert_eq!(again.normalized(), address.normalized());
        assert_eq!(again.mailbox(), address.normalized());
    }
});

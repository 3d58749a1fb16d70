//! An accepted address is ASCII and within its limits. Normalizing it again changes nothing.
#![no_main]

use invitations::domain::email_address::EmailAddress;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Ok(address) = EmailAddress::parse(input) {
        let mailbox = address.mailbox();
        assert!(mailbox.is_ascii() && mailbox.len() <= 254);
        assert!(
            !mailbox
                .bytes()
                .any(|byte| byte <= b' ' || b"<>()[]\",:;\\".contains(&byte))
        );
        assert_eq!(mailbox.matches('@').count(), 1);
        let again = EmailAddress::parse(address.normalized()).expect("it is an address");
        assert_eq!(again.normalized(), address.normalized());
        assert_eq!(again.mailbox(), address.normalized());
    }
});

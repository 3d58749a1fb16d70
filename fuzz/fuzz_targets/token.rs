//! No token that was not derived is genuine, and each has one spelling. The same of links to unsubscribe and bounce addresses.
#![no_main]

use std::sync::LazyLock;

use invitations::domain::bounce_address::SentMail;
use invitations::domain::keyring::Keyring;
use invitations::domain::token::{Token, TokenSubject};
use invitations::domain::unsubscribe_token;
use libfuzzer_sys::fuzz_target;
use uuid::Uuid;

static RING: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse("1 AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").expect("a ring")
});

fuzz_target!(|input: &str| {
    if let Ok(token) = Token::parse(input) {
        assert_eq!(token.reveal(), input);
        let subject = TokenSubject {
            organization_id: "acme",
            invitation_id: token.invitation_id(),
            generation: 1,
            nonce: [7; 16],
            email_normalized: "a@b.co",
        };
        assert!(!token.matches(&RING, 1, &subject));
        token.verify_dummy(&RING);
    }
    assert!(unsubscribe_token::open(&RING, input).is_none());
    assert!(SentMail::of_bounce_address(&RING, input).is_none());
    let _ = Uuid::try_parse(input);
});

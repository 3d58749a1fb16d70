//! An invitation token that was not derived is not genuine, and each token has one spelling. Unsubscribe tokens and bounce
//! addresses that were not derived are refused.
#![no_main]

use invitations::domain::bounce_address::SentMail;
use invitations::domain::token::{Token, TokenSubject};
use invitations::domain::unsubscribe_token;
use invitations_fuzz::KEYRING;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    if let Some(token) = Token::parse(input) {
        assert_eq!(token.reveal(), input);
        let subject = TokenSubject {
            organization_id: "acme",
            invitation_id: token.invitation_id(),
            generation: 1,
            nonce: [7; 16],
            email_normalized: "a@b.co",
        };
        assert!(!token.matches(&KEYRING, 1, &subject));
        token.verify_dummy(&KEYRING);
    }
    assert!(unsubscribe_token::open(&KEYRING, input).is_none());
    assert!(SentMail::of_bounce_address(&KEYRING, input).is_none());
});

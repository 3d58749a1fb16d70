//! Feedback on sent messages: bounce addresses, reports and unsubscribe tokens.

use invitations::domain::address_tag::AddressTagger;
use invitations::domain::bounce_address::SentMail;
use invitations::domain::email_address::EmailAddress;
use invitations::domain::keyring::Keyring;
use invitations::domain::unsubscribe_token;
use invitations::service::{Feedback, FeedbackKind, FeedbackSource};
use uuid::Uuid;

use crate::support::fixtures::KEYS;

/// A delivery status notification for the first message of an invitation, with a new event id.
pub(crate) fn feedback(invitation_id: &str, kind: FeedbackKind) -> Feedback {
    Feedback {
        mail: sent_mail(invitation_id, 1),
        kind,
        text: String::new(),
        reply_code: None,
        source: FeedbackSource::Dsn,
        event_id: Uuid::new_v4().to_string(),
    }
}

pub(crate) fn sent_mail(invitation_id: &str, send_seq: i32) -> SentMail {
    SentMail {
        invitation_id: Uuid::parse_str(invitation_id).unwrap(),
        send_seq,
    }
}

/// The envelope sender of a message, at `mail.example.com`.
pub(crate) fn bounce_address(mail: SentMail) -> String {
    let keyring = Keyring::parse(KEYS).unwrap();
    mail.bounce_address(&keyring, "bounces@mail.example.com")
        .unwrap()
}

/// The token with which an address unsubscribes, sealed with the signing key of `keys`.
pub(crate) fn unsubscribe_token(keys: &str, address: &str) -> String {
    let keyring = Keyring::parse(keys).unwrap();
    let tag = AddressTagger::new(&keyring).tag(&EmailAddress::parse(address).unwrap());
    unsubscribe_token::seal(&keyring, &tag).unwrap()
}

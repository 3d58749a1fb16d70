//! Whatever the names, a mail is one mail: ASCII, no header more, and no element that the templates have not.
#![no_main]

use std::sync::LazyLock;

use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::mail::message::{Composer, InvitationMail, MailKind, Sender};
use libfuzzer_sys::fuzz_target;
use time::macros::datetime;

static COMPOSER: LazyLock<Composer> = LazyLock::new(|| {
    let sender = Sender::parse("Invitations", "invitations@example.com", None).expect("a sender");
    Composer::new(sender).expect("the embedded templates")
});

fuzz_target!(|input: (&str, &str, &str, &str, &str)| {
    let (organization, inviter, role, note, locale) = input;
    let mail = InvitationMail {
        kind: MailKind::Invitation,
        message_id: "1@example.com".to_owned(),
        date: datetime!(2026-11-22 18:48 UTC),
        to: EmailAddress::parse("a@b.co").expect("an address"),
        organization_name: organization.to_owned(),
        brand: Brand::default(),
        inviter_name: Some(inviter.to_owned()),
        role: role.to_owned(),
        note: Some(note.to_owned()),
        link: "https://app.example.com/join#token=x".to_owned().into(),
        expires_at: datetime!(2026-12-22 18:48 UTC),
        locale: locale.to_owned(),
        envelope_from: None,
        unsubscribe_url: None,
    };
    let letter = COMPOSER.write(&mail).expect("a letter whatever the names");
    assert!(!letter.subject.chars().any(char::is_control));
    for element in ["<script", "<img src=x", "<iframe"] {
        assert!(!letter.html.contains(element));
    }
    let bytes = COMPOSER
        .compose(&mail)
        .expect("a mail whatever the names")
        .bytes()
        .to_vec();
    assert!(bytes.is_ascii());
    let text = String::from_utf8(bytes).expect("ASCII");
    let head = text
        .split("\r\n\r\n")
        .next()
        .expect("a head")
        .to_ascii_lowercase();
    assert!(!head.contains("\r\nbcc:") && !head.contains("\r\ncc:"));
    assert_eq!(
        head.matches("\r\nto:").count() + head.matches("\r\nsubject:").count(),
        2
    );
});

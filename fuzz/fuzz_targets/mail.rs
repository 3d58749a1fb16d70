//! Names and notes cannot change the structure of an email: it is ASCII, has no additional header, and its HTML contains
//! only elements of the templates.
#![no_main]

use std::sync::LazyLock;

use invitations::domain::brand::Brand;
use invitations::domain::email_address::EmailAddress;
use invitations::mail::message::{Composer, EmailKind, InvitationEmail, Sender};
use libfuzzer_sys::fuzz_target;
use time::macros::datetime;

static COMPOSER: LazyLock<Composer> = LazyLock::new(|| {
    let sender = Sender::parse("Invitations", "invitations@example.com", None).expect("a sender");
    Composer::new(sender).expect("the embedded templates")
});

fuzz_target!(|input: (&str, &str, &str, &str, &str)| {
    let (organization, inviter, role, note, locale) = input;
    let mail = InvitationEmail {
        kind: EmailKind::Invitation,
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
    let rendered = COMPOSER.render(&mail).expect("any names can be rendered");
    assert!(!rendered.subject.chars().any(char::is_control));
    for element in ["<script", "<img src=x", "<iframe"] {
        assert!(!rendered.html.contains(element));
    }
    let message = COMPOSER.compose(&mail).expect("any names can be composed");
    let text = std::str::from_utf8(message.bytes()).expect("ASCII");
    assert!(text.is_ascii());
    let (head, _) = text.split_once("\r\n\r\n").expect("a body");
    let head = head.to_ascii_lowercase();
    let count = |header: &str| head.matches(&format!("\r\n{header}:")).count();
    assert_eq!([count("to"), count("subject")], [1, 1]);
    assert_eq!([count("cc"), count("bcc")], [0, 0]);
});

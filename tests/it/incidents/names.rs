//! Names and notes are text of other people. A signed email must not carry the message of a scammer in them.

use invitations::proto::{ErrorReason, NewInvitation, UpsertResult};

use crate::support::directory::{organization, user};
use crate::support::{
    ACME, World, accept_request, create_request, item, item_reason, item_without_email, reason,
};

/// Names with which such emails misled readers elsewhere, and variants of them.
const MISLEADING_NAMES: [&str; 18] = [
    "Your account is locked: https://evil.example/unlock",
    "Claim at evil.example",
    "www.evil-shop.co",
    "Invoice 4711, call +1 (808) 555-0100",
    "Refund? 0800-123-4567",
    "Anruf genügt: 030 / 1234 5678 9",
    "Write to eve@evil.example",
    "mailto:eve@evil",
    "evil\u{3002}example",
    "evil.xn--p1ai",
    "Visit hxxp://evil.example",
    "192.0.2.1",
    "Acme\r\nBcc: victim@b.co",
    "Acme\u{202e}moc.live",
    "Ac\u{200b}me",
    "<a href=//evil>Acme</a>",
    "\u{1}",
    "ftp://evil",
];

fn reasons(results: Vec<UpsertResult>) -> Vec<Option<ErrorReason>> {
    let reason = |result: UpsertResult| Some(result.error?.reason());
    results.into_iter().map(reason).collect()
}

#[tokio::test]
async fn no_name_contains_a_link_or_a_telephone_number() {
    let world = World::start().await;
    let long = "x".repeat(101);
    let names: Vec<&str> = MISLEADING_NAMES
        .into_iter()
        .chain([long.as_str()])
        .collect();
    let organizations = names.iter().map(|name| organization(ACME, name));
    let results = world.upsert_organizations(organizations.collect()).await;
    let of_organizations = reasons(results);
    let users = names.iter().map(|name| user("ada", name, &[]));
    let results = world.upsert_users(users.collect()).await;
    assert_eq!(of_organizations, reasons(results));
    for (reason, name) in of_organizations.iter().zip(&names) {
        let is_expected = matches!(
            reason,
            Some(
                ErrorReason::NameContainsLink | ErrorReason::NameInvalid | ErrorReason::NameTooLong
            )
        );
        assert!(is_expected, "{name:?} {reason:?}");
    }
    // A user cannot get such a name by accepting an invitation either.
    let token = world.create_with_link(item_without_email("a@b.co")).await;
    for name in names {
        let mut request = accept_request(&token, "new", "a@b.co");
        request.user_name = name.to_owned();
        let refused = world.client().accept(request).await;
        assert!(reason(refused).starts_with("NAME_"), "{name:?}");
    }
}

#[tokio::test]
async fn no_note_contains_a_link_and_no_subject_contains_a_note() {
    let mut world = World::start().await;
    let notes = [
        "See https://evil.example",
        "www.evil.co",
        "go to evil.example/now",
        "evil.example:443",
        "\u{202e}elpmaxe.live",
        "a\0b",
    ];
    let with_note = |(number, note): (usize, &&str)| NewInvitation {
        message: (*note).to_owned(),
        ..item(&format!("p{number}@b.co"))
    };
    let request = create_request(notes.iter().enumerate().map(with_note).collect());
    let answer = world.bulk_create(request).await;
    for (result, note) in answer.results.iter().zip(notes) {
        assert_eq!(item_reason(result), ErrorReason::MessageInvalid, "{note:?}");
    }
    let request = create_request(vec![NewInvitation {
        message: "URGENT invoice overdue".to_owned(),
        ..item("a@b.co")
    }]);
    world.client().bulk_create(request).await.unwrap();
    world.deliver_all().await;
    let mail = world.mail_to("a@b.co");
    assert!(mail.text.contains("URGENT"));
    assert!(!mail.subject.contains("URGENT"), "{}", mail.subject);
}

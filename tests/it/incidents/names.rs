//! Names and notes: other people's text, which a signed mail must not carry a scammer's message in.

use invitations::proto::{
    BulkCreateRequest, ErrorReason, NewInvitation, Organization, UpsertOrganizationsRequest,
    UpsertUsersRequest, User,
};

use crate::support::{ACME, World, create_request, created, item, item_reason};

/// What such mails said elsewhere, and what they could say.
const LURES: [&str; 18] = [
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

fn reasons(results: Vec<invitations::proto::UpsertResult>) -> Vec<Option<ErrorReason>> {
    let reason = |result: invitations::proto::UpsertResult| Some(result.error?.reason());
    results.into_iter().map(reason).collect()
}

#[tokio::test]
async fn no_name_tells_the_reader_where_to_go_or_whom_to_call() {
    let world = World::start().await;
    let long = "x".repeat(101);
    let names: Vec<&str> = LURES.into_iter().chain([long.as_str()]).collect();
    let organization = |name: &&str| Organization {
        id: ACME.to_owned(),
        name: (*name).to_owned(),
        ..Default::default()
    };
    let request = UpsertOrganizationsRequest {
        organizations: names.iter().map(organization).collect(),
    };
    let answer = world
        .directory()
        .upsert_organizations(request)
        .await
        .unwrap();
    let of_organizations = reasons(answer.into_inner().results);
    let user = |name: &&str| User {
        id: "ada".to_owned(),
        name: (*name).to_owned(),
        ..Default::default()
    };
    let request = UpsertUsersRequest {
        users: names.iter().map(user).collect(),
    };
    let answer = world.directory().upsert_users(request).await.unwrap();
    assert_eq!(of_organizations, reasons(answer.into_inner().results));
    for (reason, name) in of_organizations.iter().zip(&names) {
        let is_expected = matches!(
            reason,
            Some(
                ErrorReason::NameContainsLink | ErrorReason::NameInvalid | ErrorReason::NameTooLong
            )
        );
        assert!(is_expected, "{name:?} {reason:?}");
    }
    // Nor does somebody come in under such a name by accepting.
    let request = BulkCreateRequest {
        return_link: true,
        invitations: vec![NewInvitation {
            notify: Some(false),
            ..item("a@b.co")
        }],
        ..create_request(vec![])
    };
    let made = world
        .client()
        .bulk_create(request)
        .await
        .unwrap()
        .into_inner();
    created(&made.results[0]);
    let token = made.results[0].link.split_once("#token=").unwrap().1;
    for name in names {
        let mut request = crate::support::accept_request(token, "new", "a@b.co");
        request.user_name = name.to_owned();
        let refused = world.client().accept(request).await;
        assert!(
            crate::support::reason(refused).starts_with("NAME_"),
            "{name:?}"
        );
    }
}

#[tokio::test]
async fn no_note_carries_a_link_and_no_subject_carries_a_note() {
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
    let request = BulkCreateRequest {
        invitations: notes.iter().enumerate().map(with_note).collect(),
        ..create_request(vec![])
    };
    let answer = world.client().bulk_create(request).await.unwrap();
    for (result, note) in answer.into_inner().results.iter().zip(notes) {
        assert_eq!(item_reason(result), ErrorReason::MessageInvalid, "{note:?}");
    }
    let request = BulkCreateRequest {
        invitations: vec![NewInvitation {
            message: "URGENT invoice overdue".to_owned(),
            ..item("a@b.co")
        }],
        ..create_request(vec![])
    };
    world.client().bulk_create(request).await.unwrap();
    world.deliver_all().await;
    let mail = world.mail_to("a@b.co");
    assert!(mail.text.contains("URGENT"));
    assert!(!mail.subject.contains("URGENT"), "{}", mail.subject);
}

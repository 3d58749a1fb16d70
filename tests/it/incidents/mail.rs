//! Email: one address for each item, one recipient for each message, and an SMTP conversation that all servers read in
//! the same way.

use invitations::proto::{
    BulkCreateRequest, CreateOutcome, ErrorReason, NewInvitation, OnExisting,
};

use crate::support::{World, create_request, invite_request, item, item_reason};

#[tokio::test]
async fn an_ambiguous_address_is_invalid() {
    let mut world = World::start().await;
    let refused = [
        "a@b.co,c@d.co",
        "a@b.co, c@d.co",
        "a@b.co;c@d.co",
        "a@b.co c@d.co",
        "a@b.co\nc@d.co",
        "[\"a@b.co\",\"c@d.co\"]",
        "\"a@evil.co x\"@internal.co",
        "\"a@evil.co\"@internal.co",
        "a@b.co x@internal.co",
        "A <a@b.co>",
        "<a@b.co>",
        "a@b.co (comment)",
        "a@b@c.co",
        "@b.co:a@c.co",
        "a%b.co@",
        "a@b.co?subject=x",
        "mailto:a@b.co",
        "a@127.0.0.1",
        "a@[127.0.0.1]",
        "a@localhost",
        "a@b\u{3002}co",
        "a@b.co>\r\nRCPT TO:<c@d.co",
        "a@b.co\r\nDATA",
        "a@b.co> SIZE=1 ORCPT=rfc822;c@d.co",
        "a\0@b.co",
        "a@b.co\0",
        "=?utf-8?q?a=40evil.co?=@b.co",
        "a@xn--example-.com",
        "a@xn--a.com",
    ];
    let answer = world.invite(&refused).await;
    for (result, email) in answer.results.iter().zip(refused) {
        // An encoded word is a valid dot-atom. It may be accepted, but not decoded.
        if email.starts_with("=?") && result.outcome() == CreateOutcome::Created {
            continue;
        }
        assert_eq!(item_reason(result), ErrorReason::EmailInvalid, "{email:?}");
    }
    world.deliver_all().await;
    for mail in world.mailbox() {
        assert_eq!(mail.to, "=?utf-8?q?a=40evil.co?=@b.co");
    }
}

#[tokio::test]
async fn no_character_of_an_address_is_mapped_to_another() {
    let mut world = World::start().await;
    for lookalike in [
        "m\u{131}ke@example.com",
        "mi\u{212a}e@example.com",
        "ｍike@example.com",
    ] {
        let answer = world.invite(&[lookalike]).await;
        let refused = item_reason(&answer.results[0]);
        assert_eq!(refused, ErrorReason::EmailUnsupported, "{lookalike}");
    }
    let answer = world
        .invite(&[
            "Mike@b\u{fc}cher.example",
            "mike@xn--bcher-kva.example",
            "mike@bucher.example",
        ])
        .await;
    // Two spellings of one domain make the same address. A domain that only looks similar makes another address.
    assert_eq!(
        item_reason(&answer.results[1]),
        ErrorReason::DuplicateInRequest
    );
    assert_eq!(answer.results[2].outcome(), CreateOutcome::Created);
    world.deliver_all().await;
    let mut recipients: Vec<_> = world.mailbox().into_iter().map(|mail| mail.to).collect();
    recipients.sort();
    assert_eq!(
        recipients,
        ["Mike@xn--bcher-kva.example", "mike@bucher.example"]
    );
}

/// Checks the commands and messages of a conversation line by line. Returns the number of messages.
fn count_messages_of_valid_conversation(bytes: &[u8]) -> usize {
    let text = std::str::from_utf8(bytes).expect("the conversation is not ASCII");
    assert!(text.is_ascii());
    assert!(text.ends_with("\r\n"));
    let lines: Vec<&str> = text.strip_suffix("\r\n").unwrap().split("\r\n").collect();
    let (mut is_message, mut recipients, mut messages) = (false, 0, 0);
    for line in lines {
        // CR and LF never appear alone, because servers interpret that differently.
        assert!(!line.contains(['\r', '\n', '\0']), "{line:?}");
        assert!(line.len() <= 998, "{}", line.len());
        if is_message {
            if line == "." {
                (is_message, messages) = (false, messages + 1);
                assert_eq!(recipients, 1, "one recipient for each message");
            } else {
                assert!(!line.starts_with('.') || line.starts_with(".."), "{line:?}");
            }
            continue;
        }
        match line.split([' ', ':']).next().unwrap() {
            "MAIL" => recipients = 0,
            "RCPT" => recipients += 1,
            "DATA" => is_message = true,
            verb => assert!(["EHLO", "QUIT", "RSET"].contains(&verb), "{line:?}"),
        }
    }
    messages
}

#[tokio::test]
async fn no_note_or_name_becomes_an_smtp_command() {
    let mut world = World::start().await;
    let notes = [
        "Hello\n.\nMAIL FROM:<eve@evil.co>\nRCPT TO:<victim@b.co>\nDATA\nboo\n.\nQUIT",
        ".\n..\n...\n.hidden",
        "\n.\n",
        "From eve Mon Jan 1\nBcc: victim@b.co\n\nboo",
        "--boundary--\nContent-Type: text/html\n\nboo",
        "=0D=0A.=0D=0AQUIT",
    ];
    let items = notes
        .iter()
        .enumerate()
        .map(|(number, note)| NewInvitation {
            message: (*note).to_owned(),
            ..item(&format!("p{number}@b.co"))
        });
    let request = create_request(items.collect());
    let answer = world.bulk_create(request).await;
    // The accepted notes may contain any text.
    let accepted = answer
        .results
        .iter()
        .filter(|result| result.outcome() == CreateOutcome::Created)
        .count();
    assert!(accepted >= 4, "{accepted}");
    for result in answer
        .results
        .iter()
        .filter(|result| result.error.is_some())
    {
        assert_eq!(item_reason(result), ErrorReason::MessageInvalid);
    }
    // Values written directly to the database: line ends of every kind in every variable of an email.
    let evil = "A\r\n.\r\nQUIT\r.\r\n\n.\n\u{85}.\u{2028}x";
    for statement in [
        "UPDATE organizations SET name = $1 WHERE id = 'acme'",
        "UPDATE users SET name = $1 WHERE id = 'ada'",
        "UPDATE invitations SET message = $1, role = $1 WHERE email = 'p0@b.co'",
    ] {
        sqlx::query(statement)
            .bind(evil)
            .execute(&mut world.database().await)
            .await
            .unwrap();
    }
    assert_eq!(world.deliver_all().await, accepted);
    let messages: usize = world
        .relay
        .connections()
        .iter()
        .map(|connection| count_messages_of_valid_conversation(&connection.bytes))
        .sum();
    assert_eq!(messages, accepted);
    let recipients: Vec<_> = world.mailbox().into_iter().map(|mail| mail.to).collect();
    assert!(!recipients.iter().any(|to| to.contains("victim")));
}

#[tokio::test]
async fn invited_people_and_members_receive_no_further_email() {
    let mut world = World::start().await;
    world.invite(&["a@b.co", "grace@example.com"]).await;
    assert_eq!(world.deliver_all().await, 1, "a member received an email");
    for on_existing in [OnExisting::Fail, OnExisting::Return] {
        for email in [
            "a@b.co",
            "A@B.CO",
            " a@b.co",
            "grace@example.com",
            "GRACE@example.com",
        ] {
            let request = BulkCreateRequest {
                on_existing: on_existing.into(),
                ..invite_request(&[email, email])
            };
            world.client().bulk_create(request).await.unwrap();
        }
    }
    assert_eq!(world.deliver_all().await, 0);
    // A person who has accepted is a member and receives no further invitation.
    let token = world.mail_to("a@b.co").token();
    world.accept(&token, "new", "a@b.co").await.unwrap();
    for on_existing in [OnExisting::Resend, OnExisting::Replace] {
        let request = BulkCreateRequest {
            on_existing: on_existing.into(),
            ..invite_request(&["a@b.co", "grace@example.com"])
        };
        let answer = world.bulk_create(request).await;
        for result in &answer.results {
            assert_eq!(item_reason(result), ErrorReason::AlreadyMember);
        }
    }
    assert_eq!((world.deliver_all().await, world.mailbox().len()), (0, 1));
}

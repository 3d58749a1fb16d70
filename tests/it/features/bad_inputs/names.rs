//! Names of organizations and users, which strangers write and which appear in emails.

use prost::Message as _;
use tonic::Code;

use super::{contains, echoes};
use crate::support::directory::{organization, user};
use crate::support::{ACME, World, accept_request, created, field_violations, status_reason};

const INVALID: &str = "ERROR_REASON_NAME_INVALID";
const TOO_LONG: &str = "ERROR_REASON_NAME_TOO_LONG";
const LINK: &str = "ERROR_REASON_NAME_CONTAINS_LINK";

/// Upserts a user and an organization with each name. Fails unless both are refused for this reason.
async fn assert_names_refused(names: &[&str], expected: &str) {
    let world = World::start().await;
    let users = names.iter().map(|name| user("eve", name, &[]));
    let users = world.upsert_users(users.collect()).await;
    let organizations = names.iter().map(|name| organization(ACME, name));
    let organizations = world.upsert_organizations(organizations.collect()).await;
    for results in [users, organizations] {
        for (name, result) in names.iter().zip(results) {
            let shown = &name.chars().take(40).collect::<String>();
            let error = result
                .error
                .unwrap_or_else(|| panic!("{shown:?} was accepted"));
            assert_eq!(error.reason().as_str_name(), expected, "{shown:?}");
            assert_eq!(Code::from_i32(error.code), Code::InvalidArgument);
            assert!(
                !contains(&error.encode_to_vec(), name),
                "{shown:?} is echoed"
            );
        }
    }
}

#[tokio::test]
async fn a_name_with_a_control_or_invisible_character_or_markup_is_refused() {
    let names = [
        "Eve\r\nBcc: x@y.zz",
        "Eve\0Smith",
        "Eve\x1b[31m",
        "\u{202e}moc.live",
        "Eve\u{2066}Smith",
        "Eve\u{200b}Smith",
        "Eve\u{2028}Smith",
        "\u{feff}Eve",
        "<a href=//e>Eve</a>",
        "<b>Eve",
    ];
    assert_names_refused(&names, INVALID).await;
}

#[tokio::test]
async fn a_name_that_contains_a_link_is_refused() {
    let names = [
        "Visit https://evil.example",
        "WWW.evil",
        "Win at evil.com, now",
        "Win..evil.com",
        "evil\u{3002}com",
        "\u{ff45}vil\u{ff0e}com",
        "eve@evil.example",
        "mailto:eve",
        "10.0.0.1",
        "evil.xn--p1ai",
    ];
    assert_names_refused(&names, LINK).await;
}

#[tokio::test]
async fn a_name_over_a_hundred_characters_is_refused() {
    let names = [
        "x".repeat(101),
        "x".repeat(3_000),
        "\u{1f600}".repeat(101),
        " ".repeat(1 << 20),
    ];
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_names_refused(&names, TOO_LONG).await;
}

#[tokio::test]
async fn a_name_in_any_script_is_stored_and_shown() {
    let mut world = World::start().await;
    let emoji = "\u{1f469}\u{200d}\u{1f4bb}".repeat(32);
    let cjk = "\u{682a}\u{5f0f}\u{4f1a}\u{793e}".repeat(16);
    let combining = "e\u{301}\u{302}";
    for (number, name) in [emoji.as_str(), &cjk, combining].into_iter().enumerate() {
        world.add_user("ada", name, &["ada@example.com"]).await;
        let email = format!("{number}@b.co");
        let invitation = created(&world.invite(&[&email]).await.results[0]);
        assert_eq!(invitation.inviter_name, name);
        world.deliver_all().await;
        let start: String = name.chars().take(3).collect();
        assert!(world.mail_to(&email).text.contains(&start), "{name}");
    }
}

#[tokio::test]
async fn the_name_of_an_accepting_user_is_checked() {
    let mut world = World::start().await;
    let (_, token) = world.invite_one("a@b.co").await;
    for (name, expected) in [
        ("Eve\r\nBcc: x@y.zz", "NAME_INVALID"),
        ("see https://evil.example", "NAME_CONTAINS_LINK"),
        (&*"x".repeat(101), "NAME_TOO_LONG"),
    ] {
        let mut request = accept_request(&token, "new", "a@b.co");
        name.clone_into(&mut request.user_name);
        let status = world.client().accept(request).await.err().unwrap();
        assert!(!echoes(&status, name), "{name:?} is echoed");
        assert_eq!(status.code(), Code::InvalidArgument);
        let violation = ("user_name".to_owned(), expected.to_owned());
        assert_eq!(field_violations(&status)[0], violation);
        assert_eq!(status_reason(&status), expected);
    }
}

#[tokio::test]
async fn a_malicious_name_in_the_database_adds_no_header_to_an_email() {
    let mut world = World::start().await;
    world
        .execute(
            "UPDATE users SET name = E'Eve\\r\\nBcc: x@y.zz\\r\\n\\r\\n<script>' WHERE id = 'ada'",
        )
        .await;
    world
        .execute("UPDATE organizations SET name = E'Acme\\nTo: x@y.zz'")
        .await;
    created(&world.invite(&["a@b.co"]).await.results[0]);
    world.deliver_all().await;
    let mail = world.mail_to("a@b.co");
    let raw = String::from_utf8(mail.raw.clone()).unwrap();
    let head = raw.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    assert!(!head.contains("\r\nbcc:"), "{head}");
    assert_eq!(head.matches("\r\nto:").count(), 1, "{head}");
    assert_eq!(world.mailbox().len(), 1);
    assert!(!mail.html.contains("<script"), "{}", mail.html);
}

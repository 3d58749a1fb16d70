//! Tests of composed messages. No transport is involved.

use mail_parser::MessageParser;
use time::macros::datetime;

use super::*;
use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;
use crate::mail::message::{EmailKind, SenderError};

pub(crate) fn composer() -> Composer {
    let sender = Sender::parse(
        "Acme invitations",
        "invites@acme.example",
        Some("bounce@acme.example"),
    );
    Composer::new(sender.unwrap()).unwrap()
}

pub(crate) fn invitation() -> InvitationEmail {
    InvitationEmail {
        kind: EmailKind::Invitation,
        message_id: "inv.0199.1.1@mail.acme.example".to_owned(),
        date: datetime!(2026-11-22 19:00:00 UTC),
        to: EmailAddress::parse("alice@example.com").unwrap(),
        organization_name: "Northwind Traders".to_owned(),
        brand: Brand::default(),
        inviter_name: Some("Ada Lovelace".to_owned()),
        role: "member".to_owned(),
        note: Some("Hello Alice,\nwe start on Monday.\r\n\r\n.\nAda".to_owned()),
        link: "https://app.acme.example/invitations/0199?src=mail&v=1#sEcReT_tOkEn"
            .to_owned()
            .into(),
        expires_at: datetime!(2026-12-22 18:48 UTC),
        locale: "en".to_owned(),
        envelope_from: None,
        unsubscribe_url: None,
    }
}

fn parts(mail: &ComposedMessage) -> (String, String) {
    let message = MessageParser::default().parse(mail.bytes()).unwrap();
    assert_eq!(
        (message.text_body_count(), message.html_body_count()),
        (1, 1)
    );
    let text = message.body_text(0).unwrap().replace("\r\n", "\n");
    let html = message.body_html(0).unwrap().into_owned();
    (text, html)
}

fn header(mail: &ComposedMessage, name: &str) -> String {
    let message = MessageParser::default().parse(mail.bytes()).unwrap();
    message
        .header_raw(name)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// Names and notes that try to add headers, markup or template code.
fn hostile_texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "A\r\nBcc: victim@example.org",
        "A\nX-Evil: 1\n\nbody",
        "A\0B\u{7}",
        "\r",
        "<script>alert(1)</script>",
        "\"><img src=https://evil.example/p.gif>",
        "{{ link }} {% raw %} {{ 7*7 }}",
        "=?utf-8?q?x?= =\r\n.\r\nQUIT",
        "safe\u{202e}txt.exe",
        "例え株式会社\u{1f469}\u{200d}\u{1f4bb}",
        "شركة الشمال",
        "",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push("例".repeat(100));
    texts.push("\u{1f469}\u{200d}\u{1f4bb}".repeat(33));
    texts.push("a".repeat(3_000));
    texts
}

#[test]
fn a_composer_can_be_shared_between_threads() {
    fn is_shared<T: Send + Sync>(_: &T) {}
    is_shared(&composer());
}

#[test]
fn the_same_invitation_gives_the_same_bytes() {
    let first = composer().compose(&invitation()).unwrap();
    let again = composer().compose(&invitation()).unwrap();
    assert_eq!(first.bytes(), again.bytes());
    let other = InvitationEmail {
        message_id: "inv.0199.1.2@mail.acme.example".to_owned(),
        ..invitation()
    };
    assert_ne!(first.bytes(), composer().compose(&other).unwrap().bytes());
}

#[test]
fn headers_name_sender_recipient_and_date_and_mark_the_message_as_automatic() {
    let mail = composer().compose(&invitation()).unwrap();
    let expected = [
        ("From", "\"Acme invitations\" <invites@acme.example>"),
        ("To", "alice@example.com"),
        ("Subject", "Invitation to join Northwind Traders"),
        ("Date", "Sun, 22 Nov 2026 19:00:00 +0000"),
        ("Message-ID", "<inv.0199.1.1@mail.acme.example>"),
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
        ("MIME-Version", "1.0"),
    ];
    for (name, value) in expected {
        assert_eq!(header(&mail, name), value, "{name}");
    }
    let content_type = header(&mail, "Content-Type");
    assert!(
        content_type.starts_with("multipart/alternative;"),
        "{content_type}"
    );
    assert!(content_type.contains("boundary=\"=_"), "{content_type}");
    assert_eq!(mail.from().unwrap().to_string(), "bounce@acme.example");
    assert_eq!(mail.recipient().to_string(), "alice@example.com");
}

#[test]
fn the_text_and_the_html_part_contain_every_fact() {
    let mail = composer().compose(&invitation()).unwrap();
    let (text, html) = parts(&mail);
    let said = [
        "Northwind Traders",
        "Ada Lovelace",
        "member",
        "we start on Monday.",
        "alice@example.com",
        "Tuesday, 22 December 2026 at 18:48 UTC",
        "Opening the link alone changes nothing.",
    ];
    let flat = text.replace('\n', " ");
    for words in said {
        assert!(flat.contains(words), "text lacks {words}");
        assert!(html.contains(words), "html lacks {words}");
    }
    let link = "https://app.acme.example/invitations/0199?src=mail&v=1#sEcReT_tOkEn";
    assert!(text.lines().any(|line| line == link));
    assert!(html.contains(&format!("href=\"{}\"", link.replace('&', "&amp;"))));
    assert!(html.contains("Hello Alice,<br />we start on Monday.<br /><br />.<br />Ada"));
}

#[test]
fn without_an_inviter_and_a_note_their_sentences_are_left_out() {
    let mail = InvitationEmail {
        inviter_name: Some(" \r\n".to_owned()),
        note: None,
        ..invitation()
    };
    let (text, html) = parts(&composer().compose(&mail).unwrap());
    assert!(text.starts_with("You are invited to join Northwind Traders\n"));
    assert!(
        !text.contains("message f") && !text.contains("> "),
        "{text}"
    );
    assert!(!html.contains("message f") && !html.contains("class=\"note\""));
}

#[test]
fn names_and_notes_cannot_add_headers_or_markup() {
    let composer = composer();
    let quiet = composer.compose(&invitation()).unwrap();
    let names = |mail: &ComposedMessage| {
        let message = MessageParser::default().parse(mail.bytes()).unwrap();
        message
            .headers()
            .iter()
            .map(|header| header.name().to_owned())
            .collect::<Vec<_>>()
    };
    for text in hostile_texts() {
        let mail = InvitationEmail {
            organization_name: text.clone(),
            inviter_name: Some(text.clone()),
            role: text.clone(),
            note: Some(text.clone()),
            locale: text.clone(),
            ..invitation()
        };
        let hostile = composer.compose(&mail).unwrap();
        assert_eq!(names(&hostile), names(&quiet), "{text:?}");
        let (_, html) = parts(&hostile);
        for forbidden in ["<script", "<img", "\u{202e}", " 49 "] {
            assert!(!html.contains(forbidden), "{text:?} gave {forbidden}");
        }
        assert_wire_is_plain(hostile.bytes(), &text);
        let (text_part, _) = parts(&hostile);
        assert!(
            text_part
                .lines()
                .all(|line| line.chars().count() <= 78 || line.starts_with("https://")),
            "{text:?}"
        );
    }
}

fn assert_wire_is_plain(bytes: &[u8], of: &str) {
    assert!(bytes.is_ascii() && !bytes.contains(&0), "{of:?}");
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        assert!(rest[at..].starts_with(b"\r\n"), "a bare line end: {of:?}");
        assert!(at <= 998, "a line of {at} bytes: {of:?}");
        rest = &rest[at + 2..];
    }
    assert!(rest.is_empty(), "the last line has no end");
}

#[test]
fn the_subject_is_cut_to_78_characters() {
    for (name, whole) in [("x".repeat(59), true), ("例".repeat(100), false)] {
        let mail = InvitationEmail {
            organization_name: name.clone(),
            ..invitation()
        };
        let composed = composer().compose(&mail).unwrap();
        let message = MessageParser::default().parse(composed.bytes()).unwrap();
        let subject = message.subject().unwrap();
        assert_eq!(subject.chars().count(), 78);
        assert_eq!(subject.contains(&name), whole);
        assert_eq!(subject.ends_with('…'), !whole);
    }
}

#[test]
fn a_malformed_message_id_link_or_date_is_refused() {
    let composer = composer();
    for message_id in ["", "plain", "a@b@c", "a b@c", "a@b>\r\nX: y", "<a@b>"] {
        let mail = InvitationEmail {
            message_id: message_id.to_owned(),
            ..invitation()
        };
        let error = composer.compose(&mail).unwrap_err();
        assert!(matches!(error, ComposeError::MessageId), "{message_id:?}");
    }
    let links = [
        "",
        "/relative",
        "javascript:alert(1)",
        "ftp://x.example/",
        "https://x.example/\"onclick=",
        "https://x.example/<b>",
        "https://x.example/a b",
        "https://x.example/a\nb",
        "https://例え.jp/",
    ];
    for link in links {
        let mail = InvitationEmail {
            link: link.to_owned().into(),
            ..invitation()
        };
        let error = composer.compose(&mail).unwrap_err();
        assert!(matches!(error, ComposeError::Link), "{link:?}");
    }
    let mail = InvitationEmail {
        date: datetime!(1960-01-01 0:00 UTC),
        ..invitation()
    };
    let error = composer.compose(&mail).unwrap_err();
    assert!(matches!(error, ComposeError::Date));
}

#[test]
fn a_sender_with_a_malformed_name_or_address_is_refused() {
    let parse = |name, address| Sender::parse(name, address, None).map(|_| ());
    assert_eq!(parse("Acme, Inc. \"x\"", "a@b.co"), Ok(()));
    assert_eq!(parse("Ac\r\nBcc: x@y.zz", "a@b.co"), Err(SenderError::Name));
    assert_eq!(parse("", "a@b.co"), Err(SenderError::Name));
    assert_eq!(parse("Acme", "a@b.co\r\n"), Err(SenderError::Address));
    assert_eq!(
        Sender::parse("Acme", "a@b.co", Some("x")).map(|_| ()),
        Err(SenderError::EnvelopeFrom)
    );
}

#[test]
fn debug_output_shows_no_address_and_no_token() {
    let mail = invitation();
    let composed = composer().compose(&mail).unwrap();
    for printed in [format!("{mail:?}"), format!("{composed:?}")] {
        assert!(!printed.contains("alice@"), "{printed}");
        assert!(!printed.contains("sEcReT"), "{printed}");
    }
}

#[test]
fn every_valid_address_can_be_a_recipient() {
    for address in [
        "a`id`@c.co",
        "%@b.co",
        "-oX@b.co",
        "o'b+t@straße.de",
        "{x|y}@b.co",
    ] {
        let mail = InvitationEmail {
            to: EmailAddress::parse(address).unwrap(),
            ..invitation()
        };
        let composed = composer().compose(&mail).unwrap();
        assert_eq!(composed.recipient().to_string(), mail.to.mailbox());
    }
}

#[test]
fn every_valid_redirect_url_can_be_a_link() {
    let origins = ["https://app.example.com".to_owned()];
    let longest = format!("https://app.example.com/?x={}", "y".repeat(2_020));
    for url in [
        "https://app.example.com/o'brien",
        "https://app.example.com/?a={b}|c^",
        "https://app.example.com/%20?q=a+b&c=`d`#e",
        &longest,
    ] {
        let url = crate::domain::redirect_url::parse(url, &origins).unwrap();
        let token = format!("invitation_token={}", "x".repeat(72));
        let link = match url.split_once('#') {
            Some((url, fragment)) => format!("{url}&{token}#{fragment}"),
            None => format!("{url}?{token}"),
        };
        assert!(is_link(&link), "{link}");
    }
}

#[test]
fn a_recipient_can_stop_further_email_with_one_click() {
    let longest = format!("https://mail.acme.example/u/{}", "x".repeat(900 - 28));
    for url in ["https://mail.acme.example/u/abc?x=1&y=2", &longest] {
        let mail = InvitationEmail {
            unsubscribe_url: Some(url.to_owned().into()),
            ..invitation()
        };
        let composed = composer().compose(&mail).unwrap();
        let wire = String::from_utf8(composed.bytes().to_vec()).unwrap();
        // RFC 8058 §3: both headers, the URL in angle brackets, and neither folded.
        let lines: Vec<&str> = wire.split("\r\n").collect();
        let header = format!("List-Unsubscribe: <{url}>");
        assert!(lines.contains(&header.as_str()), "{wire}");
        assert!(lines.contains(&"List-Unsubscribe-Post: List-Unsubscribe=One-Click"));
        assert_wire_is_plain(composed.bytes(), url);
        let (text, html) = parts(&composed);
        assert!(text.lines().any(|line| line == url), "{text}");
        let anchor = format!("<a href=\"{}\"", url.replace('&', "&amp;"));
        assert!(html.contains(&anchor) && html.contains(">No more invitations to this address<"));
    }
    let mail = composer().compose(&invitation()).unwrap();
    assert!(!String::from_utf8_lossy(mail.bytes()).contains("nsubscribe"));
    for url in [
        "mailto:x@y.zz",
        "https://x.example/\r\nBcc:",
        &format!("{longest}x"),
    ] {
        let mail = InvitationEmail {
            unsubscribe_url: Some(url.to_owned().into()),
            ..invitation()
        };
        let error = composer().compose(&mail).unwrap_err();
        assert!(matches!(error, ComposeError::Link), "{url}");
    }
}

#[test]
fn a_brand_changes_the_body_and_no_header() {
    let brand = Brand::from_stored(
        "https://cdn.acme.example/logo.png",
        "#0f766e",
        "help@acme.example",
    );
    let mail = InvitationEmail {
        kind: EmailKind::Reminder,
        brand,
        ..invitation()
    };
    let composed = composer().compose(&mail).unwrap();
    assert_eq!(
        header(&composed, "From"),
        "\"Acme invitations\" <invites@acme.example>"
    );
    assert_eq!(header(&composed, "Reply-To"), "");
    let (text, html) = parts(&composed);
    assert!(text.contains("Questions? Write to help@acme.example"));
    assert!(html.contains("src=\"https://cdn.acme.example/logo.png\""));
    let subject = "Reminder: your invitation to Northwind Traders expires on 22 December";
    assert_eq!(header(&composed, "Subject").replace("\r\n", ""), subject);
}

//! Templates escape text of other people everywhere in an email.

use invitations::domain::brand::Brand;
use invitations::mail::message::{EmailKind, InvitationEmail};
use mail_parser::{Message, MessageParser};
use scraper::{ElementRef, Html};

use crate::support::smtp_session::{compose, invitation_mail};

/// Text that could break out of text, attributes, comments, styles, templates and headers.
const PAYLOADS: [&str; 40] = [
    "<script>alert(1)</script>",
    "</td></tr></table><h1>x</h1>",
    "<img src=x onerror=alert(1)>",
    "<a href=\"https://evil.example\">x</a>",
    "\"><img src=x>",
    "' onmouseover='alert(1)",
    "\" style=\"display:none\" x=\"",
    "<!--",
    "--><b>x</b><!--",
    "<![CDATA[<b>x</b>]]>",
    "</title><b>x</b>",
    "</style><b>x</b>",
    "</head><body><b>x</b>",
    "</textarea><b>x</b>",
    "</a><a href=https://evil.example>x",
    "<svg onload=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)>",
    "<math><mtext><table><mglyph><style><img src=x>",
    "<iframe src=https://evil.example>",
    "<base href=https://evil.example>",
    "<meta http-equiv=refresh content=0;url=https://evil.example>",
    "<link rel=stylesheet href=https://evil.example>",
    "<form action=https://evil.example><input>",
    "<plaintext>",
    "<noscript><p title=\"</noscript><img src=x>\">",
    "<template><b>x</b></template>",
    "&lt;b&gt;x&lt;/b&gt;",
    "&#60;b&#62;x",
    "&#x3c;b&#x3e;x",
    "&amp;lt;b&amp;gt;",
    "\u{ff1c}b\u{ff1e}x",
    "<\0b>x",
    "<b\u{a0}>x",
    "{{ 7 * 7 }}",
    "{% raw %}<b>x</b>{% endraw %}",
    "[[headline]]<b>x</b>",
    "{{ note | safe }}<b>x</b>",
    "<mj-text>x</mj-text><mj-raw><b>x</b></mj-raw>",
    "<!--[if mso]><b>x</b><![endif]-->",
    "=3Cb=3Ex\r\nContent-Type: text/html\r\n\r\n<b>x</b>",
];

/// The variables of an email whose values come from other people.
const VARIABLES: [fn(&mut InvitationEmail, String); 6] = [
    |mail, text| mail.organization_name = text,
    |mail, text| mail.inviter_name = Some(text),
    |mail, text| mail.role = text,
    |mail, text| mail.note = Some(text),
    |mail, text| mail.locale = text,
    |mail, text| mail.brand = Brand::from_stored(&text, &text, &text),
];

fn mail(kind: EmailKind, locale: &str) -> InvitationEmail {
    InvitationEmail {
        kind,
        locale: locale.to_owned(),
        organization_name: "x".to_owned(),
        inviter_name: Some("x".to_owned()),
        role: "x".to_owned(),
        unsubscribe_url: Some("https://mail.example/u/x".to_owned().into()),
        ..invitation_mail("inv.1.1.1", "reader@example.com", "x")
    }
}

/// Lists the elements with their attribute names, and the values of attributes that a mail client acts on.
fn tree(element: ElementRef<'_>, depth: usize, lines: &mut Vec<String>) {
    let mut attributes: Vec<String> = element
        .value()
        .attrs()
        .map(|(name, value)| match name {
            "href" | "src" | "action" | "style" | "class" | "http-equiv" | "background" => {
                format!("{name}={value}")
            }
            name => name.to_owned(),
        })
        .collect();
    attributes.sort();
    let name = element.value().name();
    lines.push(format!("{depth} {name} {}", attributes.join(" ")));
    for child in element.children().filter_map(ElementRef::wrap) {
        tree(child, depth + 1, lines);
    }
}

/// Returns the structure of an email: its HTML elements, the number of its comments, the names of its headers, and the
/// number of its parts.
fn structure(mail: &InvitationEmail) -> (Vec<String>, usize, Vec<String>, usize) {
    let composed = compose(mail);
    let bytes = composed.bytes();
    let message: Message<'_> = MessageParser::default().parse(bytes).unwrap();
    let html = message.body_html(0).unwrap().into_owned();
    let page = Html::parse_document(&html);
    let mut lines = Vec::new();
    tree(page.root_element(), 0, &mut lines);
    let comments = page
        .tree
        .nodes()
        .filter(|node| node.value().is_comment())
        .count();
    let headers = message.headers().iter();
    let headers = headers.map(|header| header.name().to_owned()).collect();
    (lines, comments, headers, message.parts.len())
}

#[test]
fn no_variable_of_an_email_adds_an_element_a_header_or_a_part() {
    let locales = ["en", "de", "es", "fr", "pt-BR", "ja", "zh-Hans", "ar"];
    for (number, payload) in PAYLOADS.into_iter().enumerate() {
        // In all variables at once, in one language after the other.
        let kind = [EmailKind::Invitation, EmailKind::Reminder][number % 2];
        let locale = locales[number % locales.len()];
        let expected = structure(&mail(kind, locale));
        assert!(expected.0.len() > 20, "{:?}", expected.0);
        let mut with_payload = mail(kind, locale);
        for fill in &VARIABLES[..4] {
            fill(&mut with_payload, payload.to_owned());
        }
        // A note of several lines has several elements.
        if !payload.contains('\n') {
            assert_eq!(structure(&with_payload), expected, "{payload} in {locale}");
        }
        // In one variable at a time.
        let expected = structure(&mail(EmailKind::Invitation, "en"));
        for (at, fill) in VARIABLES.into_iter().enumerate() {
            let mut with_payload = mail(EmailKind::Invitation, "en");
            fill(&mut with_payload, payload.to_owned());
            if !(at == 3 && payload.contains('\n')) {
                assert_eq!(
                    structure(&with_payload),
                    expected,
                    "{payload} in variable {at}"
                );
            }
        }
    }
}

#[test]
fn every_line_of_a_note_is_escaped() {
    let lines = ["<b>", "{{ link }}", "</p>", "-->"];
    let with_note = |note: String| InvitationEmail {
        note: Some(note),
        ..mail(EmailKind::Invitation, "en")
    };
    let plain = with_note(["x"; 4].join("\n"));
    let with_payload = with_note(lines.join("\n"));
    assert_eq!(structure(&with_payload), structure(&plain));
}

#[test]
fn the_structure_comparison_detects_injected_markup() {
    // Shows that the tests above can fail.
    let clean = Html::parse_document("<p class=\"a\">x</p>");
    for dirty in [
        "<p class=\"a\">x<b></b></p>",
        "<p class=\"a\" onclick=\"x\">x</p>",
        "<p class=\"b\">x</p>",
        "<p class=\"a\">x</p><p>",
    ] {
        let lines = |page: &Html| {
            let mut lines = Vec::new();
            tree(page.root_element(), 0, &mut lines);
            lines
        };
        assert_ne!(
            lines(&Html::parse_document(dirty)),
            lines(&clean),
            "{dirty}"
        );
    }
}

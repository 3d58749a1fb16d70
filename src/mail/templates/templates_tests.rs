//! Tests of the built-in templates: every email in every language.

use std::collections::BTreeSet;

use time::macros::datetime;

use super::email_rendering::{RenderedParts, SUBJECT_CHARS_MAX, wrap};
use super::*;
use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;
use crate::mail::invitation_email::{EmailKind, InvitationEmail};

const LOGO_URL: &str = "https://cdn.example.com/acme/logo.png?v=1&w=2";
const UNSUBSCRIBE_URL: &str = "https://mail.example.com/u/abc?x=1&y=2";
pub(super) const LINK: &str = "https://app.example.com/i?a=1&b=2#abc";
/// The longest name that the domain allows.
const LONG_NAME: &str = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft von 1899 und Söhne";

pub(super) fn email() -> InvitationEmail {
    InvitationEmail {
        kind: EmailKind::Invitation,
        message_id: "1@example.com".to_owned(),
        date: datetime!(2026-11-22 18:48 UTC),
        to: EmailAddress::parse("alice@example.com").unwrap(),
        organization_name: "Northwind".to_owned(),
        brand: Brand::default(),
        inviter_name: None,
        role: "member".to_owned(),
        note: None,
        link: LINK.to_owned().into(),
        expires_at: datetime!(2026-12-22 20:48:59 +2),
        locale: "en".to_owned(),
        envelope_from: None,
        unsubscribe_url: None,
    }
}

pub(super) fn render(
    templates: &Templates,
    language: &str,
    email: &InvitationEmail,
) -> RenderedParts {
    let email = InvitationEmail {
        locale: language.to_owned(),
        ..email.clone()
    };
    templates.render(&email, "Acme invitations").unwrap()
}

fn brand() -> Brand {
    Brand::from_stored(LOGO_URL, "#0F766E", "o'help+us@example.com")
}

/// Every combination of options, with short and with the longest names.
fn variants(brand: &Brand) -> Vec<InvitationEmail> {
    let variant = |number: u32| {
        let has = |choice: u32| number & 1 << choice != 0;
        let name = |short: &str| if has(5) { LONG_NAME } else { short }.to_owned();
        let note = || format!("{}\n{}", "word ".repeat(50), "例".repeat(200));
        InvitationEmail {
            kind: if has(0) {
                EmailKind::Reminder
            } else {
                EmailKind::Invitation
            },
            organization_name: name("Northwind"),
            inviter_name: has(1).then(|| name("Ada Lovelace")),
            note: has(2).then(note),
            brand: if has(3) {
                brand.clone()
            } else {
                Brand::default()
            },
            unsubscribe_url: has(4).then(|| UNSUBSCRIBE_URL.to_owned().into()),
            ..email()
        }
    };
    (0..64).map(variant).collect()
}

/// The URLs that a mail client loads, or opens after a click.
fn urls(html: &str) -> BTreeSet<String> {
    html.match_indices("://")
        .map(|(at, _)| {
            let start = html[..at]
                .rfind(|character: char| !character.is_ascii_alphabetic())
                .map_or(0, |before| before + 1);
            let rest = &html[start..];
            let end = rest.find(['"', '<', ' ', ')']).unwrap_or(rest.len());
            rest[..end].replace("&amp;", "&")
        })
        .collect()
}

#[test]
fn the_locale_that_fits_best_is_used() {
    let templates = Templates::embedded().unwrap();
    let cases = [
        ("en", "en"),
        ("EN-gb", "en"),
        ("", "en"),
        ("../etc", "en"),
        ("nl", "en"),
        ("de", "de"),
        ("de-AT", "de"),
        ("pt-BR", "pt-BR"),
        ("pt", "pt-BR"),
        ("pt-PT", "pt-BR"),
        ("zh-hans", "zh-Hans"),
        ("zh-CN", "zh-Hans"),
        ("zh", "zh-Hans"),
        ("zh-Hant", "en"),
        ("zh-TW", "en"),
        ("ar-EG", "ar"),
        ("ja", "ja"),
        ("es-419", "es"),
        ("fr-CA", "fr"),
    ];
    for (wanted, language) in cases {
        assert_eq!(templates.locale(wanted).language, language, "{wanted}");
    }
}

#[test]
fn the_built_in_templates_render_every_combination() {
    Templates::embedded().unwrap().check().unwrap();
}

#[test]
fn every_email_in_every_language_has_its_links_and_loads_nothing_but_the_logo() {
    let templates = Templates::embedded().unwrap();
    let brand = brand();
    for locale in templates.locales.values() {
        let language = locale.language.as_str();
        let direction = if language == "ar" { "rtl" } else { "ltr" };
        let html_tag = format!("<html lang=\"{language}\" dir=\"{direction}\"");
        for email in variants(&brand) {
            let mail = render(&templates, language, &email);
            assert!(mail.html.contains(&html_tag), "{language}");
            assert!(mail.html.len() < 102 * 1_024 / 2, "{}", mail.html.len());
            assert!(mail.subject.chars().count() <= SUBJECT_CHARS_MAX);
            assert!(
                mail.subject.contains(&email.organization_name[..9]),
                "{}",
                mail.subject
            );
            assert_text_is_complete(&mail.text, &email);
            let mut expected =
                BTreeSet::from([LINK.to_owned(), "http://www.w3.org/1999/xhtml".to_owned()]);
            expected.extend(email.brand.logo_url.clone());
            let unsubscribe_url = email.unsubscribe_url.as_ref();
            expected.extend(unsubscribe_url.map(|_| UNSUBSCRIBE_URL.to_owned()));
            assert_eq!(urls(&mail.html), expected, "{language}");
            let pictures = usize::from(email.brand.logo_url.is_some());
            assert_eq!(mail.html.matches("src=").count(), pictures);
            for fetched in ["<link", "url(", "@import", "fonts.", "{{", "{%", "[["] {
                assert!(!mail.html.contains(fetched), "{fetched} in {language}");
            }
        }
    }
}

fn assert_text_is_complete(text: &str, email: &InvitationEmail) {
    let lines: Vec<&str> = text.lines().collect();
    let flat = lines.join(" ");
    let occurs = |url| lines.iter().filter(|line| **line == url).count();
    assert_eq!((occurs(LINK), text.matches(LINK).count()), (1, 1));
    let unsubscribes = usize::from(email.unsubscribe_url.is_some());
    assert_eq!(occurs(UNSUBSCRIBE_URL), unsubscribes);
    let is_url = |line: &str| line == LINK || line == UNSUBSCRIBE_URL;
    for line in lines.iter().filter(|line| !is_url(line)) {
        assert!(line.chars().count() <= 78, "{line}");
    }
    for words in ["member", "alice@example.com", "2026", "18:48"] {
        assert!(flat.contains(words), "{words} in {text}");
    }
    let support = email.brand.support_email.as_ref();
    assert_eq!(flat.contains("o'help+us@example.com"), support.is_some());
    assert!(!text.contains("\n\n\n"), "{text}");
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text:?}");
}

#[test]
fn every_locale_has_every_fact_in_both_parts() {
    let templates = Templates::embedded().unwrap();
    let email = InvitationEmail {
        brand: brand(),
        inviter_name: Some("Ada Lovelace".to_owned()),
        note: Some("See you on Monday.".to_owned()),
        ..email()
    };
    for kind in [EmailKind::Invitation, EmailKind::Reminder] {
        for language in templates.languages() {
            let email = InvitationEmail {
                kind,
                ..email.clone()
            };
            let rendered = render(&templates, language, &email);
            for part in [&rendered.html, &rendered.text] {
                for word in ["Northwind", "Ada Lovelace", "member", "See you on Monday."] {
                    assert!(part.contains(word), "{word} in {language}");
                }
            }
        }
    }
}

#[test]
fn a_reminder_differs_from_the_invitation() {
    let templates = Templates::embedded().unwrap();
    let email = InvitationEmail {
        kind: EmailKind::Reminder,
        ..email()
    };
    for language in templates.languages() {
        let invitation = render(&templates, language, &self::email());
        let reminder = render(&templates, language, &email);
        assert_ne!(reminder.subject, invitation.subject);
        assert!(reminder.subject.contains("22"), "{}", reminder.subject);
        let first = |text: &str| text.lines().next().map(str::to_owned);
        assert_ne!(first(&reminder.text), first(&invitation.text));
    }
    let english = render(&templates, "en", &email);
    let subject = "Reminder: your invitation to Northwind expires on 22 December";
    assert_eq!(english.subject, subject);
}

#[test]
fn a_brand_is_shown_only_if_there_is_one() {
    let templates = Templates::embedded().unwrap();
    let branded = InvitationEmail {
        brand: brand(),
        organization_name: "A & \"B\"".to_owned(),
        ..email()
    };
    let html = render(&templates, "en", &branded).html;
    let logo = format!(
        "src=\"{}\" alt=\"A &amp; &quot;B&quot;\"",
        LOGO_URL.replace('&', "&amp;")
    );
    assert!(html.contains(&logo), "{html}");
    assert!(html.contains("bgcolor=\"#0f766e\""), "{html}");
    let support =
        "<a href=\"mailto:o%27help%2Bus@example.com\" dir=\"ltr\">o&#x27;help+us@example.com</a>";
    assert!(html.contains(support), "{html}");
    let html = render(&templates, "en", &email()).html;
    assert!(!html.contains("<img") && !html.contains("mailto:") && !html.contains("Questions?"));
    assert!(html.contains("bgcolor=\"#2563eb\""));
}

#[test]
fn the_date_is_written_in_utc() {
    let templates = Templates::embedded().unwrap();
    let rendered = render(&templates, "en", &email());
    for part in [&rendered.html, &rendered.text] {
        assert!(part.contains("Tuesday, 22 December 2026 at 18:48 UTC"));
    }
    let first = InvitationEmail {
        expires_at: datetime!(2027-01-01 8:00 UTC),
        ..email()
    };
    for (language, date) in [
        ("fr", "vendredi 1er janvier 2027"),
        ("pt-BR", "1º de janeiro"),
        ("ja", "2027年1月1日（金）"),
    ] {
        let text = render(&templates, language, &first).text;
        assert!(text.contains(date), "{text}");
    }
}

#[test]
fn a_right_to_left_locale_mirrors_the_layout() {
    let templates = Templates::embedded().unwrap();
    let html = render(&templates, "ar", &email()).html;
    assert!(!html.contains("align=\"left\""));
}

#[test]
fn wrapping_keeps_links_whole_and_quotes_quoted() {
    let link = format!("https://app.example.com/i#{}", "a".repeat(100));
    let long = "word ".repeat(40);
    let wrapped = wrap(&format!("> {long}\n\n{link}\n"), &[&link]);
    let lines: Vec<&str> = wrapped.lines().collect();
    assert!(lines.contains(&link.as_str()));
    assert!(lines[1].starts_with("> word"));
    let is_short = |line: &&str| *line == link || line.chars().count() <= 78;
    assert!(lines.iter().all(is_short));
}

//! Tests of the embedded templates, and of what an operator's folder may and may not say.

use std::fs;

use time::macros::datetime;

use super::*;

const LOGO_URL: &str = "https://cdn.example.com/acme/logo.png?v=1&w=2";
const UNSUBSCRIBE_URL: &str = "https://mail.example.com/u/abc?x=1&y=2";
const LINK: &str = "https://app.example.com/i?a=1&b=2#abc";
/// As long as the domain lets names be.
const LONG_NAME: &str = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft von 1899 und Söhne";

static PLAIN: Brand = Brand {
    logo_url: None,
    color: None,
    support_email: None,
};

fn content() -> Content<'static> {
    Content {
        is_reminder: false,
        organization: "Northwind".to_owned(),
        brand: &PLAIN,
        inviter: None,
        role: "member".to_owned(),
        note_lines: Vec::new(),
        address: "alice@example.com",
        link: LINK,
        unsubscribe_url: None,
        expires_at: datetime!(2026-12-22 20:48:59 +2),
        sender: "Acme invitations",
    }
}

fn brand() -> Brand {
    Brand::from_stored(LOGO_URL, "#0F766E", "o'help+us@example.com")
}

/// Everything that can be there or not, with short words and with the longest.
fn variants(brand: &Brand) -> Vec<Content<'_>> {
    let mut variants = Vec::new();
    for number in 0..64u32 {
        let has = |choice: u32| number & 1 << choice != 0;
        let name = |short: &str| if has(5) { LONG_NAME } else { short }.to_owned();
        let note = || vec!["word ".repeat(50), "例".repeat(200)];
        variants.push(Content {
            is_reminder: has(0),
            organization: name("Northwind"),
            inviter: has(1).then(|| name("Ada Lovelace")),
            note_lines: if has(2) { note() } else { Vec::new() },
            brand: if has(3) { brand } else { &PLAIN },
            unsubscribe_url: has(4).then_some(UNSUBSCRIBE_URL),
            ..content()
        });
    }
    variants
}

/// What a mail client would ask a network for, or open when pressed.
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
fn everybody_reads_the_locale_that_fits_best() {
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
fn no_embedded_template_can_fail_a_mail() {
    Templates::embedded().unwrap().prove().unwrap();
}

#[test]
fn every_mail_in_every_language_keeps_its_promises() {
    let templates = Templates::embedded().unwrap();
    let brand = brand();
    for locale in templates.locales.values() {
        let language = locale.language.as_str();
        let direction = if language == "ar" { "rtl" } else { "ltr" };
        let html_tag = format!("<html lang=\"{language}\" dir=\"{direction}\"");
        for content in variants(&brand) {
            let mail = templates.render(language, &content).unwrap();
            assert!(mail.html.contains(&html_tag), "{language}");
            assert!(mail.html.len() < 102 * 1_024 / 2, "{}", mail.html.len());
            assert!(mail.subject.chars().count() <= SUBJECT_CHARS_MAX);
            assert!(
                mail.subject.contains(&content.organization[..9]),
                "{}",
                mail.subject
            );
            assert_text_stands_alone(&mail.text, &content);
            let mut expected =
                BTreeSet::from([LINK.to_owned(), "http://www.w3.org/1999/xhtml".to_owned()]);
            expected.extend(content.brand.logo_url.clone());
            expected.extend(content.unsubscribe_url.map(str::to_owned));
            assert_eq!(urls(&mail.html), expected, "{language}");
            let pictures = usize::from(content.brand.logo_url.is_some());
            assert_eq!(mail.html.matches("src=").count(), pictures);
            for fetched in ["<link", "url(", "@import", "fonts.", "{{", "{%", "[["] {
                assert!(!mail.html.contains(fetched), "{fetched} in {language}");
            }
        }
    }
}

fn assert_text_stands_alone(text: &str, content: &Content<'_>) {
    let lines: Vec<&str> = text.lines().collect();
    let flat = lines.join(" ");
    let occurs = |url| lines.iter().filter(|line| **line == url).count();
    assert_eq!((occurs(LINK), text.matches(LINK).count()), (1, 1));
    let unsubscribes = usize::from(content.unsubscribe_url.is_some());
    assert_eq!(occurs(UNSUBSCRIBE_URL), unsubscribes);
    let is_url = |line: &str| line == LINK || line == UNSUBSCRIBE_URL;
    for line in lines.iter().filter(|line| !is_url(line)) {
        assert!(line.chars().count() <= 78, "{line}");
    }
    for words in ["member", "alice@example.com", "2026", "18:48"] {
        assert!(flat.contains(words), "{words} in {text}");
    }
    let support = content.brand.support_email.as_ref();
    assert_eq!(flat.contains("o'help+us@example.com"), support.is_some());
    assert!(!text.contains("\n\n\n"), "{text}");
    assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{text:?}");
}

#[test]
fn every_locale_says_everything_in_both_parts() {
    let templates = Templates::embedded().unwrap();
    let brand = brand();
    let content = Content {
        brand: &brand,
        inviter: Some("Ada Lovelace".to_owned()),
        note_lines: vec!["See you on Monday.".to_owned()],
        ..content()
    };
    for is_reminder in [false, true] {
        for language in templates.languages() {
            let content = Content {
                is_reminder,
                ..content.clone()
            };
            let rendered = templates.render(language, &content).unwrap();
            for part in [&rendered.html, &rendered.text] {
                for word in ["Northwind", "Ada Lovelace", "member", "See you on Monday."] {
                    assert!(part.contains(word), "{word} in {language}");
                }
            }
        }
    }
}

#[test]
fn a_reminder_says_what_it_is() {
    let templates = Templates::embedded().unwrap();
    let content = Content {
        is_reminder: true,
        ..content()
    };
    for language in templates.languages() {
        let invitation = templates.render(language, &self::content()).unwrap();
        let reminder = templates.render(language, &content).unwrap();
        assert_ne!(reminder.subject, invitation.subject);
        assert!(reminder.subject.contains("22"), "{}", reminder.subject);
        let first = |text: &str| text.lines().next().map(str::to_owned);
        assert_ne!(first(&reminder.text), first(&invitation.text));
    }
    let english = templates.render("en", &content).unwrap();
    let subject = "Reminder: your invitation to Northwind expires on 22 December";
    assert_eq!(english.subject, subject);
}

#[test]
fn a_brand_shows_and_nothing_of_it_without_one() {
    let templates = Templates::embedded().unwrap();
    let brand = brand();
    let branded = Content {
        brand: &brand,
        organization: "A & \"B\"".to_owned(),
        ..content()
    };
    let html = templates.render("en", &branded).unwrap().html;
    let logo = format!(
        "src=\"{}\" alt=\"A &amp; &quot;B&quot;\"",
        LOGO_URL.replace('&', "&amp;")
    );
    assert!(html.contains(&logo), "{html}");
    assert!(html.contains("bgcolor=\"#0f766e\""), "{html}");
    let support =
        "<a href=\"mailto:o%27help%2Bus@example.com\" dir=\"ltr\">o&#x27;help+us@example.com</a>";
    assert!(html.contains(support), "{html}");
    let html = templates.render("en", &content()).unwrap().html;
    assert!(!html.contains("<img") && !html.contains("mailto:") && !html.contains("Questions?"));
    assert!(html.contains("bgcolor=\"#2563eb\""));
}

#[test]
fn the_date_is_written_out_in_utc() {
    let templates = Templates::embedded().unwrap();
    let rendered = templates.render("en", &content()).unwrap();
    for part in [&rendered.html, &rendered.text] {
        assert!(part.contains("Tuesday, 22 December 2026 at 18:48 UTC"));
    }
    let first = Content {
        expires_at: datetime!(2027-01-01 8:00 UTC),
        ..content()
    };
    for (language, date) in [
        ("fr", "vendredi 1er janvier 2027"),
        ("pt-BR", "1º de janeiro"),
        ("ja", "2027年1月1日（金）"),
    ] {
        let text = templates.render(language, &first).unwrap().text;
        assert!(text.contains(date), "{text}");
    }
}

#[test]
fn a_locale_from_right_to_left_turns_the_layout() {
    let templates = Templates::embedded().unwrap();
    let html = templates.render("ar", &content()).unwrap().html;
    assert!(!html.contains("align=\"left\""));
}

/// The errors of a folder with these files.
fn errors(files: &[(&str, &str)]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let refused = Templates::with_folder(folder.path()).err();
    let errors = refused.map(|errors| errors.0).unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

fn english() -> String {
    Sources::embedded().locales[0].text.clone().into_owned()
}

#[test]
fn a_folder_replaces_files_and_adds_languages() {
    let folder = tempfile::tempdir().unwrap();
    let hebrew = english()
        .replace("language = \"en\"", "language = \"he\"")
        .replace("direction = \"ltr\"", "direction = \"rtl\"")
        .replace("View the invitation\"", "הצגת ההזמנה\"");
    fs::write(folder.path().join("he.toml"), hebrew).unwrap();
    let taiwan = english().replace("language = \"en\"", "language = \"zh-Hant\"");
    fs::write(folder.path().join("zh-Hant.toml"), taiwan).unwrap();
    let plain = "[[headline]]\n{{ link }}\n";
    fs::write(folder.path().join("invitation.txt"), plain).unwrap();
    fs::create_dir(folder.path().join("..2026_data")).unwrap();
    let templates = Templates::with_folder(folder.path()).unwrap();
    assert_eq!(templates.languages().count(), 10);
    let mail = templates.render("he-IL", &content()).unwrap();
    assert!(mail.html.contains("<html lang=\"he\" dir=\"rtl\""));
    assert!(mail.html.contains("הצגת ההזמנה"));
    assert_eq!(templates.locale("zh-TW").language, "zh-Hant");
    let mail = templates.render("de", &content()).unwrap();
    assert_eq!(
        mail.text,
        format!("Sie sind zu Northwind eingeladen\n{LINK}\n")
    );
}

#[test]
fn everything_wrong_with_a_folder_is_told_at_once() {
    let sentence = |from: &str, to: &str| english().replace(from, to);
    let found = errors(&[
        ("en.toml", &sentence("button = \"View", "knob = \"View")),
        ("nl.toml", "language = \"nl\""),
        ("invitation.txt", "{{ link }} {{ organisation }} [[footer]]"),
        ("invitation.html", "<p>"),
    ]);
    let expected = [
        "ar.toml: the sentence footer is missing",
        "de.toml: the sentence footer is missing",
        "en.toml: no layout has a place for the sentence knob",
        "en.toml: the sentence button is missing",
        "en.toml: the sentence footer is missing",
        "es.toml: the sentence footer is missing",
        "fr.toml: the sentence footer is missing",
        "invitation.html: a template is invitation.mjml, invitation.txt or LOCALE.toml",
        "invitation.txt: the placeholder organisation is unknown",
        "ja.toml: the sentence footer is missing",
        "nl.toml: TOML parse error",
        "pt-BR.toml: the sentence footer is missing",
        "zh-Hans.toml: the sentence footer is missing",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}");
    }
    let missing = Templates::with_folder(Path::new("/nowhere/templates"))
        .err()
        .unwrap();
    assert!(
        missing.to_string().starts_with("/nowhere/templates: "),
        "{missing}"
    );
}

/// Asserts of each file that a folder with it alone is refused, first of all for the expected reason.
fn assert_refused(cases: &[(&str, String, &str)]) {
    for (name, text, expected) in cases {
        let found = errors(&[(name, text)]);
        let first = found.first().map(String::as_str).unwrap_or_default();
        assert!(first.starts_with(expected), "{expected}\n{found:#?}");
    }
}

#[test]
fn a_locale_that_could_fail_a_mail_is_refused_before_the_first() {
    let english = english();
    assert_refused(&[
        (
            "en.toml",
            english.replace("button = \"View", "button = \"{{ inviter"),
            "en.toml, button: syntax error",
        ),
        (
            "en.toml",
            english.replace("View the invitation\"", "{{ invitor }}\""),
            "en.toml, button: the placeholder invitor is unknown",
        ),
        (
            "en.toml",
            english.replace("View the invitation\"", "<b>View</b>\""),
            "en.toml, button: a sentence is plain text, without <",
        ),
        (
            "en.toml",
            english.replace("at {{ time }}", "at {{ hour }}"),
            "en.toml, date: the placeholder hour is unknown",
        ),
        (
            "en.toml",
            format!("colour = \"red\"\n{english}"),
            "en.toml: TOML parse error",
        ),
        (
            "en.toml",
            english.replace("direction = \"ltr\"", "direction = \"up\""),
            "en.toml: TOML parse error",
        ),
        (
            "en.toml",
            english.replace(
                "subject = \"",
                &format!("subject = \"{}", "very ".repeat(10)),
            ),
            "en.toml, subject: over 62 characters",
        ),
        (
            "en.toml",
            english.replace("subject = \"", "subject = \"\\r\\nBcc: x@y.zz "),
            "en.toml, subject: a subject is one line",
        ),
        (
            "nl.toml",
            english.clone(),
            "nl.toml: the language is not the one of the file name",
        ),
        (
            "german.TOML",
            english.clone(),
            "german.TOML: a template is invitation.mjml",
        ),
        (
            "de_DE.toml",
            english.replace("\"en\"", "\"de_DE\""),
            "de_DE.toml: the file name is not a language tag",
        ),
    ]);
}

#[test]
fn a_layout_that_could_fail_a_mail_is_refused_before_the_first() {
    let embedded = Sources::embedded();
    assert_refused(&[
        (
            "invitation.txt",
            embedded.text.text.replace("{{ link }}", ""),
            "invitation.txt in ar: the link is not on a line of its own",
        ),
        (
            "invitation.txt",
            embedded
                .text
                .text
                .replace("{{ link }}", "{{ colors.knob }}"),
            "invitation.txt: the placeholder colors.knob is unknown",
        ),
        (
            "invitation.txt",
            embedded
                .text
                .text
                .replace("{{ role }}", "{{ role | shout }}"),
            "invitation.txt in ar: ",
        ),
        (
            "invitation.mjml",
            embedded.mjml.text.replace("</mj-column>", ""),
            "invitation.mjml: unexpected",
        ),
        (
            "invitation.mjml",
            embedded
                .mjml
                .text
                .replace("href=\"{{ link }}\"", "href=\"\"")
                .replace(">{{ link }}<", "><"),
            "invitation.mjml in ar: the link is missing",
        ),
        (
            "invitation.mjml",
            "x".repeat(300_000),
            "invitation.mjml: the file is over 256 KiB",
        ),
    ]);
}

#[test]
fn wrapping_leaves_links_alone_and_keeps_quoting() {
    let link = format!("https://app.example.com/i#{}", "a".repeat(100));
    let long = "word ".repeat(40);
    let wrapped = wrap(&format!("> {long}\n\n{link}\n"), &[&link]);
    let lines: Vec<&str> = wrapped.lines().collect();
    assert!(lines.contains(&link.as_str()));
    assert!(lines[1].starts_with("> word"));
    let is_short = |line: &&str| *line == link || line.chars().count() <= 78;
    assert!(lines.iter().all(is_short));
}

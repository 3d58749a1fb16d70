//! Tests of a folder of the operator, whose files replace the built-in templates or add languages.

use std::fs;
use std::path::Path;

use super::Templates;
use super::template_files::TemplateFiles;
use super::tests::{LINK, email, render};

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
    TemplateFiles::embedded().locales[0]
        .text
        .clone()
        .into_owned()
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
    let mail = render(&templates, "he-IL", &email());
    assert!(mail.html.contains("<html lang=\"he\" dir=\"rtl\""));
    assert!(mail.html.contains("הצגת ההזמנה"));
    assert_eq!(templates.locale("zh-TW").language, "zh-Hant");
    let mail = render(&templates, "de", &email());
    assert_eq!(
        mail.text,
        format!("Sie sind zu Northwind eingeladen\n{LINK}\n")
    );
}

#[test]
fn all_errors_of_a_folder_are_reported_at_once() {
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

/// Asserts that a folder with only this file is refused, with the expected reason first.
fn assert_refused(cases: &[(&str, String, &str)]) {
    for (name, text, expected) in cases {
        let found = errors(&[(name, text)]);
        let first = found.first().map(String::as_str).unwrap_or_default();
        assert!(first.starts_with(expected), "{expected}\n{found:#?}");
    }
}

#[test]
fn a_faulty_locale_is_refused_at_start() {
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
fn a_faulty_layout_is_refused_at_start() {
    let embedded = TemplateFiles::embedded();
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

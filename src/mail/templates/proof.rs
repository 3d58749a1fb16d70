//! The proof that no mail can fail for its template: every locale rendered with everything that may be there or not.

use time::OffsetDateTime;
use time::macros::datetime;

use super::problem::{TemplateError, TemplateErrors};
use super::source::{LAYOUT_MJML, LAYOUT_TEXT, LOCALE_SUFFIX};
use super::{Content, Locale, SUBJECT_CHARS_MAX, Templates};
use crate::domain::brand::Brand;

/// Gmail cuts off what is longer, in bytes, and hides the rest behind a link.
pub(super) const HTML_BYTES_MAX: usize = 102 * 1_024;
/// Longest subject without the organization's name, in characters: 16 are left for that.
const SUBJECT_WORDS_CHARS_MAX: usize = SUBJECT_CHARS_MAX - 16;

const LINK: &str = "https://app.example.com/join?a=1&b=2#token=inv1_example";
const UNSUBSCRIBE_URL: &str = "https://mail.example.com/u/example?a=1&b=2";
const EXPIRES_AT: OffsetDateTime = datetime!(2026-12-22 18:48 UTC);

/// What a mail may have or not have.
const CHOICES: u32 = 6;

/// Renders every locale in every combination.
pub(super) fn prove(templates: &Templates) -> Result<(), TemplateErrors> {
    let full = Brand::from_stored(
        "https://cdn.example.com/logo.png?a=1&b=2",
        "#0f766e",
        "help@example.com",
    );
    let mut errors = Vec::new();
    for locale in templates.locales.values() {
        for number in 0..1 << CHOICES {
            let has = |choice: u32| number & 1 << choice != 0;
            let brand = Brand {
                logo_url: full.logo_url.clone().filter(|_| has(0)),
                color: full.color.filter(|_| has(0)),
                support_email: full.support_email.clone().filter(|_| has(1)),
            };
            let content = Content {
                is_reminder: has(2),
                inviter: has(3).then(|| "Ada Lovelace".to_owned()),
                note_lines: if has(4) {
                    vec!["See you".to_owned(), String::new(), "Ada".to_owned()]
                } else {
                    Vec::new()
                },
                unsubscribe_url: has(5).then_some(UNSUBSCRIBE_URL),
                ..content(&brand)
            };
            errors.extend(mail_errors(templates, locale, &content));
        }
        errors.extend(subject_errors(templates, locale));
    }
    TemplateErrors::none_or(errors, ())
}

/// An ordinary mail.
fn content(brand: &Brand) -> Content<'_> {
    Content {
        is_reminder: false,
        organization: "Analytical Engines".to_owned(),
        brand,
        inviter: None,
        role: "member".to_owned(),
        note_lines: Vec::new(),
        address: "grace@example.com",
        link: LINK,
        unsubscribe_url: None,
        expires_at: EXPIRES_AT,
        sender: "Example invitations",
    }
}

fn mail_errors(
    templates: &Templates,
    locale: &Locale,
    content: &Content<'_>,
) -> Vec<TemplateError> {
    let rendered = match templates.render(&locale.language, content) {
        Ok(rendered) => rendered,
        Err(error) => return vec![error],
    };
    let error = |file: &str, reason: &str| {
        TemplateError::new(format!("{file} in {}", locale.language), &reason)
    };
    let mut errors = Vec::new();
    if !rendered.html.contains(&LINK.replace('&', "&amp;")) {
        errors.push(error(LAYOUT_MJML, "the link is missing"));
    }
    if rendered.html.len() > HTML_BYTES_MAX {
        errors.push(error(
            LAYOUT_MJML,
            "the HTML is over 102 KiB, which Gmail cuts off",
        ));
    }
    let stands_alone = |url: &str| rendered.text.lines().any(|line| line == url);
    if !stands_alone(LINK) {
        errors.push(error(LAYOUT_TEXT, "the link is not on a line of its own"));
    }
    errors
}

/// A subject must leave room for the name, in the month with the longest name too.
fn subject_errors(templates: &Templates, locale: &Locale) -> Vec<TemplateError> {
    let brand = Brand::default();
    let mut errors = Vec::new();
    for (is_reminder, name) in [(false, "subject"), (true, "subject_reminder")] {
        for month in 0..12 {
            let content = Content {
                is_reminder,
                expires_at: EXPIRES_AT - time::Duration::days(30) * month,
                ..content(&brand)
            };
            let error = |reason: &str| {
                let place = format!("{}{LOCALE_SUFFIX}, {name}", locale.language);
                TemplateError::new(place, &reason)
            };
            match templates.subject(locale, &content, "") {
                Ok(words) if words.chars().any(char::is_control) => {
                    errors.push(error("a subject is one line"));
                }
                Ok(words) if words.chars().count() > SUBJECT_WORDS_CHARS_MAX => {
                    errors.push(error("over 62 characters besides the organization's name"));
                }
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
    }
    errors
}

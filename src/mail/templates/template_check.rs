//! Renders every email that templates can give, so that an operator's mistake is found at start and no email fails.

use std::path::Path;

use time::OffsetDateTime;
use time::macros::datetime;

use super::compiled_templates::Templates;
use super::email_rendering::SUBJECT_CHARS_MAX;
use super::locale_file::Locale;
use super::template_error::{TemplateError, TemplateErrors};
use super::template_files::{LAYOUT_MJML, LAYOUT_TEXT, LOCALE_SUFFIX, TemplateFiles};
use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;
use crate::mail::invitation_email::{EmailKind, InvitationEmail};

/// Gmail cuts off a longer email and hides the rest behind a link.
const HTML_BYTES_MAX: usize = 102 * 1_024;
/// For a subject without the organization's name, which gets the remaining 16 characters.
const SUBJECT_WORDS_CHARS_MAX: usize = SUBJECT_CHARS_MAX - 16;

const LINK: &str = "https://app.example.com/join?a=1&b=2#token=inv1_example";
const UNSUBSCRIBE_URL: &str = "https://mail.example.com/u/example?a=1&b=2";
const EXPIRES_AT: OffsetDateTime = datetime!(2026-12-22 18:48 UTC);

/// Each kind of email, and the name of its subject.
const KINDS: [(EmailKind, &str); 2] = [
    (EmailKind::Invitation, "subject"),
    (EmailKind::Reminder, "subject_reminder"),
];
/// The number of things that an email may have or lack.
const OPTIONS: u32 = 6;

impl Templates {
    /// Compiles the built-in files with those of a folder over them, and checks every email that they can give.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each with the name of its file.
    pub fn with_folder(folder: &Path) -> Result<Self, TemplateErrors> {
        let mut files = TemplateFiles::embedded();
        let mut errors = files.overlay(folder);
        let compiled = Self::compile(&files);
        if let Err(others) = &compiled {
            errors.extend(others.0.iter().cloned());
        }
        TemplateErrors::none_or(errors, ())?;
        let compiled = compiled?;
        compiled.check()?;
        Ok(compiled)
    }

    /// Renders every locale in every combination of options.
    pub fn check(&self) -> Result<(), TemplateErrors> {
        let full = Brand::from_stored(
            "https://cdn.example.com/logo.png?a=1&b=2",
            "#0f766e",
            "help@example.com",
        );
        let mut errors = Vec::new();
        for locale in self.locales.values() {
            for combination in 0..1 << OPTIONS {
                let has = |option: u32| combination & 1 << option != 0;
                let email = InvitationEmail {
                    kind: KINDS[usize::from(has(2))].0,
                    brand: Brand {
                        logo_url: full.logo_url.clone().filter(|_| has(0)),
                        color: full.color.filter(|_| has(0)),
                        support_email: full.support_email.clone().filter(|_| has(1)),
                    },
                    inviter_name: has(3).then(|| "Ada Lovelace".to_owned()),
                    note: has(4).then(|| "See you\n\nAda".to_owned()),
                    unsubscribe_url: has(5).then(|| UNSUBSCRIBE_URL.to_owned().into()),
                    ..sample(locale)
                };
                errors.extend(email_errors(self, locale, &email));
            }
            errors.extend(subject_errors(self, locale));
        }
        TemplateErrors::none_or(errors, ())
    }
}

fn sample(locale: &Locale) -> InvitationEmail {
    InvitationEmail {
        kind: EmailKind::Invitation,
        message_id: "sample@example.com".to_owned(),
        date: EXPIRES_AT,
        to: EmailAddress::parse("grace@example.com").expect("the address is valid"),
        organization_name: "Analytical Engines".to_owned(),
        brand: Brand::default(),
        inviter_name: None,
        role: "member".to_owned(),
        note: None,
        link: LINK.to_owned().into(),
        expires_at: EXPIRES_AT,
        locale: locale.language.clone(),
        envelope_from: None,
        unsubscribe_url: None,
    }
}

fn email_errors(
    templates: &Templates,
    locale: &Locale,
    email: &InvitationEmail,
) -> Vec<TemplateError> {
    let rendered = match templates.render(email, "Example invitations") {
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
        let reason = "the HTML is over 102 KiB, which Gmail cuts off";
        errors.push(error(LAYOUT_MJML, reason));
    }
    if !rendered.text.lines().any(|line| line == LINK) {
        errors.push(error(LAYOUT_TEXT, "the link is not on a line of its own"));
    }
    errors
}

/// Checks that the subjects leave room for the organization's name, in every month.
fn subject_errors(templates: &Templates, locale: &Locale) -> Vec<TemplateError> {
    let mut errors = Vec::new();
    for (kind, name) in KINDS {
        for month in 0..12 {
            let email = InvitationEmail {
                kind,
                expires_at: EXPIRES_AT - time::Duration::days(30) * month,
                ..sample(locale)
            };
            let error = |reason: &str| {
                let place = format!("{}{LOCALE_SUFFIX}, {name}", locale.language);
                TemplateError::new(place, &reason)
            };
            match templates.render_subject(locale, &email, "") {
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

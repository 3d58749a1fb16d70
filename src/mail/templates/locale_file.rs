//! One language: a TOML file of sentences. The checks find sentences that are missing, misspelled or malformed.

use std::collections::{BTreeMap, BTreeSet};

use minijinja::Environment;
use serde::Deserialize;

use super::template_error::TemplateError;
use super::template_files::{LOCALE_SUFFIX, TemplateFile};
use crate::domain::locale;

/// The placeholders of sentences and layouts.
pub(super) const CONTENT_NAMES: &[&str] = &[
    "address",
    "colors.accent",
    "colors.accent_dark",
    "colors.button",
    "colors.button_edge",
    "colors.button_edge_dark",
    "colors.button_text",
    "colors.link",
    "colors.link_dark",
    "expires",
    "expires_day",
    "inviter",
    "is_reminder",
    "link",
    "logo_alt",
    "logo_url",
    "note_lines",
    "organization",
    "role",
    "sender",
    "support_email",
    "unsubscribe_url",
];
/// The placeholders of dates.
const DATE_NAMES: &[&str] = &["weekday", "day", "month", "year", "time"];
/// The placeholders of subjects.
const SUBJECT_NAMES: &[&str] = &["organization", "expires_day"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Locale {
    pub(super) language: String,
    direction: TextDirection,
    pub(super) weekdays: [String; 7],
    pub(super) months: [String; 12],
    pub(super) date: String,
    pub(super) date_short: String,
    pub(super) subject: String,
    pub(super) subject_reminder: String,
    pub(super) sentences: BTreeMap<String, String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum TextDirection {
    Ltr,
    Rtl,
}

impl TextDirection {
    /// The value of `dir`, and the side at which lines start: mail clients do not support the CSS value `start`.
    const fn values(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Ltr => [("direction", "ltr"), ("start", "left")],
            Self::Rtl => [("direction", "rtl"), ("start", "right")],
        }
    }
}

impl Locale {
    /// Reads a file whose name must be its language.
    pub(super) fn parse(file: &TemplateFile) -> Result<Self, TemplateError> {
        let error = |reason: &str| TemplateError::new(file.name.clone(), &reason);
        let locale: Self =
            toml::from_str(&file.text).map_err(|problem| error(problem.to_string().trim_end()))?;
        let language = file.name.trim_end_matches(LOCALE_SUFFIX);
        if locale::parse(language).as_deref() != Ok(language) {
            return Err(error("the file name is not a language tag such as pt-BR"));
        }
        if locale.language != language {
            return Err(error("the language is not the one of the file name"));
        }
        Ok(locale)
    }

    /// The errors in the sentences. The layouts use the sentences `needed`; those in `known` are also allowed.
    pub(super) fn errors(
        &self,
        needed: &BTreeSet<&str>,
        known: &BTreeSet<&str>,
    ) -> Vec<TemplateError> {
        let file = format!("{}{LOCALE_SUFFIX}", self.language);
        let mut errors = Vec::new();
        let given: BTreeSet<&str> = self.sentences.keys().map(String::as_str).collect();
        for name in needed - &given {
            let reason = format!("the sentence {name} is missing");
            errors.push(TemplateError::new(file.as_str(), &reason));
        }
        for name in &(&given - needed) - known {
            let reason = format!("no layout has a place for the sentence {name}");
            errors.push(TemplateError::new(file.as_str(), &reason));
        }
        let mut check = |name: &str, text: &str, names: &[&str]| {
            let place = format!("{file}, {name}");
            errors.extend(placeholder_errors(&place, text, names));
            // Sentences are used in the text part too, and the HTML part does not escape them.
            if text.contains('<') {
                let reason = "a sentence is plain text, without <";
                errors.push(TemplateError::new(place, &reason));
            }
        };
        check("date", &self.date, DATE_NAMES);
        check("date_short", &self.date_short, DATE_NAMES);
        check("subject", &self.subject, SUBJECT_NAMES);
        check("subject_reminder", &self.subject_reminder, SUBJECT_NAMES);
        for (name, sentence) in &self.sentences {
            check(name, sentence, CONTENT_NAMES);
        }
        errors
    }

    /// Replaces every `[[name]]` in a layout by its sentence.
    pub(super) fn insert_into(&self, layout: &str) -> String {
        let sentences = self.sentences.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        sentences
            .chain(self.direction.values())
            .chain([("language", self.language.as_str())])
            .fold(layout.to_owned(), |layout, (name, sentence)| {
                layout.replace(&format!("[[{name}]]"), sentence)
            })
    }
}

/// The errors of a template that may use these placeholders.
pub(super) fn placeholder_errors(place: &str, text: &str, names: &[&str]) -> Vec<TemplateError> {
    let environment = Environment::new();
    let template = match environment.template_from_str(text) {
        Ok(template) => template,
        // The error may quote the template, which contains no personal data.
        Err(error) => return vec![TemplateError::new(place, &error)],
    };
    let found: BTreeSet<String> = template.undeclared_variables(true).into_iter().collect();
    found
        .into_iter()
        .filter(|name| !names.contains(&name.as_str()))
        .map(|name| TemplateError::new(place, &format!("the placeholder {name} is unknown")))
        .collect()
}

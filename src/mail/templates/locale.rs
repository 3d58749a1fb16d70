//! One language of the mails: a TOML file of sentences, checked so that none is missing, misspelled or broken.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::layout::{CONTENT_NAMES, placeholder_errors};
use super::problem::TemplateError;
use super::source::{LOCALE_SUFFIX, Source};
use crate::domain::locale;

/// What dates may be made of.
const DATE_NAMES: &[&str] = &["weekday", "day", "month", "year", "time"];
/// What subjects may be made of.
const SUBJECT_NAMES: &[&str] = &["organization", "expires_day"];
/// The sentences and dates of a language.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Locale {
    pub(super) language: String,
    direction: Direction,
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
enum Direction {
    Ltr,
    Rtl,
}

impl Direction {
    /// The value of `dir`, and the side lines start at: mail clients do not know `start`.
    const fn words(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Ltr => [("direction", "ltr"), ("start", "left")],
            Self::Rtl => [("direction", "rtl"), ("start", "right")],
        }
    }
}

impl Locale {
    /// Reads a file whose name is its language.
    pub(super) fn parse(source: &Source) -> Result<Self, TemplateError> {
        let error = |reason: &str| TemplateError::new(source.name.clone(), &reason);
        let locale: Self = toml::from_str(&source.text)
            .map_err(|problem| error(problem.to_string().trim_end()))?;
        let language = source.name.trim_end_matches(LOCALE_SUFFIX);
        if locale::parse(language).as_deref() != Ok(language) {
            return Err(error("the file name is not a language tag such as pt-BR"));
        }
        if locale.language != language {
            return Err(error("the language is not the one of the file name"));
        }
        Ok(locale)
    }

    /// Everything that is wrong with the sentences, if the layouts need those called `needed` and `known` are others
    /// that somebody may write.
    pub(super) fn errors(
        &self,
        needed: &BTreeSet<&str>,
        known: &BTreeSet<&str>,
    ) -> Vec<TemplateError> {
        let file = format!("{}{LOCALE_SUFFIX}", self.language);
        let mut errors = Vec::new();
        for name in needed {
            if !self.sentences.contains_key(*name) {
                let reason = format!("the sentence {name} is missing");
                errors.push(TemplateError::new(file.as_str(), &reason));
            }
        }
        for name in self.sentences.keys() {
            if !needed.contains(name.as_str()) && !known.contains(name.as_str()) {
                let reason = format!("no layout has a place for the sentence {name}");
                errors.push(TemplateError::new(file.as_str(), &reason));
            }
        }
        let mut check = |name: &str, text: &str, names: &[&str]| {
            let place = format!("{file}, {name}");
            errors.extend(placeholder_errors(&place, text, names));
            // It stands in the HTML as it is, and in the text part, where markup would be read aloud.
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

    /// Puts the sentences where a layout says `[[name]]`.
    pub(super) fn set_into(&self, layout: &str) -> String {
        let words = self.direction.words();
        let words = words.iter().copied();
        let sentences = self.sentences.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        sentences
            .chain(words)
            .chain([("language", self.language.as_str())])
            .fold(layout.to_owned(), |layout, (name, sentence)| {
                layout.replace(&format!("[[{name}]]"), sentence)
            })
    }
}

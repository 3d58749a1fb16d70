//! The layouts, one in MJML and one in text, which sentences are inserted into.

use std::collections::{BTreeSet, HashMap};

use minijinja::Environment;
use mrml::prelude::render::RenderOptions;

use super::template_error::TemplateError;
use super::template_files::TemplateFiles;

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
/// The values of a locale, besides its sentences, that a layout can use.
const LOCALE_NAMES: [&str; 3] = ["direction", "language", "start"];

/// The names of the sentences that a layout uses.
pub(super) fn sentence_names(layout: &str) -> BTreeSet<&str> {
    let after_opening = layout.split("[[").skip(1);
    after_opening
        .filter_map(|rest| rest.split_once("]]").map(|(name, _)| name))
        .filter(|name| !LOCALE_NAMES.contains(name))
        .collect()
}

/// The errors in the layouts before sentences are inserted.
pub(super) fn errors(files: &TemplateFiles) -> Vec<TemplateError> {
    [&files.mjml, &files.text]
        .into_iter()
        .flat_map(|layout| placeholder_errors(&layout.name, &layout.text, CONTENT_NAMES))
        .collect()
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

pub(super) fn html(mjml: &str) -> Result<String, String> {
    let options = RenderOptions {
        disable_comments: true,
        social_icon_origin: None,
        // Empty: with the default fonts a font server learns who opens which email.
        fonts: HashMap::new(),
    };
    let parsed = mrml::parse(mjml).map_err(|error| error.to_string())?;
    parsed
        .element
        .render(&options)
        .map_err(|error| error.to_string())
}

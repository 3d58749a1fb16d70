//! Layouts: what sentences are set into, one in MJML and one in text.

use std::collections::{BTreeSet, HashMap};

use minijinja::Environment;
use mrml::prelude::render::RenderOptions;

use super::problem::TemplateError;
use super::source::Sources;

/// What sentences and layouts may be made of.
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
/// What a layout knows of a locale besides its sentences.
const LOCALE_NAMES: [&str; 3] = ["direction", "language", "start"];

/// The names of the sentences that a layout has a place for.
pub(super) fn sentence_names(layout: &str) -> BTreeSet<&str> {
    let after_opening = layout.split("[[").skip(1);
    after_opening
        .filter_map(|rest| rest.split_once("]]").map(|(name, _)| name))
        .filter(|name| !LOCALE_NAMES.contains(name))
        .collect()
}

/// Everything that is wrong with the layouts before sentences are set into them.
pub(super) fn errors(sources: &Sources) -> Vec<TemplateError> {
    [&sources.mjml, &sources.text]
        .into_iter()
        .flat_map(|layout| placeholder_errors(&layout.name, &layout.text, CONTENT_NAMES))
        .collect()
}

/// What is wrong with a template that may be made of these names.
pub(super) fn placeholder_errors(place: &str, text: &str, names: &[&str]) -> Vec<TemplateError> {
    let environment = Environment::new();
    let template = match environment.template_from_str(text) {
        Ok(template) => template,
        // It is ours or the operator's, so what is quoted of it is no reader's name.
        Err(error) => return vec![TemplateError::new(place, &error)],
    };
    let found: BTreeSet<String> = template.undeclared_variables(true).into_iter().collect();
    found
        .into_iter()
        .filter(|name| !names.contains(&name.as_str()))
        .map(|name| TemplateError::new(place, &format!("the placeholder {name} is unknown")))
        .collect()
}

/// Makes HTML of MJML.
pub(super) fn html(mjml: &str) -> Result<String, String> {
    let options = RenderOptions {
        disable_comments: true,
        social_icon_origin: None,
        // Empty: the defaults would link to a font server, which then knows who opens which mail.
        fonts: HashMap::new(),
    };
    let parsed = mrml::parse(mjml).map_err(|error| error.to_string())?;
    parsed
        .element
        .render(&options)
        .map_err(|error| error.to_string())
}

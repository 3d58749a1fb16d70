//! All locales, compiled into the layouts.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use mrml::prelude::render::RenderOptions;

use super::locale_file::{CONTENT_NAMES, Locale, placeholder_errors};
use super::template_error::{TemplateError, TemplateErrors};
use super::template_files::{LAYOUT_MJML, LAYOUT_TEXT, LOCALE_SUFFIX, TemplateFiles};
use crate::domain::locale;

/// The values of a locale, besides its sentences, that a layout can use.
const LOCALE_NAMES: [&str; 3] = ["direction", "language", "start"];

pub struct Templates {
    environment: Environment<'static>,
    /// By lower-case language tag.
    pub(super) locales: BTreeMap<String, Locale>,
}

impl Templates {
    /// Compiles the built-in files. A test renders every email that they can give.
    pub fn embedded() -> Result<Self, TemplateErrors> {
        Self::compile(&TemplateFiles::embedded())
    }

    /// The languages, as their files name them.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.locales.values().map(|locale| locale.language.as_str())
    }

    pub(super) fn compile(files: &TemplateFiles) -> Result<Self, TemplateErrors> {
        // Before the sentences are inserted, so that an error in a layout is reported once.
        let mut errors: Vec<_> = [&files.mjml, &files.text]
            .into_iter()
            .flat_map(|layout| placeholder_errors(&layout.name, &layout.text, CONTENT_NAMES))
            .collect();
        let needed = sentence_names(files);
        // A locale may have every sentence of the built-in layouts, even if a replaced layout does not use it.
        let embedded = TemplateFiles::embedded();
        let known = sentence_names(&embedded);
        let mut locales = BTreeMap::new();
        for file in &files.locales {
            match Locale::parse(file) {
                Ok(locale) => {
                    errors.extend(locale.errors(&needed, &known));
                    locales.insert(locale.language.to_ascii_lowercase(), locale);
                }
                Err(error) => errors.push(error),
            }
        }
        if !locales.contains_key(locale::FALLBACK) {
            let place = format!("{}{LOCALE_SUFFIX}", locale::FALLBACK);
            let reason = "the fallback language cannot be used";
            errors.push(TemplateError::new(place, &reason));
        }
        TemplateErrors::none_or(errors, ())?;
        let environment = environment(files, &locales)?;
        Ok(Self {
            environment,
            locales,
        })
    }

    /// The locale of a tag, or else one of the same language in another region or script, or else English.
    pub(super) fn locale(&self, wanted: &str) -> &Locale {
        locale::best_match(wanted, &self.locales)
            .or_else(|| self.locales.get(locale::FALLBACK))
            .expect("compile() requires the fallback")
    }

    /// Renders one template of a locale: `html`, `txt`, a subject or a date.
    pub(super) fn render_part(
        &self,
        locale: &Locale,
        part: &str,
        values: Value,
    ) -> Result<String, TemplateError> {
        self.environment
            .get_template(&template_name(locale, part))
            .and_then(|template| template.render(values))
            .map_err(|error| TemplateError::of_rendering(place(locale, part), &error))
    }
}

/// The names of the sentences that the layouts use.
fn sentence_names(files: &TemplateFiles) -> BTreeSet<&str> {
    let layouts = [&files.mjml.text, &files.text.text].into_iter();
    layouts
        .flat_map(|layout| layout.split("[[").skip(1))
        .filter_map(|rest| rest.split_once("]]").map(|(name, _)| name))
        .filter(|name| !LOCALE_NAMES.contains(name))
        .collect()
}

/// Inserts the sentences of every locale into the layouts and compiles the results.
fn environment(
    files: &TemplateFiles,
    locales: &BTreeMap<String, Locale>,
) -> Result<Environment<'static>, TemplateErrors> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| {
        let is_html = name.ends_with("html");
        if is_html {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    let mut errors = Vec::new();
    for locale in locales.values() {
        let mjml = locale.insert_into(&files.mjml.text);
        let html = compile_mjml(&mjml).unwrap_or_else(|reason| {
            errors.push(TemplateError::new(files.mjml.name.clone(), &reason));
            String::new()
        });
        let parts = [
            ("date", locale.date.clone()),
            ("date_short", locale.date_short.clone()),
            ("subject", locale.subject.clone()),
            ("subject_reminder", locale.subject_reminder.clone()),
            ("html", html),
            ("txt", locale.insert_into(&files.text.text)),
        ];
        for (part, template) in parts {
            let name = template_name(locale, part);
            if let Err(error) = environment.add_template_owned(name, template) {
                errors.push(TemplateError::new(place(locale, part), &error));
            }
        }
    }
    TemplateErrors::none_or(errors, environment)
}

fn compile_mjml(mjml: &str) -> Result<String, String> {
    let options = RenderOptions {
        disable_comments: true,
        social_icon_origin: None,
        // Empty: with the default fonts a font server learns who opens which email.
        fonts: HashMap::new(),
    };
    let parsed = mrml::parse(mjml).map_err(|error| error.to_string())?;
    let html = parsed.element.render(&options);
    html.map_err(|error| error.to_string())
}

fn template_name(locale: &Locale, part: &str) -> String {
    format!("{}/{part}", locale.language)
}

/// The source file of a template, for error messages.
fn place(locale: &Locale, part: &str) -> String {
    let language = &locale.language;
    match part {
        "html" => format!("{LAYOUT_MJML} in {language}"),
        "txt" => format!("{LAYOUT_TEXT} in {language}"),
        _ => format!("{language}{LOCALE_SUFFIX}, {part}"),
    }
}

//! The words and the looks of the invitation mail.
//!
//! A locale is one TOML file of sentences; the layouts are shared. Sentences are set into the layouts once, at start,
//! MJML becomes HTML once, and what is left per mail is one pass of `minijinja`, strict about missing values and
//! escaping in HTML alone. Nothing here reaches for a font or any other thing on the network, but for the logo of an
//! organization that has one.
//!
//! In reading order: `source` finds the files, `locale` and `layout` check them, `palette` chooses colors, `proof`
//! renders every mail an operator's files can give before the first one is sent, and `problem` says what is wrong.

mod layout;
mod locale;
mod palette;
mod problem;
mod proof;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior, Value, context};
use time::{OffsetDateTime, UtcOffset};
use url::form_urlencoded::byte_serialize;

use self::locale::Locale;
use self::palette::Palette;
use self::source::{LAYOUT_MJML, LAYOUT_TEXT, LOCALE_SUFFIX, Sources};
use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;
use crate::domain::masking::truncate;

pub use self::problem::{TemplateError, TemplateErrors};

/// Longest subject, in characters (RFC 5322 §2.1.1 recommends lines of 78).
pub(super) const SUBJECT_CHARS_MAX: usize = 78;
/// Longest line of the text part, in columns; a quote mark and a margin for what counts columns differently.
const TEXT_COLUMNS_MAX: usize = 74;
/// The locale that stands in for every other.
const LOCALE_FALLBACK: &str = "en";
/// Parts of tags whose readers do not read simplified characters.
const TRADITIONAL_CHINESE: [&str; 4] = ["hant", "tw", "hk", "mo"];

/// What one mail says, cleaned but not escaped.
#[derive(Clone)]
pub(super) struct Content<'a> {
    pub(super) is_reminder: bool,
    pub(super) organization: String,
    pub(super) brand: &'a Brand,
    pub(super) inviter: Option<String>,
    pub(super) role: String,
    pub(super) note_lines: Vec<String>,
    pub(super) address: &'a str,
    pub(super) link: &'a str,
    pub(super) unsubscribe_url: Option<&'a str>,
    pub(super) expires_at: OffsetDateTime,
    pub(super) sender: &'a str,
}

/// One mail in the reader's language.
pub(super) struct Rendered {
    pub(super) subject: String,
    pub(super) html: String,
    pub(super) text: String,
}

/// All locales, compiled.
pub struct Templates {
    environment: Environment<'static>,
    locales: BTreeMap<String, Locale>,
}

impl Templates {
    /// Compiles the embedded files. That every mail they give can be rendered, a test has proven.
    pub fn embedded() -> Result<Self, TemplateErrors> {
        Self::compile(&Sources::embedded())
    }

    /// Compiles the embedded files with those of a folder over them, and renders every mail they can give, so that no
    /// mail fails later.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, each naming its file.
    pub fn with_folder(folder: &Path) -> Result<Self, TemplateErrors> {
        let mut sources = Sources::embedded();
        let mut errors = sources.overlay(folder);
        let compiled = Self::compile(&sources);
        match compiled {
            Ok(compiled) if errors.is_empty() => {
                compiled.prove()?;
                Ok(compiled)
            }
            Ok(_) => Err(TemplateErrors::new(errors)),
            Err(others) => {
                errors.extend(others.0);
                Err(TemplateErrors::new(errors))
            }
        }
    }

    /// Renders every mail the templates can give.
    pub fn prove(&self) -> Result<(), TemplateErrors> {
        proof::prove(self)
    }

    /// The languages, as their files name them.
    pub fn languages(&self) -> impl Iterator<Item = &str> {
        self.locales.values().map(|locale| locale.language.as_str())
    }

    fn compile(sources: &Sources) -> Result<Self, TemplateErrors> {
        let mut errors = layout::errors(sources);
        let needed: BTreeSet<&str> = [&sources.mjml, &sources.text]
            .into_iter()
            .flat_map(|layout| layout::sentence_names(&layout.text))
            .collect();
        // What the embedded layouts have a place for may be written, even if a layout in their place has none for it.
        let embedded = Sources::embedded();
        let known: BTreeSet<&str> = [&embedded.mjml, &embedded.text]
            .into_iter()
            .flat_map(|layout| layout::sentence_names(&layout.text))
            .collect();
        let mut locales = BTreeMap::new();
        for source in &sources.locales {
            match Locale::parse(source) {
                Ok(locale) => {
                    errors.extend(locale.errors(&needed, &known));
                    locales.insert(locale.language.to_ascii_lowercase(), locale);
                }
                Err(error) => errors.push(error),
            }
        }
        if !locales.contains_key(LOCALE_FALLBACK) {
            let place = format!("{LOCALE_FALLBACK}{LOCALE_SUFFIX}");
            errors.push(TemplateError::new(
                place,
                &"the language of last resort cannot be used",
            ));
        }
        TemplateErrors::none_or(errors, ())?;
        let environment = environment(sources, &locales)?;
        Ok(Self {
            environment,
            locales,
        })
    }

    /// Renders one mail in the locale that fits best.
    pub(super) fn render(
        &self,
        locale: &str,
        content: &Content<'_>,
    ) -> Result<Rendered, TemplateError> {
        let locale = self.locale(locale);
        let expires_at = content.expires_at;
        let plain = context! {
            is_reminder => content.is_reminder,
            organization => &content.organization,
            inviter => &content.inviter,
            role => &content.role,
            note_lines => &content.note_lines,
            address => content.address,
            link => content.link,
            unsubscribe_url => content.unsubscribe_url,
            support_email => content.brand.support_email.as_ref().map(EmailAddress::mailbox),
            logo_url => &content.brand.logo_url,
            logo_alt => &content.organization,
            colors => Palette::new(content.brand.color).values(),
            expires => self.render_date(locale, "date", expires_at)?,
            expires_day => self.render_date(locale, "date_short", expires_at)?,
            sender => content.sender,
        };
        // The names stand isolated (UAX #9), so that one written from right to left leaves the sentence in order.
        let html = context! {
            organization => isolated(&content.organization),
            inviter => content.inviter.as_deref().map(isolated),
            address => isolated(content.address),
            link => encoded_url(content.link),
            unsubscribe_url => content.unsubscribe_url.map(encoded_url),
            support_email => content.brand.support_email.as_ref().map(mail_link),
            logo_url => content.brand.logo_url.as_deref().map(encoded_url),
            ..plain.clone()
        };
        let text = self.part(locale, "txt", plain)?;
        let urls: Vec<&str> = [Some(content.link), content.unsubscribe_url]
            .into_iter()
            .flatten()
            .collect();
        Ok(Rendered {
            subject: self.render_subject(locale, content)?,
            html: self.part(locale, "html", html)?,
            text: wrap(&text, &urls),
        })
    }

    /// Cuts the name, never the words around it.
    fn render_subject(
        &self,
        locale: &Locale,
        content: &Content<'_>,
    ) -> Result<String, TemplateError> {
        let words = self.subject(locale, content, "")?;
        let room = SUBJECT_CHARS_MAX.saturating_sub(words.chars().count());
        self.subject(locale, content, &truncate(&content.organization, room))
    }

    fn subject(
        &self,
        locale: &Locale,
        content: &Content<'_>,
        organization: &str,
    ) -> Result<String, TemplateError> {
        let part = if content.is_reminder {
            "subject_reminder"
        } else {
            "subject"
        };
        let expires_day = self.render_date(locale, "date_short", content.expires_at)?;
        self.part(locale, part, context! { organization, expires_day })
    }

    /// The locale of a tag, else the one of its language, in whatever region or script that is written here, else
    /// English.
    fn locale(&self, wanted: &str) -> &Locale {
        let wanted = wanted.to_ascii_lowercase();
        let language = wanted.split('-').next().unwrap_or_default();
        let is_unreadable = |tag: &str| {
            language == "zh" && is_traditional_chinese(&wanted) && !is_traditional_chinese(tag)
        };
        let of_language = || {
            self.locales
                .iter()
                .find(|(tag, _)| tag.split('-').next() == Some(language) && !is_unreadable(tag))
                .map(|(_, locale)| locale)
        };
        self.locales
            .get(&wanted)
            .or_else(of_language)
            .or_else(|| self.locales.get(LOCALE_FALLBACK))
            .expect("compile() refuses to go without the fallback")
    }

    fn render_date(
        &self,
        locale: &Locale,
        part: &str,
        at: OffsetDateTime,
    ) -> Result<String, TemplateError> {
        let at = at.to_offset(UtcOffset::UTC);
        let weekday = usize::from(at.weekday().number_days_from_monday());
        let month = usize::from(u8::from(at.month())) - 1;
        let values = context! {
            weekday => &locale.weekdays[weekday],
            month => &locale.months[month],
            day => at.day(),
            year => at.year(),
            time => format!("{:02}:{:02}", at.hour(), at.minute()),
        };
        self.part(locale, part, values)
    }

    fn part(&self, locale: &Locale, part: &str, values: Value) -> Result<String, TemplateError> {
        let name = format!("{}/{part}", locale.language);
        self.environment
            .get_template(&name)
            .and_then(|template| template.render(values))
            .map_err(|error| TemplateError::of_rendering(place(&locale.language, part), &error))
    }
}

/// Sets every locale into the layouts and compiles what comes of it.
fn environment(
    sources: &Sources,
    locales: &BTreeMap<String, Locale>,
) -> Result<Environment<'static>, TemplateErrors> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|name| {
        if name.ends_with("html") {
            AutoEscape::Html
        } else {
            AutoEscape::None
        }
    });
    let mut errors = Vec::new();
    for locale in locales.values() {
        let html = layout::html(&locale.set_into(&sources.mjml.text)).unwrap_or_else(|reason| {
            errors.push(TemplateError::new(sources.mjml.name.clone(), &reason));
            String::new()
        });
        let parts = [
            ("date", locale.date.clone()),
            ("date_short", locale.date_short.clone()),
            ("subject", locale.subject.clone()),
            ("subject_reminder", locale.subject_reminder.clone()),
            ("html", html),
            ("txt", locale.set_into(&sources.text.text)),
        ];
        for (part, template) in parts {
            let name = format!("{}/{part}", locale.language);
            let added = environment.add_template_owned(name.clone(), template);
            let error = added.err();
            errors.extend(
                error.map(|error| TemplateError::new(place(&locale.language, part), &error)),
            );
        }
    }
    TemplateErrors::none_or(errors, environment)
}

/// The file that a part is made of.
fn place(language: &str, part: &str) -> String {
    match part {
        "html" => format!("{LAYOUT_MJML} in {language}"),
        "txt" => format!("{LAYOUT_TEXT} in {language}"),
        _ => format!("{language}{LOCALE_SUFFIX}, {part}"),
    }
}

fn is_traditional_chinese(tag: &str) -> bool {
    tag.split('-')
        .any(|part| TRADITIONAL_CHINESE.contains(&part))
}

fn isolated(name: &str) -> Value {
    Value::from_safe_string(format!("<bdi>{}</bdi>", HtmlEscape(name)))
}

/// A URL that is percent-encoded already (the composer and the domain saw to it), so that only the ampersand needs an
/// entity.
fn encoded_url(url: &str) -> Value {
    Value::from_safe_string(url.replace('&', "&amp;"))
}

/// A link that writes to an address (RFC 6068). Its color is that of other links.
fn mail_link(address: &EmailAddress) -> Value {
    let mailbox = address.mailbox();
    let (local, domain) = mailbox.split_once('@').unwrap_or_default();
    let local: String = byte_serialize(local.as_bytes()).collect();
    Value::from_safe_string(format!(
        "<a href=\"mailto:{local}@{domain}\" dir=\"ltr\">{}</a>",
        HtmlEscape(mailbox)
    ))
}

/// Wraps every line but those that are a URL, which must stay whole to be clicked. Quoted lines go on quoted.
fn wrap(text: &str, urls: &[&str]) -> String {
    let mut wrapped = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        if urls.contains(&line) {
            wrapped.push_str(line);
        } else {
            let indent = if line.starts_with("> ") { "> " } else { "" };
            let options = textwrap::Options::new(TEXT_COLUMNS_MAX).subsequent_indent(indent);
            wrapped.push_str(&textwrap::fill(line, options));
        }
        wrapped.push('\n');
    }
    wrapped
}

#[cfg(test)]
#[path = "templates_tests.rs"]
mod tests;

//! The words and the looks of the invitation mail.
//!
//! A locale is one TOML file of sentences; the layouts are shared. Sentences are set into the layouts once, at start,
//! MJML becomes HTML once, and what is left per mail is one pass of `minijinja`, strict about missing values and
//! escaping in HTML alone. Nothing here reaches for a font, a picture or any other thing on the network.

use std::collections::BTreeMap;

use minijinja::{AutoEscape, Environment, HtmlEscape, UndefinedBehavior, Value, context};
use mrml::prelude::render::RenderOptions;
use serde::Deserialize;
use time::{OffsetDateTime, UtcOffset};

use crate::domain::masking::truncate;

/// Longest subject, in characters (RFC 5322 §2.1.1 recommends lines of 78).
pub(super) const SUBJECT_CHARS_MAX: usize = 78;
/// Longest line of the text part, in columns; a quote mark and a margin for what counts columns differently.
const TEXT_COLUMNS_MAX: usize = 74;
/// The locale that stands in for every other.
const LOCALE_FALLBACK: &str = "en";

const LOCALES: &[&str] = &[
    include_str!("../../templates/en.toml"),
    include_str!("../../templates/ar.toml"),
    include_str!("../../templates/de.toml"),
    include_str!("../../templates/es.toml"),
    include_str!("../../templates/fr.toml"),
    include_str!("../../templates/ja.toml"),
    include_str!("../../templates/pt-BR.toml"),
    include_str!("../../templates/zh-Hans.toml"),
];
/// Parts of tags whose readers do not read simplified characters.
const TRADITIONAL_CHINESE: [&str; 4] = ["hant", "tw", "hk", "mo"];
const LAYOUT_MJML: &str = include_str!("../../templates/invitation.mjml");
const LAYOUT_TEXT: &str = include_str!("../../templates/invitation.txt");

/// Why the embedded templates or one mail could not be rendered. Names the place, never a value.
#[derive(Debug, thiserror::Error)]
#[error("mail template: {place}: {reason}")]
pub struct TemplateError {
    place: String,
    reason: String,
}

impl TemplateError {
    fn new(place: &str, reason: &impl ToString) -> Self {
        Self {
            place: place.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Keeps the kind alone: what `minijinja` says more may quote a value.
    fn of_rendering(place: &str, error: &minijinja::Error) -> Self {
        Self::new(place, &error.kind())
    }
}

/// What one mail says, cleaned but not escaped.
pub(super) struct Content<'a> {
    pub(super) organization: String,
    pub(super) inviter: Option<String>,
    pub(super) role: String,
    pub(super) note_lines: Vec<String>,
    pub(super) address: &'a str,
    pub(super) link: &'a str,
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
pub(super) struct Templates {
    environment: Environment<'static>,
    locales: BTreeMap<String, Locale>,
}

#[derive(Deserialize)]
struct Locale {
    language: String,
    direction: Direction,
    weekdays: [String; 7],
    months: [String; 12],
    date: String,
    subject: String,
    sentences: BTreeMap<String, String>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Ltr,
    Rtl,
}

impl Direction {
    /// The value of `dir`, and the sides lines start and end at: mail clients do not know `start`.
    fn words(self) -> [(&'static str, &'static str); 2] {
        match self {
            Self::Ltr => [("direction", "ltr"), ("start", "left")],
            Self::Rtl => [("direction", "rtl"), ("start", "right")],
        }
    }
}

impl Templates {
    /// Compiles what is embedded.
    pub(super) fn compile() -> Result<Self, TemplateError> {
        Self::compile_locales(LOCALES)
    }

    fn compile_locales(sources: &[&str]) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|name| {
            if name.ends_with("html") {
                AutoEscape::Html
            } else {
                AutoEscape::None
            }
        });
        let mut locales = BTreeMap::new();
        for source in sources {
            let locale: Locale =
                toml::from_str(source).map_err(|error| TemplateError::new("locale", &error))?;
            for (part, template) in locale.templates()? {
                let name = format!("{}/{part}", locale.language);
                environment
                    .add_template_owned(name.clone(), template)
                    .map_err(|error| TemplateError::new(&name, &error))?;
            }
            locales.insert(locale.language.to_ascii_lowercase(), locale);
        }
        if !locales.contains_key(LOCALE_FALLBACK) {
            return Err(TemplateError::new(LOCALE_FALLBACK, &"missing"));
        }
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
        let expires = self.render_date(locale, content.expires_at)?;
        let plain = context! {
            organization => &content.organization,
            inviter => &content.inviter,
            role => &content.role,
            note_lines => &content.note_lines,
            address => content.address,
            link => content.link,
            expires,
            sender => content.sender,
        };
        // The names stand isolated (UAX #9), so that one written from right to left leaves the sentence in order.
        let html = context! {
            organization => isolated(&content.organization),
            inviter => content.inviter.as_deref().map(isolated),
            address => isolated(content.address),
            // Percent-encoded already (the composer saw to it), so that only the ampersand needs an entity.
            link => Value::from_safe_string(content.link.replace('&', "&amp;")),
            ..plain.clone()
        };
        let text = self.part(locale, "txt", plain.clone())?;
        Ok(Rendered {
            subject: self.render_subject(locale, &content.organization)?,
            html: self.part(locale, "html", html)?,
            text: wrap(&text, content.link),
        })
    }

    /// Cuts the name, never the words around it.
    fn render_subject(&self, locale: &Locale, organization: &str) -> Result<String, TemplateError> {
        let words = self.part(locale, "subject", context! { organization => "" })?;
        let room = SUBJECT_CHARS_MAX.saturating_sub(words.chars().count());
        let organization = truncate(organization, room);
        self.part(locale, "subject", context! { organization })
    }

    /// The locale of a tag, else the one of its language, in whatever region or script that is written here, else
    /// English.
    fn locale(&self, wanted: &str) -> &Locale {
        let wanted = wanted.to_ascii_lowercase();
        let language = wanted.split('-').next().unwrap_or_default();
        let is_unreadable = language == "zh"
            && wanted
                .split('-')
                .any(|part| TRADITIONAL_CHINESE.contains(&part));
        let of_language = || {
            self.locales
                .iter()
                .find(|(tag, _)| tag.split('-').next() == Some(language))
                .filter(|_| !is_unreadable)
                .map(|(_, locale)| locale)
        };
        self.locales
            .get(&wanted)
            .or_else(of_language)
            .or_else(|| self.locales.get(LOCALE_FALLBACK))
            .expect("compile() refuses to go without the fallback")
    }

    fn render_date(&self, locale: &Locale, at: OffsetDateTime) -> Result<String, TemplateError> {
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
        self.part(locale, "date", values)
    }

    fn part(&self, locale: &Locale, part: &str, values: Value) -> Result<String, TemplateError> {
        let name = format!("{}/{part}", locale.language);
        self.environment
            .get_template(&name)
            .and_then(|template| template.render(values))
            .map_err(|error| TemplateError::of_rendering(&name, &error))
    }
}

impl Locale {
    fn templates(&self) -> Result<[(&'static str, String); 4], TemplateError> {
        let mjml = self.set_into("invitation.mjml", LAYOUT_MJML)?;
        let html = mrml::parse(mjml)
            .map_err(|error| TemplateError::new("invitation.mjml", &error))?
            .element
            .render(&RenderOptions {
                disable_comments: true,
                social_icon_origin: None,
                // Empty: the defaults would link to a font server, which then knows who opens which mail.
                fonts: std::collections::HashMap::new(),
            })
            .map_err(|error| TemplateError::new("invitation.mjml", &error))?;
        Ok([
            ("date", self.date.clone()),
            ("subject", self.subject.clone()),
            ("html", html),
            ("txt", self.set_into("invitation.txt", LAYOUT_TEXT)?),
        ])
    }

    /// Puts the sentences where the layout says `[[name]]`.
    fn set_into(&self, place: &str, layout: &str) -> Result<String, TemplateError> {
        let words = self.direction.words();
        let words = words.iter().copied();
        let sentences = self.sentences.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let filled = sentences
            .chain(words)
            .chain([("language", self.language.as_str())])
            .fold(layout.to_owned(), |layout, (name, sentence)| {
                layout.replace(&format!("[[{name}]]"), sentence)
            });
        match filled.find("[[") {
            None => Ok(filled),
            Some(at) => {
                let name: String = filled[at..].chars().take(40).collect();
                Err(TemplateError::new(
                    place,
                    &format!("no sentence for {name}"),
                ))
            }
        }
    }
}

fn isolated(name: &str) -> Value {
    Value::from_safe_string(format!("<bdi>{}</bdi>", HtmlEscape(name)))
}

/// Wraps every line but the link's, which must stay whole to be clicked. Quoted lines go on quoted.
fn wrap(text: &str, link: &str) -> String {
    let mut wrapped = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        if line == link {
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
mod tests {
    use super::*;
    use time::macros::datetime;

    fn content() -> Content<'static> {
        Content {
            organization: "Northwind".to_owned(),
            inviter: None,
            role: "member".to_owned(),
            note_lines: Vec::new(),
            address: "alice@example.com",
            link: "https://app.example.com/i#abc",
            expires_at: datetime!(2026-12-22 20:48:59 +2),
            sender: "Acme invitations",
        }
    }

    #[test]
    fn everybody_reads_the_locale_that_fits_best() {
        let templates = Templates::compile().unwrap();
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
    fn every_locale_says_everything_in_both_parts() {
        let templates = Templates::compile().unwrap();
        assert_eq!(templates.locales.len(), LOCALES.len());
        let content = Content {
            inviter: Some("Ada Lovelace".to_owned()),
            note_lines: vec!["See you on Monday.".to_owned()],
            ..content()
        };
        for locale in templates.locales.values() {
            let rendered = templates.render(&locale.language, &content).unwrap();
            assert!(
                rendered.subject.contains("Northwind"),
                "{}",
                locale.language
            );
            for part in [&rendered.html, &rendered.text] {
                for word in [
                    "Northwind",
                    "Ada Lovelace",
                    "member",
                    "See you on Monday.",
                    "alice@example.com",
                    "2026",
                    "18:48",
                ] {
                    assert!(part.contains(word), "{word} in {}", locale.language);
                }
            }
            for line in rendered.text.lines().filter(|line| *line != content.link) {
                assert!(line.chars().count() <= 78, "{line}");
            }
        }
    }

    #[test]
    fn the_date_is_written_out_in_utc() {
        let rendered = Templates::compile()
            .unwrap()
            .render("en", &content())
            .unwrap();
        for part in [&rendered.html, &rendered.text] {
            assert!(part.contains("Tuesday, 22 December 2026 at 18:48 UTC"));
        }
    }

    #[test]
    fn a_locale_from_right_to_left_turns_the_layout() {
        let hebrew = LOCALES[0]
            .replace("language = \"en\"", "language = \"he\"")
            .replace("direction = \"ltr\"", "direction = \"rtl\"");
        let templates = Templates::compile_locales(&[LOCALES[0], &hebrew]).unwrap();
        let html = templates.render("he-IL", &content()).unwrap().html;
        assert!(html.contains("<html lang=\"he\" dir=\"rtl\""));
        assert!(!html.contains("align=\"left\""));
    }

    #[test]
    fn a_locale_without_a_sentence_does_not_start() {
        let short = LOCALES[0].replace("button = ", "knob = ");
        let error = Templates::compile_locales(&[&short]).err().unwrap();
        assert!(error.to_string().contains("[[button]]"), "{error}");
    }

    #[test]
    fn nothing_in_the_mail_is_fetched() {
        let html = Templates::compile()
            .unwrap()
            .render("en", &content())
            .unwrap()
            .html;
        for fetched in ["<img", "<link", "url(", "@import", "src=", "fonts."] {
            assert!(!html.contains(fetched), "{fetched}");
        }
        let links = html.match_indices("://").count();
        let own = html.matches("https://app.example.com/i#abc").count();
        let namespace = html.matches("http://www.w3.org/1999/xhtml").count();
        assert_eq!(links, own + namespace);
    }

    #[test]
    fn wrapping_leaves_the_link_alone_and_keeps_quoting() {
        let link = format!("https://app.example.com/i#{}", "a".repeat(100));
        let long = "word ".repeat(40);
        let wrapped = wrap(&format!("> {long}\n\n{link}\n"), &link);
        let lines: Vec<&str> = wrapped.lines().collect();
        assert!(lines.contains(&link.as_str()));
        assert!(lines[1].starts_with("> word"));
        assert!(
            lines
                .iter()
                .all(|line| *line == link || line.chars().count() <= 78)
        );
    }
}

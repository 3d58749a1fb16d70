//! Where templates come from: the program itself, and an operator's folder that replaces or adds files.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use super::problem::TemplateError;

/// The name of the HTML layout's file.
pub(super) const LAYOUT_MJML: &str = "invitation.mjml";
/// The name of the text layout's file.
pub(super) const LAYOUT_TEXT: &str = "invitation.txt";
/// How the file names of locales end.
pub(super) const LOCALE_SUFFIX: &str = ".toml";
/// Largest file, in bytes; the embedded ones are below a tenth of it.
const FILE_BYTES_MAX: u64 = 256 * 1_024;

const LOCALES: [(&str, &str); 8] = [
    ("en.toml", include_str!("../../../templates/en.toml")),
    ("ar.toml", include_str!("../../../templates/ar.toml")),
    ("de.toml", include_str!("../../../templates/de.toml")),
    ("es.toml", include_str!("../../../templates/es.toml")),
    ("fr.toml", include_str!("../../../templates/fr.toml")),
    ("ja.toml", include_str!("../../../templates/ja.toml")),
    ("pt-BR.toml", include_str!("../../../templates/pt-BR.toml")),
    (
        "zh-Hans.toml",
        include_str!("../../../templates/zh-Hans.toml"),
    ),
];

/// One file: its name, and what it says.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) name: Cow<'static, str>,
    pub(super) text: Cow<'static, str>,
}

/// All files that mails are made of.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) mjml: Source,
    pub(super) text: Source,
    pub(super) locales: Vec<Source>,
}

impl Source {
    const fn embedded(name: &'static str, text: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            text: Cow::Borrowed(text),
        }
    }
}

impl Sources {
    /// What the program brings along.
    pub(super) fn embedded() -> Self {
        let mjml = include_str!("../../../templates/invitation.mjml");
        let text = include_str!("../../../templates/invitation.txt");
        Self {
            mjml: Source::embedded(LAYOUT_MJML, mjml),
            text: Source::embedded(LAYOUT_TEXT, text),
            locales: LOCALES
                .map(|(name, text)| Source::embedded(name, text))
                .to_vec(),
        }
    }

    /// Puts the files of a folder in place of those of the same names, or beside them. A name that means nothing here
    /// is an error, because it may be a misspelled one; names that begin with a dot are left alone, because editors
    /// and mounted volumes leave such files.
    pub(super) fn overlay(&mut self, folder: &Path) -> Vec<TemplateError> {
        let unreadable = |name: String, error| TemplateError::new(name, &error);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return vec![unreadable(folder.display().to_string(), error)],
        };
        let mut errors = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    errors.push(unreadable(folder.display().to_string(), error));
                    continue;
                }
            };
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            match read(&entry.path(), &name) {
                Ok(text) => self.replace(name, text),
                Err(error) => errors.push(error),
            }
        }
        errors
    }

    pub(super) fn replace(&mut self, name: String, text: String) {
        let place = match name.as_str() {
            LAYOUT_MJML => &mut self.mjml,
            LAYOUT_TEXT => &mut self.text,
            _ => {
                let at = self.locales.iter().position(|source| source.name == name);
                let at = at.unwrap_or_else(|| {
                    self.locales.push(Source::embedded("", ""));
                    self.locales.len() - 1
                });
                &mut self.locales[at]
            }
        };
        *place = Source {
            name: name.into(),
            text: text.into(),
        };
    }
}

fn read(path: &Path, name: &str) -> Result<String, TemplateError> {
    let is_template = [LAYOUT_MJML, LAYOUT_TEXT].contains(&name) || name.ends_with(LOCALE_SUFFIX);
    if !is_template {
        let reason = "a template is invitation.mjml, invitation.txt or LOCALE.toml";
        return Err(TemplateError::new(name, &reason));
    }
    let unreadable = |error| TemplateError::new(name, &error);
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(TemplateError::new(name, &"the file is over 256 KiB"));
    }
    fs::read_to_string(path).map_err(unreadable)
}

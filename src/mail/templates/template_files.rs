//! Template files: those built into the program, and those of an operator's folder that replace or add to them.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use invitations_command::bounded_file;

use super::template_error::TemplateError;

pub(super) const LAYOUT_MJML: &str = "invitation.mjml";
pub(super) const LAYOUT_TEXT: &str = "invitation.txt";
pub(super) const LOCALE_SUFFIX: &str = ".toml";
/// More than ten times the largest built-in file.
const TEMPLATE_BYTES_MAX: u64 = 256 * 1_024;
/// Most entries of an operator's folder: a few layouts and every language.
const FOLDER_ENTRIES_MAX: usize = 1_000;

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

#[derive(Debug, Clone)]
pub(super) struct TemplateFile {
    pub(super) name: Cow<'static, str>,
    pub(super) text: Cow<'static, str>,
}

#[derive(Debug, Clone)]
pub(super) struct TemplateFiles {
    pub(super) mjml: TemplateFile,
    pub(super) text: TemplateFile,
    pub(super) locales: Vec<TemplateFile>,
}

impl TemplateFile {
    const fn embedded(name: &'static str, text: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            text: Cow::Borrowed(text),
        }
    }
}

impl TemplateFiles {
    pub(super) fn embedded() -> Self {
        let mjml = include_str!("../../../templates/invitation.mjml");
        let text = include_str!("../../../templates/invitation.txt");
        Self {
            mjml: TemplateFile::embedded(LAYOUT_MJML, mjml),
            text: TemplateFile::embedded(LAYOUT_TEXT, text),
            locales: LOCALES
                .map(|(name, text)| TemplateFile::embedded(name, text))
                .to_vec(),
        }
    }

    /// Replaces files by those of the same name in a folder, and adds the folder's other locales. Returns what is wrong
    /// with the folder.
    ///
    /// An unknown name is an error, because it may be misspelled. Names that begin with a dot are ignored, because
    /// editors and mounted volumes create such files.
    pub(super) fn overlay(&mut self, folder: &Path) -> Vec<TemplateError> {
        let folder_error = |error| TemplateError::new(folder.display().to_string(), &error);
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return vec![folder_error(error)],
        };
        let mut errors = Vec::new();
        for (index, entry) in entries.enumerate() {
            if index >= FOLDER_ENTRIES_MAX {
                let problem = format!("holds more than {FOLDER_ENTRIES_MAX} files");
                errors.push(TemplateError::new(folder.display().to_string(), &problem));
                break;
            }
            let added = entry.map_err(folder_error).and_then(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') {
                    return Ok(());
                }
                let text = read(&entry.path(), &name)?;
                self.replace(name, text);
                Ok(())
            });
            errors.extend(added.err());
        }
        errors
    }

    fn replace(&mut self, name: String, text: String) {
        let file = TemplateFile {
            name: name.into(),
            text: text.into(),
        };
        let same_name = self
            .locales
            .iter_mut()
            .chain([&mut self.mjml, &mut self.text])
            .find(|other| other.name == file.name);
        match same_name {
            Some(other) => *other = file,
            None => self.locales.push(file),
        }
    }
}

fn read(path: &Path, name: &str) -> Result<String, TemplateError> {
    let is_template = [LAYOUT_MJML, LAYOUT_TEXT].contains(&name) || name.ends_with(LOCALE_SUFFIX);
    if !is_template {
        let reason = "a template is invitation.mjml, invitation.txt or LOCALE.toml";
        return Err(TemplateError::new(name, &reason));
    }
    let file_error = |error| TemplateError::new(name, &error);
    bounded_file::read_regular(path, TEMPLATE_BYTES_MAX)
        .and_then(bounded_file::into_text)
        .map_err(file_error)
}

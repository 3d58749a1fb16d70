//! Reading of the files that settings name. An error names the setting and the file.

use std::fmt::Display;
use std::path::Path;

use invitations_command::bounded_file::{self, FILE_BYTES_MAX};

pub(super) fn read_text(file: &Path, setting: &str) -> Result<String, String> {
    let text = bounded_file::read_regular(file, FILE_BYTES_MAX).and_then(bounded_file::into_text);
    text.map_err(|error| format!("{setting} {}: {error}", file.display()))
}

pub(super) fn read<T, E: Display>(
    file: &Path,
    setting: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, String> {
    let text = read_text(file, setting)?;
    parse(&text).map_err(|error| format!("{setting} {}: {error}", file.display()))
}

/// A TOML syntax error as one line. The parser's own message quotes the line, which may contain a secret.
pub(super) fn toml_problem(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim().replace('\n', " ");
    match error.span() {
        Some(span) => {
            let before = text.as_bytes().get(..span.start).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count();
            format!("line {line}: {message}")
        }
        None => message,
    }
}

//! Reads a file of people to invite: CSV or NDJSON.
//!
//! Values go to the service exactly as they stand, white space included: what an address is, and what around it is
//! dropped, is decided in one place, and that is the service. Only what the protocol has no text for is parsed here:
//! durations, times, switches and metadata.

mod csv_file;
mod encoding;
mod json_lines;

use std::path::Path;
use std::time::Duration;

use prost_types::{Struct, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::metadata;
use crate::proto::NewInvitation;
use crate::proto::new_invitation::Expiry;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A header line, then a row for each person, separated by commas, semicolons or tabs
    Csv,
    /// A JSON object on each line
    Ndjson,
}

/// One person of the file.
#[derive(Clone)]
pub struct Person {
    /// The line of the file where the row starts, from 1.
    pub line: u64,
    /// What is sent.
    pub item: NewInvitation,
}

/// What people get who leave something out.
#[derive(Clone, Default)]
pub struct Defaults {
    /// The role.
    pub role: String,
    /// The personal note.
    pub message: String,
    /// The language.
    pub locale: String,
    /// Where people go after accepting.
    pub redirect_url: String,
    /// How long an invitation lasts.
    pub ttl: Option<Duration>,
}

/// What a file says of one person.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields {
    email: Option<String>,
    role: Option<String>,
    inviter_user_id: Option<String>,
    redirect_url: Option<String>,
    locale: Option<String>,
    message: Option<String>,
    ttl: Option<String>,
    expire_time: Option<String>,
    notify: Option<bool>,
    public_metadata: Option<Map<String, Value>>,
    private_metadata: Option<Map<String, Value>>,
}

impl Format {
    /// The format that the name of a file tells; CSV if it tells none.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("ndjson" | "jsonl") => Self::Ndjson,
            _ => Self::Csv,
        }
    }
}

/// Reads a whole file.
///
/// # Errors
///
/// Every problem of the file, one sentence each.
pub fn read(file: &[u8], format: Format, defaults: &Defaults) -> Result<Vec<Person>, Vec<String>> {
    let text = encoding::check(file).map_err(|problem| vec![problem])?;
    match format {
        Format::Csv => csv_file::read(text, defaults),
        Format::Ndjson => json_lines::read(text, defaults),
    }
}

impl Fields {
    fn person(self, line: u64, defaults: &Defaults) -> Result<Person, String> {
        let expiry = match (&self.ttl, &self.expire_time) {
            (Some(_), Some(_)) => return Err("has both ttl and expire_time".to_owned()),
            (None, Some(time)) => Some(Expiry::ExpireTime(parse_time(time)?)),
            (Some(ttl), None) => Some(to_expiry(parse_ttl(ttl)?)?),
            (None, None) => defaults.ttl.map(to_expiry).transpose()?,
        };
        let or = |value: Option<String>, default: &String| value.unwrap_or_else(|| default.clone());
        let item = NewInvitation {
            email: self.email.unwrap_or_default(),
            role: or(self.role, &defaults.role),
            inviter_user_id: self.inviter_user_id.unwrap_or_default(),
            redirect_url: or(self.redirect_url, &defaults.redirect_url),
            locale: or(self.locale, &defaults.locale),
            message: or(self.message, &defaults.message),
            notify: self.notify,
            public_metadata: to_struct("public_metadata", self.public_metadata)?,
            private_metadata: to_struct("private_metadata", self.private_metadata)?,
            expiry,
            ..Default::default()
        };
        Ok(Person { line, item })
    }
}

fn parse_ttl(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|error| format!("ttl {text:?} is no duration like 7d or 12h: {error}"))
}

fn to_expiry(ttl: Duration) -> Result<Expiry, String> {
    let ttl = prost_types::Duration::try_from(ttl).map_err(|_| "the ttl is too long".to_owned())?;
    Ok(Expiry::Ttl(ttl))
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.trim()
        .parse()
        .map_err(|_| format!("expire_time {text:?} is no time like 2027-01-31T12:00:00Z"))
}

fn to_struct(field: &str, object: Option<Map<String, Value>>) -> Result<Option<Struct>, String> {
    object
        .map(metadata::to_struct)
        .transpose()
        .map_err(|problem| format!("{field}: {problem}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Reads a CSV file.
    pub(crate) fn read(file: &[u8], defaults: &Defaults) -> Result<Vec<Person>, Vec<String>> {
        super::read(file, Format::Csv, defaults)
    }

    /// What is wrong with a CSV file.
    pub(crate) fn problems(file: &[u8]) -> Vec<String> {
        read(file, &Defaults::default()).err().unwrap()
    }

    #[test]
    fn a_file_tells_its_format_by_its_name() {
        for (name, format) in [
            ("people.csv", Format::Csv),
            ("people.NDJSON", Format::Ndjson),
            ("people.jsonl", Format::Ndjson),
            ("people", Format::Csv),
            ("-", Format::Csv),
        ] {
            assert_eq!(Format::of(Path::new(name)), format, "{name}");
        }
    }
}

//! Reads a list of people to invite, row by row: CSV or NDJSON. However long it is, one row is in memory.
//!
//! A row that cannot be read is an entry as well and never stops the others. It decides nothing about what is sent.
//!
//! Values go to the service exactly as they stand, white space included: what an address is, and what around it is
//! dropped, is decided in one place, and that is the service. Only what the protocol has no text for is parsed here:
//! durations, times, switches and metadata.

mod csv_file;
mod encoding;
mod json_lines;

use std::io::{self, BufRead};
use std::path::Path;
use std::time::Duration;

use prost_types::{Struct, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value};

use self::csv_file::CsvRows;
use self::encoding::Checker;
use self::json_lines::JsonLines;
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

/// Longest row: far above what the service takes in all fields together, and a bound for a quote that is never closed.
pub const ROW_BYTES_MAX: usize = 1024 * 1024;
const ROW_LONG: &str = "is longer than 1 MiB";

/// A row of the list.
pub enum Entry {
    /// Somebody to invite.
    Person(Box<Person>),
    /// A row that says nothing that could be sent.
    Unreadable(Unreadable),
}

/// A row that cannot be read.
pub struct Unreadable {
    /// The line of the file where it starts, from 1.
    pub line: u64,
    /// Its address, as far as it can be told.
    pub email: String,
    /// What is wrong.
    pub problem: String,
}

/// Why a list cannot be read any further.
#[derive(Debug)]
pub enum Trouble {
    /// The system says so.
    Read(io::Error),
    /// It is no list of people; every problem, one sentence each.
    File(Vec<String>),
}

impl Trouble {
    fn file(problem: &str) -> Self {
        Self::File(vec![problem.to_owned()])
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

/// The rows of a list, one at a time.
pub struct Rows {
    written: Written,
    format: Format,
    is_begun: bool,
}

enum Written {
    Csv(Box<CsvRows>),
    Ndjson(JsonLines),
}

impl Rows {
    /// Begins to read: the byte order mark and the header.
    pub fn open(input: impl BufRead + Send + 'static, format: Format) -> Result<Self, Trouble> {
        let input =
            Box::new(encoding::open(input)?.map_err(|problem| Trouble::File(vec![problem]))?);
        let written = match format {
            Format::Csv => Written::Csv(Box::new(CsvRows::open(input)?)),
            Format::Ndjson => Written::Ndjson(JsonLines::open(input)),
        };
        Ok(Self {
            written,
            format,
            is_begun: false,
        })
    }

    /// The next row; a list without any is a [`Trouble`].
    pub fn next(&mut self, defaults: &Defaults) -> Result<Option<Entry>, Trouble> {
        let entry = match &mut self.written {
            Written::Csv(rows) => rows.next(defaults)?,
            Written::Ndjson(rows) => rows.next(defaults)?,
        };
        if entry.is_none() && !self.is_begun {
            return Err(Trouble::file(match self.format {
                Format::Csv => "the file has a header but no rows",
                Format::Ndjson => "the file is empty",
            }));
        }
        self.is_begun = true;
        Ok(entry)
    }

    /// How many rows follow, read quickly.
    pub fn count(mut self) -> io::Result<u64> {
        let mut count = 0;
        while match &mut self.written {
            Written::Csv(rows) => rows.skip()?,
            Written::Ndjson(rows) => rows.skip()?,
        } {
            count += 1;
        }
        Ok(count)
    }
}

/// Finds the first byte of a file that is not UTF-8, piece by piece.
#[derive(Default)]
pub struct EncodingCheck(Checker);

impl EncodingCheck {
    /// Reads the next piece; what is wrong with it, if something is.
    pub fn read(&mut self, piece: &[u8]) -> Option<String> {
        self.0.read(piece)
    }

    /// What is wrong with the end.
    #[must_use]
    pub fn end(&self) -> Option<String> {
        self.0.end()
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
        read_as(file, Format::Csv, defaults)
    }

    /// Reads a whole file; if anything is wrong, all of it.
    pub(crate) fn read_as(
        file: &[u8],
        format: Format,
        defaults: &Defaults,
    ) -> Result<Vec<Person>, Vec<String>> {
        let told = |trouble| match trouble {
            Trouble::File(problems) => problems,
            Trouble::Read(error) => vec![error.to_string()],
        };
        // Pieces of an odd size end in the middle of everything.
        let input = io::BufReader::with_capacity(7, io::Cursor::new(file.to_vec()));
        let mut rows = Rows::open(input, format).map_err(told)?;
        let (mut people, mut problems) = (Vec::new(), Vec::new());
        while let Some(entry) = rows.next(defaults).map_err(told)? {
            match entry {
                Entry::Person(person) => people.push(*person),
                Entry::Unreadable(row) => {
                    problems.push(format!("line {}: {}", row.line, row.problem));
                }
            }
        }
        if problems.is_empty() {
            Ok(people)
        } else {
            Err(problems)
        }
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

//! Reads a CSV file of people to invite.
//!
//! Values go to the service exactly as they stand in their cells, white space included: what an address is, and what
//! around it is dropped, is decided in one place, and that is the service. Only `ttl` is parsed here, into a duration.

use std::time::Duration;

use csv::{ByteRecord, ReaderBuilder};

use crate::proto::NewInvitation;
use crate::proto::new_invitation::Expiry;

/// The columns a file may have.
const COLUMNS: [&str; 7] = [
    "email",
    "role",
    "inviter_user_id",
    "redirect_url",
    "locale",
    "message",
    "ttl",
];
const UTF8_BOM: &[u8] = b"\xef\xbb\xbf";
const UTF16_BOMS: [&[u8]; 2] = [b"\xff\xfe", b"\xfe\xff"];

/// One person of the file.
#[derive(Clone)]
pub struct Person {
    /// The line of the file where the row starts, from 1.
    pub line: u64,
    /// What is sent.
    pub item: NewInvitation,
}

/// What rows get that leave a cell empty.
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

/// Reads a whole file.
///
/// # Errors
///
/// Every problem of the file, one sentence each.
pub fn read(file: &[u8], defaults: &Defaults) -> Result<Vec<Person>, Vec<String>> {
    let text = check_encoding(file).map_err(|problem| vec![problem])?;
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text);
    let mut lines = LineCounter::new(text);
    let mut record = ByteRecord::new();
    let mut columns = None;
    let mut people = Vec::new();
    let mut problems = Vec::new();
    while reader
        .read_byte_record(&mut record)
        .map_err(|error| vec![error.to_string()])?
    {
        let line = lines.line_at(record.position().map_or(0, csv::Position::byte));
        let cells: Vec<&str> = record
            .iter()
            .map(|cell| str::from_utf8(cell).unwrap_or_default())
            .collect();
        let Some(columns) = &columns else {
            columns = Some(Columns::parse(&cells)?);
            continue;
        };
        match columns.person(line, &cells, defaults) {
            Ok(person) => people.push(person),
            Err(problem) => problems.push(format!("line {line}: {problem}")),
        }
    }
    if columns.is_none() {
        problems.push("the file is empty: its first line must name the columns".to_owned());
    } else if people.is_empty() && problems.is_empty() {
        problems.push("the file has a header but no rows".to_owned());
    }
    if problems.is_empty() {
        Ok(people)
    } else {
        Err(problems)
    }
}

/// Checks the encoding and drops a byte order mark.
fn check_encoding(file: &[u8]) -> Result<&[u8], String> {
    if UTF16_BOMS.iter().any(|bom| file.starts_with(bom)) {
        return Err("the file is UTF-16: save it as \"CSV UTF-8\"".to_owned());
    }
    let text = file.strip_prefix(UTF8_BOM).unwrap_or(file);
    match str::from_utf8(text) {
        Ok(_) => Ok(text),
        Err(error) => {
            let before = text.get(..error.valid_up_to()).unwrap_or_default();
            let line = before.split(|byte| *byte == b'\n').count();
            Err(format!(
                "line {line} is not UTF-8: save the file as \"CSV UTF-8\""
            ))
        }
    }
}

/// Finds the line of a place in the file.
///
/// The CSV reader's own count is where it began to look for a row, before the empty lines it skips.
struct LineCounter<'file> {
    text: &'file [u8],
    offset: usize,
    line: u64,
}

impl<'file> LineCounter<'file> {
    const fn new(text: &'file [u8]) -> Self {
        Self {
            text,
            offset: 0,
            line: 1,
        }
    }

    /// The line of the row that starts at or after `offset`; offsets must not go back.
    fn line_at(&mut self, offset: u64) -> u64 {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        while let Some(byte) = self.text.get(self.offset) {
            if self.offset >= offset && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            self.line += u64::from(*byte == b'\n');
            self.offset += 1;
        }
        self.line
    }
}

/// Where each known column is; the name of the column at each place.
struct Columns(Vec<&'static str>);

impl Columns {
    fn parse(header: &[&str]) -> Result<Self, Vec<String>> {
        let known = COLUMNS.join(", ");
        let mut columns = Vec::with_capacity(header.len());
        let mut problems = Vec::new();
        for name in header {
            let lowered = name.trim().to_ascii_lowercase();
            match COLUMNS.into_iter().find(|column| *column == lowered) {
                Some(column) if columns.contains(&column) => {
                    problems.push(format!("the column {column} is there twice"));
                }
                Some(column) => columns.push(column),
                None => problems.push(format!("unknown column {name:?}: known are {known}")),
            }
        }
        if let [only] = header
            && only.contains([';', '\t'])
        {
            problems = vec!["the columns must be separated by commas".to_owned()];
        } else if problems.is_empty() && !columns.contains(&"email") {
            problems.push(format!("the column email is missing: known are {known}"));
        }
        if problems.is_empty() {
            Ok(Self(columns))
        } else {
            Err(problems)
        }
    }

    fn person(&self, line: u64, cells: &[&str], defaults: &Defaults) -> Result<Person, String> {
        let Self(columns) = self;
        if cells.len() != columns.len() {
            let (found, expected) = (cells.len(), columns.len());
            let hint = if found > expected {
                " (text with commas must be quoted)"
            } else {
                ""
            };
            let cells = if found == 1 { "cell" } else { "cells" };
            return Err(format!(
                "has {found} {cells}, the header has {expected}{hint}"
            ));
        }
        let mut item = NewInvitation {
            role: defaults.role.clone(),
            message: defaults.message.clone(),
            locale: defaults.locale.clone(),
            redirect_url: defaults.redirect_url.clone(),
            ..Default::default()
        };
        let mut ttl = defaults.ttl;
        for (column, cell) in columns
            .iter()
            .zip(cells)
            .filter(|(_, cell)| !cell.is_empty())
        {
            match *column {
                "role" => (*cell).clone_into(&mut item.role),
                "inviter_user_id" => (*cell).clone_into(&mut item.inviter_user_id),
                "redirect_url" => (*cell).clone_into(&mut item.redirect_url),
                "locale" => (*cell).clone_into(&mut item.locale),
                "message" => (*cell).clone_into(&mut item.message),
                "ttl" => ttl = Some(parse_ttl(cell)?),
                _ => (*cell).clone_into(&mut item.email),
            }
        }
        item.expiry = ttl.map(expiry).transpose()?;
        Ok(Person { line, item })
    }
}

fn parse_ttl(cell: &str) -> Result<Duration, String> {
    humantime::parse_duration(cell.trim())
        .map_err(|error| format!("ttl {cell:?} is no duration like 7d or 12h: {error}"))
}

fn expiry(ttl: Duration) -> Result<Expiry, String> {
    let ttl = prost_types::Duration::try_from(ttl).map_err(|_| "the ttl is too long".to_owned())?;
    Ok(Expiry::Ttl(ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emails(file: &[u8]) -> Vec<(u64, String)> {
        let people = read(file, &Defaults::default()).unwrap();
        people
            .into_iter()
            .map(|person| (person.line, person.item.email))
            .collect()
    }

    fn problems(file: &[u8]) -> Vec<String> {
        read(file, &Defaults::default()).err().unwrap()
    }

    #[test]
    fn columns_come_in_any_order_and_case() {
        let file = b"\xef\xbb\xbfRole, EMAIL ,ttl,message\r\nadmin,a@b.co,7d,\"Hi, \"\"you\"\"\nthere\"\r\n,c@d.co,,\r\n";
        let people = read(file, &Defaults::default()).unwrap();
        let [first, second] = people.as_slice() else {
            panic!("two rows");
        };
        assert_eq!((first.line, second.line), (2, 4));
        assert_eq!(first.item.email, "a@b.co");
        assert_eq!(first.item.role, "admin");
        assert_eq!(first.item.message, "Hi, \"you\"\nthere");
        let week = prost_types::Duration {
            seconds: 7 * 24 * 3600,
            nanos: 0,
        };
        assert!(first.item.expiry == Some(Expiry::Ttl(week)));
        assert!(
            second.item
                == NewInvitation {
                    email: "c@d.co".to_owned(),
                    ..Default::default()
                }
        );
    }

    #[test]
    fn cells_are_sent_as_they_stand() {
        let file = b"email\n a@b.co\t\n\"\"\n\"c@d.co\r\n\"\n";
        let expected = [(2, " a@b.co\t"), (3, ""), (4, "c@d.co\r\n")];
        assert_eq!(
            emails(file),
            expected.map(|(line, email)| (line, email.to_owned()))
        );
    }

    #[test]
    fn lines_are_those_an_editor_shows() {
        let expected = [(2, "a@b.co"), (5, "c@d.co"), (6, "e@f.co")];
        let expected = expected.map(|(line, email)| (line, email.to_owned()));
        assert_eq!(emails(b"email\na@b.co\n\n\nc@d.co\ne@f.co"), expected);
        assert_eq!(
            emails(b"email\r\na@b.co\r\n\r\n\r\nc@d.co\r\ne@f.co"),
            expected
        );
    }

    #[test]
    fn empty_cells_take_the_defaults() {
        let defaults = Defaults {
            role: "member".to_owned(),
            locale: "de".to_owned(),
            ttl: Some(Duration::from_hours(1)),
            ..Defaults::default()
        };
        let people = read(b"email,role,ttl\na@b.co,admin,\nc@d.co,,2h\n", &defaults).unwrap();
        let seen: Vec<_> = people
            .iter()
            .map(|person| {
                let ttl = match person.item.expiry {
                    Some(Expiry::Ttl(ttl)) => ttl.seconds,
                    _ => 0,
                };
                (person.item.role.as_str(), person.item.locale.as_str(), ttl)
            })
            .collect();
        assert_eq!(seen, [("admin", "de", 3600), ("member", "de", 7200)]);
    }

    #[test]
    fn a_wrong_header_is_told_in_full() {
        let cases: [(&[u8], &str); 7] = [
            (b"", "the file is empty"),
            (b"email\n", "the file has a header but no rows"),
            (
                b"email,name\n",
                "unknown column \"name\": known are email, role,",
            ),
            (b"email,Email\n", "the column email is there twice"),
            (b"role\nx\n", "the column email is missing"),
            (b"email;role\n", "the columns must be separated by commas"),
            (b"\xff\xfee\0", "the file is UTF-16"),
        ];
        for (file, start) in cases {
            let found = problems(file);
            assert!(found[0].starts_with(start), "{found:?}");
        }
        assert_eq!(problems(b"mail,name\n").len(), 2);
    }

    #[test]
    fn bad_rows_are_named_by_line_all_at_once() {
        let found = problems(b"email,ttl\na@b.co,soon\nc@d.co,1d\n\ne@f.co\ng@h.co,1d,x\n");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("line 2: ttl \"soon\" is no duration"),
            "{found:?}"
        );
        assert_eq!(found[1], "line 5: has 1 cell, the header has 2");
        assert!(
            found[2].starts_with("line 6: has 3 cells, the header has 2 (text"),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_not_utf8_is_named_by_line() {
        let found = problems(b"email\na@b.co\nm\xfcller@b.co\n");
        assert_eq!(
            found,
            ["line 3 is not UTF-8: save the file as \"CSV UTF-8\""]
        );
    }
}

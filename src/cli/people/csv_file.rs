//! A CSV file of people: commas, semicolons or tabs, told by its header; the columns in any order.

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::{Defaults, Fields, Person};

/// The columns a file may have.
const COLUMNS: [&str; 11] = [
    "email",
    "role",
    "inviter_user_id",
    "redirect_url",
    "locale",
    "message",
    "ttl",
    "expire_time",
    "notify",
    "public_metadata",
    "private_metadata",
];
/// What may stand between cells; the first is that of a file with one column.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// Reads a whole file whose encoding was checked.
pub(super) fn read(text: &[u8], defaults: &Defaults) -> Result<Vec<Person>, Vec<String>> {
    let delimiter = delimiter(text);
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
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
            columns = Some(Columns::parse(&cells, delimiter)?);
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
struct Columns {
    names: Vec<&'static str>,
    delimiter: u8,
}

impl Columns {
    fn parse(header: &[&str], delimiter: u8) -> Result<Self, Vec<String>> {
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
        if problems.is_empty() && !columns.contains(&"email") {
            problems.push(format!("the column email is missing: known are {known}"));
        }
        if problems.is_empty() {
            Ok(Self {
                names: columns,
                delimiter,
            })
        } else {
            Err(problems)
        }
    }

    fn person(&self, line: u64, cells: &[&str], defaults: &Defaults) -> Result<Person, String> {
        if cells.len() != self.names.len() {
            let (found, expected) = (cells.len(), self.names.len());
            let hint = match self.delimiter {
                _ if found < expected => "",
                b';' => " (text with semicolons must be quoted)",
                b'\t' => " (text with tabs must be quoted)",
                _ => " (text with commas must be quoted)",
            };
            let cells = if found == 1 { "cell" } else { "cells" };
            return Err(format!(
                "has {found} {cells}, the header has {expected}{hint}"
            ));
        }
        let mut fields = Fields::default();
        let filled = self.names.iter().zip(cells);
        for (column, cell) in filled.filter(|(_, cell)| !cell.is_empty()) {
            let text = Some((*cell).to_owned());
            match *column {
                "role" => fields.role = text,
                "inviter_user_id" => fields.inviter_user_id = text,
                "redirect_url" => fields.redirect_url = text,
                "locale" => fields.locale = text,
                "message" => fields.message = text,
                "ttl" => fields.ttl = text,
                "expire_time" => fields.expire_time = text,
                "notify" => fields.notify = Some(parse_notify(cell)?),
                "public_metadata" => fields.public_metadata = Some(parse_metadata(column, cell)?),
                "private_metadata" => fields.private_metadata = Some(parse_metadata(column, cell)?),
                _ => fields.email = text,
            }
        }
        fields.person(line, defaults)
    }
}

/// What separates the cells of the header line, in which no cell needs quoting.
fn delimiter(text: &[u8]) -> u8 {
    let header = text
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    let count = |delimiter: u8| header.split(|byte| *byte == delimiter).count();
    // Of several with the same count the last one wins: commas.
    DELIMITERS
        .into_iter()
        .rev()
        .max_by_key(|delimiter| count(*delimiter))
        .unwrap_or(b',')
}

fn parse_notify(cell: &str) -> Result<bool, String> {
    match cell.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err("notify must be true or false".to_owned()),
    }
}

fn parse_metadata(column: &str, cell: &str) -> Result<Map<String, Value>, String> {
    serde_json::from_str(cell).map_err(|_| format!("{column} must be a JSON object"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::people::tests::{problems, read};
    use crate::proto::NewInvitation;
    use crate::proto::new_invitation::Expiry;
    use std::time::Duration;

    fn emails(file: &[u8]) -> Vec<(u64, String)> {
        let people = read(file, &Defaults::default()).unwrap();
        people
            .into_iter()
            .map(|person| (person.line, person.item.email))
            .collect()
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
    fn semicolons_and_tabs_separate_as_well() {
        let expected = [(2, "a,b@b.co".to_owned()), (3, "c@d.co".to_owned())];
        for file in [
            "role;email\nadmin;a,b@b.co\n;c@d.co\n",
            "role\temail\r\nadmin\ta,b@b.co\r\n\tc@d.co\r\n",
            "\u{feff}role;email\nadmin;\"a,b@b.co\"\n;c@d.co",
        ] {
            assert_eq!(emails(file.as_bytes()), expected, "{file:?}");
        }
        assert_eq!(
            problems(b"email;role\na@b.co;x;y\n"),
            ["line 2: has 3 cells, the header has 2 (text with semicolons must be quoted)"]
        );
    }

    #[test]
    fn every_field_of_an_item_can_be_a_column() {
        let file = b"email,expire_time,notify,public_metadata,private_metadata\n\
            a@b.co,2027-01-02T03:04:05Z,no,\"{\"\"plan\"\":\"\"pro\"\"}\",{}\n";
        let people = read(file, &Defaults::default()).unwrap();
        let item = &people[0].item;
        let time = prost_types::Timestamp {
            seconds: 1_798_859_045,
            nanos: 0,
        };
        assert!(item.expiry == Some(Expiry::ExpireTime(time)));
        assert_eq!(item.notify, Some(false));
        assert_eq!(item.public_metadata.as_ref().unwrap().fields.len(), 1);
        let found = problems(
            b"email,ttl,expire_time,notify,public_metadata\na,1d,2027-01-02T03:04:05Z,,\n\
              b,,tomorrow,,\nc,,,maybe,\nd,,,,[]\ne,,,,\"{\"\"n\"\":9007199254740993}\"\n",
        );
        assert_eq!(
            found,
            [
                "line 2: has both ttl and expire_time",
                "line 3: expire_time \"tomorrow\" is no time like 2027-01-31T12:00:00Z",
                "line 4: notify must be true or false",
                "line 5: public_metadata must be a JSON object",
                "line 6: public_metadata: metadata cannot hold the number 9007199254740993 exactly: write it as a string",
            ]
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
        let cases: [(&[u8], &str); 5] = [
            (b"", "the file is empty"),
            (b"email\n", "the file has a header but no rows"),
            (
                b"email,name\n",
                "unknown column \"name\": known are email, role,",
            ),
            (b"email,Email\n", "the column email is there twice"),
            (b"role\nx\n", "the column email is missing"),
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
}

//! A CSV file of people: commas, semicolons or tabs, told by its header; the columns in any order.

use std::io::{self, BufRead, Cursor, Read as _};

use csv_core::ReadRecordResult;
use serde_json::{Map, Value};

use super::encoding::Checker;
use super::{Defaults, Entry, Fields, Person, ROW_BYTES_MAX, ROW_LONG, Trouble, Unreadable};

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

/// Longest header that is looked at for what separates its cells; a longer one is no header of ours.
const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// Room for the cells of a row at first; it doubles as rows need more.
const CELLS_BYTES_FIRST: usize = 1024;

/// The rows of a file, one at a time.
pub(super) struct CsvRows {
    input: Box<dyn BufRead + Send>,
    parser: csv_core::Reader,
    columns: Columns,
    checker: Checker,
    /// The cells of a row, one after the other, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    /// The line that comes next.
    line: u64,
}

/// A row as it stands in the file.
struct Record {
    /// Where it starts.
    line: u64,
    bytes: usize,
    cells: usize,
    problem: Option<String>,
}

impl CsvRows {
    /// Reads the header.
    pub(super) fn open(mut input: Box<dyn BufRead + Send>) -> Result<Self, Trouble> {
        let mut header = Vec::new();
        loop {
            let read = (&mut input)
                .take(HEADER_BYTES_MAX)
                .read_until(b'\n', &mut header)?;
            let is_blank = header.iter().all(|byte| matches!(byte, b'\r' | b'\n'));
            if read == 0 || !is_blank || header.len() as u64 >= HEADER_BYTES_MAX {
                break;
            }
        }
        let delimiter = delimiter(&header);
        let mut rows = Self {
            input: Box::new(Cursor::new(header).chain(input)),
            parser: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            columns: Columns {
                names: Vec::new(),
                delimiter,
            },
            checker: Checker::default(),
            cells: vec![0; CELLS_BYTES_FIRST],
            ends: vec![0; COLUMNS.len()],
            line: 1,
        };
        let Some(record) = rows.record()? else {
            let problem = "the file is empty: its first line must name the columns";
            return Err(Trouble::file(problem));
        };
        if let Some(problem) = record.problem {
            return Err(Trouble::File(vec![problem]));
        }
        rows.columns = Columns::parse(&rows.texts(&record), delimiter).map_err(Trouble::File)?;
        Ok(rows)
    }

    /// Goes past the next row, or to the end.
    pub(super) fn skip(&mut self) -> io::Result<bool> {
        Ok(self.record()?.is_some())
    }

    /// The next row.
    pub(super) fn next(&mut self, defaults: &Defaults) -> io::Result<Option<Entry>> {
        let Some(record) = self.record()? else {
            return Ok(None);
        };
        let line = record.line;
        let texts = self.texts(&record);
        let person = match record.problem {
            Some(problem) => Err(problem),
            None => self.columns.person(line, &texts, defaults),
        };
        Ok(Some(person.map_or_else(
            |problem| {
                Entry::Unreadable(Unreadable {
                    line,
                    email: self.columns.email(&texts),
                    problem,
                })
            },
            |person| Entry::Person(Box::new(person)),
        )))
    }

    /// Reads a row into `cells` and `ends`.
    fn record(&mut self) -> io::Result<Option<Record>> {
        self.skip_line_ends()?;
        let line = self.line;
        let (mut bytes, mut cells) = (0, 0);
        let mut problem = None;
        let mut is_long = false;
        loop {
            let input = self.input.fill_buf()?;
            let is_end = input.is_empty();
            let (result, read, written, ended) = self.parser.read_record(
                input,
                self.cells.get_mut(bytes..).unwrap_or_default(),
                self.ends.get_mut(cells..).unwrap_or_default(),
            );
            let input = input.get(..read).unwrap_or_default();
            self.line += line_ends(input);
            problem = problem.or(self.checker.read(input));
            self.input.consume(read);
            (bytes, cells) = (bytes + written, cells + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if bytes >= ROW_BYTES_MAX => {
                    // A quote that is never closed takes the rest of the file: that is read and dropped.
                    is_long = true;
                    (bytes, cells) = (0, 0);
                }
                ReadRecordResult::OutputFull => self.cells.resize(self.cells.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if cells >= ROW_BYTES_MAX => {
                    is_long = true;
                    (bytes, cells) = (0, 0);
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(None),
            }
            if is_end {
                problem = problem.or(self.checker.end());
            }
        }
        if is_long {
            (bytes, cells) = (0, 0);
            problem = Some(format!("{ROW_LONG} (is a closing quote missing?)"));
        }
        Ok(Some(Record {
            line,
            bytes,
            cells,
            problem,
        }))
    }

    /// Goes past empty lines, which the parser would not tell of.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let input = self.input.fill_buf()?;
            let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            let length = input.iter().take_while(is_line_end).count();
            if length == 0 {
                return Ok(());
            }
            let input = input.get(..length).unwrap_or_default();
            self.line += line_ends(input);
            self.checker.read(input);
            self.input.consume(length);
        }
    }

    fn texts(&self, record: &Record) -> Vec<&str> {
        let mut start = 0;
        let ends = self.ends.get(..record.cells).unwrap_or_default();
        let cell = |end: &usize| {
            let cell = self.cells.get(start..*end).unwrap_or_default();
            start = *end;
            str::from_utf8(cell).unwrap_or_default()
        };
        debug_assert!(ends.last().is_none_or(|end| *end <= record.bytes));
        ends.iter().map(cell).collect()
    }
}

fn line_ends(text: &[u8]) -> u64 {
    text.split(|byte| *byte == b'\n').count() as u64 - 1
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

    /// The address of a row, good or not.
    fn email(&self, cells: &[&str]) -> String {
        let place = self.names.iter().position(|name| *name == "email");
        let cell = place.and_then(|place| cells.get(place));
        cell.copied().unwrap_or_default().to_owned()
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
    use crate::people::tests::{problems, read};
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

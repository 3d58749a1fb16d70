//! Reads a list in CSV format. The header decides the separator and the order of the columns.

use std::io::{self, BufRead, Cursor, Read as _};

use csv_core::ReadRecordResult;
use serde_json::{Map, Value};

use crate::list::list_row::{
    ListEntry, ListError, ListInput, ROW_BYTES_MAX, ROW_TOO_LONG, RowDefaults, RowParser, RowValues,
};
use crate::list::utf8::Utf8Checker;

const COLUMNS: &str = "email, role, inviter_user_id, redirect_url, locale, message, ttl, expire_time, notify, \
                       public_metadata, private_metadata";
/// Possible separators. The last one is used for a file with one column.
const DELIMITERS: [u8; 3] = [b'\t', b';', b','];

/// Most bytes of the header that are searched for the separator. No valid header is longer.
const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// First size of the buffer for the cells of a row. It doubles when a row needs more.
const CELLS_BYTES_FIRST: usize = 1024;
/// First number of cells that a row may have. It doubles when a row has more.
const CELLS_COUNT_FIRST: usize = 16;

pub(crate) struct CsvRows {
    input: ListInput,
    parser: csv_core::Reader,
    /// The name of each column, in the order of the file.
    columns: Vec<&'static str>,
    checker: Utf8Checker,
    /// The cells of the current row, one after the other.
    text: Vec<u8>,
    /// Where each cell ends in `text`.
    ends: Vec<usize>,
    /// Number of the next line, from 1.
    next_line: u64,
    /// Line where the current row starts, from 1.
    line: u64,
    cell_count: usize,
    /// Why the current row cannot be used.
    problem: Option<String>,
}

impl CsvRows {
    pub(crate) fn open(mut input: ListInput) -> Result<Self, ListError> {
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
        let delimiter = delimiter_of(&header);
        let mut rows = Self {
            input: Box::new(Cursor::new(header).chain(input)),
            parser: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            columns: Vec::new(),
            checker: Utf8Checker::default(),
            text: vec![0; CELLS_BYTES_FIRST],
            ends: vec![0; CELLS_COUNT_FIRST],
            next_line: 1,
            line: 1,
            cell_count: 0,
            problem: None,
        };
        if !rows.read_row()? {
            let problem = "the file is empty; its first line must name the columns";
            return Err(ListError::invalid(problem));
        }
        if let Some(problem) = rows.problem {
            return Err(ListError::invalid(problem));
        }
        rows.columns = column_names(&rows.cells()).map_err(ListError::Invalid)?;
        Ok(rows)
    }

    /// Skips empty lines here, because the parser does not count them.
    fn skip_line_breaks(&mut self) -> io::Result<()> {
        loop {
            let input = self.input.fill_buf()?;
            let is_line_break = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            let length = input.iter().take_while(is_line_break).count();
            if length == 0 {
                return Ok(());
            }
            let input = input.get(..length).unwrap_or_default();
            self.next_line += line_breaks(input);
            self.checker.check(input);
            self.input.consume(length);
        }
    }

    fn cells(&self) -> Vec<&str> {
        let mut start = 0;
        let ends = self.ends.get(..self.cell_count).unwrap_or_default();
        let cell = |end: &usize| {
            let cell = self.text.get(start..*end).unwrap_or_default();
            start = *end;
            str::from_utf8(cell).unwrap_or_default()
        };
        ends.iter().map(cell).collect()
    }

    fn email(&self, cells: &[&str]) -> String {
        let mut named = self.columns.iter().zip(cells);
        let cell = named.find(|(name, _)| **name == "email");
        cell.map(|(_, cell)| *cell).unwrap_or_default().to_owned()
    }

    fn values(&self, cells: &[&str]) -> Result<RowValues, String> {
        if cells.len() != self.columns.len() {
            return Err(wrong_cell_count(cells.len(), self.columns.len()));
        }
        let mut values = Map::new();
        let filled = self.columns.iter().zip(cells);
        for (column, cell) in filled.filter(|(_, cell)| !cell.is_empty()) {
            let value = match *column {
                "notify" => parse_notify(cell)?.into(),
                "public_metadata" | "private_metadata" => {
                    let object = serde_json::from_str(cell).map(Value::Object);
                    object.map_err(|_| format!("{column} must be a JSON object"))?
                }
                _ => Value::from(*cell),
            };
            values.insert((*column).to_owned(), value);
        }
        serde_json::from_value(values.into()).map_err(|error| error.to_string())
    }
}

impl RowParser for CsvRows {
    fn read_row(&mut self) -> io::Result<bool> {
        self.skip_line_breaks()?;
        self.line = self.next_line;
        self.problem = None;
        let (mut bytes, mut cell_count) = (0, 0);
        let mut is_too_long = false;
        loop {
            let input = self.input.fill_buf()?;
            let is_file_end = input.is_empty();
            let (result, read, written, ended) = self.parser.read_record(
                input,
                self.text.get_mut(bytes..).unwrap_or_default(),
                self.ends.get_mut(cell_count..).unwrap_or_default(),
            );
            let input = input.get(..read).unwrap_or_default();
            self.next_line += line_breaks(input);
            self.problem = self.problem.take().or(self.checker.check(input));
            self.input.consume(read);
            (bytes, cell_count) = (bytes + written, cell_count + ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if bytes < ROW_BYTES_MAX => {
                    self.text.resize(self.text.len() * 2, 0);
                }
                ReadRecordResult::OutputEndsFull if cell_count < ROW_BYTES_MAX => {
                    self.ends.resize(self.ends.len() * 2, 0);
                }
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    // The rest of the row is read and dropped. A quote that is never closed extends to the end of the file.
                    is_too_long = true;
                    (bytes, cell_count) = (0, 0);
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return Ok(false),
            }
            if is_file_end {
                self.problem = self.problem.take().or(self.checker.finish());
            }
        }
        self.cell_count = if is_too_long { 0 } else { cell_count };
        if is_too_long {
            self.problem = Some(format!("{ROW_TOO_LONG} (is a closing quote missing?)"));
        }
        Ok(true)
    }

    fn entry(&self, defaults: &RowDefaults) -> ListEntry {
        let cells = self.cells();
        let values = self
            .problem
            .clone()
            .map_or_else(|| self.values(&cells), Err);
        let invitee = values.and_then(|values| values.into_invitee(self.line, defaults));
        ListEntry::new(self.line, invitee, || self.email(&cells))
    }
}

fn line_breaks(text: &[u8]) -> u64 {
    text.split(|byte| *byte == b'\n').count() as u64 - 1
}

fn wrong_cell_count(found: usize, expected: usize) -> String {
    let cells = if found == 1 { "cell" } else { "cells" };
    let hint = if found > expected {
        " (a cell that contains the separator must be quoted)"
    } else {
        ""
    };
    format!("the row has {found} {cells}, the header has {expected}{hint}")
}

/// The known columns of a header, in its order. The error has all problems.
fn column_names(header: &[&str]) -> Result<Vec<&'static str>, Vec<String>> {
    let mut columns = Vec::with_capacity(header.len());
    let mut problems = Vec::new();
    for name in header {
        let lowered = name.trim().to_ascii_lowercase();
        match COLUMNS.split(", ").find(|column| *column == lowered) {
            Some(column) if columns.contains(&column) => {
                problems.push(format!("the column {column} is there twice"));
            }
            Some(column) => columns.push(column),
            None => problems.push(format!(
                "unknown column {name:?}; known columns are {COLUMNS}"
            )),
        }
    }
    if problems.is_empty() && !columns.contains(&"email") {
        problems.push(format!(
            "the column email is missing; known columns are {COLUMNS}"
        ));
    }
    if problems.is_empty() {
        Ok(columns)
    } else {
        Err(problems)
    }
}

/// The separator that the header line has most often. No name of a column needs quotes, so quotes are ignored.
pub(crate) fn delimiter_of(text: &[u8]) -> u8 {
    let header = text
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .find(|line| !line.is_empty())
        .unwrap_or_default();
    // Of several with the same count, `max_by_key` returns the last one.
    DELIMITERS
        .into_iter()
        .max_by_key(|delimiter| header.split(|byte| byte == delimiter).count())
        .unwrap_or(b',')
}

fn parse_notify(cell: &str) -> Result<bool, String> {
    match cell.trim().to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" => Ok(true),
        "false" | "no" | "0" => Ok(false),
        _ => Err("notify must be true or false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::list_reader::tests::read_csv;
    use crate::proto::NewInvitation;
    use crate::proto::new_invitation::Expiration;
    use std::time::Duration;

    fn problems(file: &[u8]) -> Vec<String> {
        read_csv(file, &RowDefaults::default()).err().unwrap()
    }

    fn emails(file: &[u8]) -> Vec<(u64, String)> {
        let invitees = read_csv(file, &RowDefaults::default()).unwrap();
        invitees
            .into_iter()
            .map(|invitee| (invitee.line, invitee.item.email))
            .collect()
    }

    #[test]
    fn columns_can_have_any_order_and_case() {
        let file = b"\xef\xbb\xbfRole, EMAIL ,ttl,message\r\nadmin,a@b.co,7d,\"Hi, \"\"you\"\"\nthere\"\r\n,c@d.co,,\r\n";
        let invitees = read_csv(file, &RowDefaults::default()).unwrap();
        let [first, second] = invitees.as_slice() else {
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
        assert!(first.item.expiration == Some(Expiration::Ttl(week)));
        assert!(
            second.item
                == NewInvitation {
                    email: "c@d.co".to_owned(),
                    key: "4".to_owned(),
                    ..Default::default()
                }
        );
    }

    #[test]
    fn semicolons_and_tabs_separate_cells_too() {
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
            [
                "line 2: the row has 3 cells, the header has 2 (a cell that contains the separator must be quoted)"
            ]
        );
    }

    #[test]
    fn every_field_of_an_item_has_a_column() {
        let file = b"email,expire_time,notify,public_metadata,private_metadata\n\
            a@b.co,2027-01-02T03:04:05Z,no,\"{\"\"plan\"\":\"\"pro\"\"}\",{}\n";
        let invitees = read_csv(file, &RowDefaults::default()).unwrap();
        let item = &invitees[0].item;
        let time = prost_types::Timestamp {
            seconds: 1_798_859_045,
            nanos: 0,
        };
        assert!(item.expiration == Some(Expiration::ExpireTime(time)));
        assert_eq!(item.notify, Some(false));
        assert_eq!(item.public_metadata.as_ref().unwrap().fields.len(), 1);
        let found = problems(
            b"email,ttl,expire_time,notify,public_metadata\na,1d,2027-01-02T03:04:05Z,,\n\
              b,,tomorrow,,\nc,,,maybe,\nd,,,,[]\ne,,,,\"{\"\"n\"\":9007199254740993}\"\n",
        );
        assert_eq!(
            found,
            [
                "line 2: ttl and expire_time must not both be given",
                "line 3: expire_time \"tomorrow\" is not a time like 2027-01-31T12:00:00Z",
                "line 4: notify must be true or false",
                "line 5: public_metadata must be a JSON object",
                "line 6: public_metadata: metadata cannot hold the number 9007199254740993 exactly; write it as a string",
            ]
        );
    }

    #[test]
    fn cells_are_not_trimmed() {
        let file = b"email\n a@b.co\t\n\"\"\n\"c@d.co\r\n\"\n";
        let expected = [(2, " a@b.co\t"), (3, ""), (4, "c@d.co\r\n")];
        assert_eq!(
            emails(file),
            expected.map(|(line, email)| (line, email.to_owned()))
        );
    }

    #[test]
    fn line_numbers_are_those_of_a_text_editor() {
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
        let defaults = RowDefaults {
            role: Some("member".to_owned()),
            locale: Some("de".to_owned()),
            ttl: Some(Duration::from_hours(1).into()),
            ..RowDefaults::default()
        };
        let invitees = read_csv(b"email,role,ttl\na@b.co,admin,\nc@d.co,,2h\n", &defaults).unwrap();
        let seen: Vec<_> = invitees
            .iter()
            .map(|invitee| {
                let ttl = match invitee.item.expiration {
                    Some(Expiration::Ttl(ttl)) => ttl.seconds,
                    _ => 0,
                };
                (
                    invitee.item.role.as_str(),
                    invitee.item.locale.as_str(),
                    ttl,
                )
            })
            .collect();
        assert_eq!(seen, [("admin", "de", 3600), ("member", "de", 7200)]);
    }

    #[test]
    fn all_problems_of_a_header_are_reported() {
        let cases: [(&[u8], &str); 5] = [
            (b"", "the file is empty"),
            (b"email\n", "the file has a header but no rows"),
            (
                b"email,name\n",
                "unknown column \"name\"; known columns are email, role,",
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
    fn all_bad_rows_are_reported_with_their_lines() {
        let found = problems(b"email,ttl\na@b.co,soon\nc@d.co,1d\n\ne@f.co\ng@h.co,1d,x\n");
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("line 2: ttl \"soon\" is not a duration"),
            "{found:?}"
        );
        assert_eq!(found[1], "line 5: the row has 1 cell, the header has 2");
        assert!(
            found[2].starts_with("line 6: the row has 3 cells, the header has 2 (a cell"),
            "{found:?}"
        );
    }
}

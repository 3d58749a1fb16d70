//! Reads a list with one JSON object per line (NDJSON). The members have the names of the CSV columns.

use std::io;

use crate::list::list_row::{
    ListEntry, ListInput, ROW_BYTES_MAX, ROW_TOO_LONG, RowDefaults, RowParser, RowValues,
};
use crate::list::utf8::Utf8Checker;

pub(crate) struct NdjsonRows {
    input: ListInput,
    checker: Utf8Checker,
    /// The current line.
    text: Vec<u8>,
    /// Number of the current line, from 1.
    line: u64,
    /// Why the current line cannot be used.
    problem: Option<String>,
}

impl NdjsonRows {
    pub(crate) fn new(input: ListInput) -> Self {
        Self {
            input,
            checker: Utf8Checker::default(),
            text: Vec::new(),
            line: 0,
            problem: None,
        }
    }

    /// The address of a line that is JSON but not a valid row.
    fn email(&self) -> String {
        let value = serde_json::from_slice::<serde_json::Value>(&self.text).unwrap_or_default();
        let email = value.get("email").and_then(serde_json::Value::as_str);
        email.unwrap_or_default().to_owned()
    }
}

impl RowParser for NdjsonRows {
    /// Skips empty lines.
    fn read_row(&mut self) -> io::Result<bool> {
        loop {
            self.text.clear();
            self.problem = None;
            let mut is_too_long = false;
            let (mut is_line_end, mut is_file_end) = (false, false);
            while !is_line_end {
                let input = self.input.fill_buf()?;
                is_file_end = input.is_empty();
                let length = input.iter().position(|byte| *byte == b'\n');
                is_line_end = is_file_end || length.is_some();
                let length = length.map_or(input.len(), |length| length + 1);
                let input = input.get(..length).unwrap_or_default();
                self.problem = self.problem.take().or(self.checker.check(input));
                if self.text.len() + length > ROW_BYTES_MAX {
                    is_too_long = true;
                } else {
                    self.text.extend_from_slice(input);
                }
                self.input.consume(length);
            }
            if is_file_end {
                self.problem = self.problem.take().or(self.checker.finish());
            }
            self.line += 1;
            if is_too_long {
                self.text.clear();
                self.problem = Some(ROW_TOO_LONG.to_owned());
                return Ok(true);
            }
            let is_blank = self.text.trim_ascii().is_empty();
            if !is_blank || is_file_end {
                return Ok(!is_blank);
            }
        }
    }

    fn entry(&self, defaults: &RowDefaults) -> ListEntry {
        let values = self.problem.clone().map_or_else(
            || serde_json::from_slice(&self.text).map_err(|error| parse_problem(&error)),
            Err,
        );
        let invitee = values.and_then(|values: RowValues| values.into_invitee(self.line, defaults));
        ListEntry::new(self.line, invitee, || self.email())
    }
}

/// The message of an error with its column. The line in the message of the parser is always 1, so it is removed.
fn parse_problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    format!("{text} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::list_reader::ListFormat;
    use crate::list::list_reader::tests::read_list;
    use crate::list::list_row::Invitee;
    use crate::proto::new_invitation::Expiration;

    fn read(file: &[u8], defaults: &RowDefaults) -> Result<Vec<Invitee>, Vec<String>> {
        read_list(file, ListFormat::Ndjson, defaults)
    }

    #[test]
    fn each_line_is_one_row() {
        let file = br#"{"email":"a@b.co","role":"admin","ttl":"7d","notify":false,"public_metadata":{"plan":"pro"}}

{"email":" c@d.co\t"}
"#;
        let invitees = read(file, &RowDefaults::default()).unwrap();
        let [first, second] = invitees.as_slice() else {
            panic!("two rows");
        };
        assert_eq!((first.line, second.line), (1, 3));
        assert_eq!(
            (first.item.role.as_str(), first.item.notify),
            ("admin", Some(false))
        );
        let week = prost_types::Duration {
            seconds: 7 * 24 * 3600,
            nanos: 0,
        };
        assert!(first.item.expiration == Some(Expiration::Ttl(week)));
        assert_eq!(second.item.email, " c@d.co\t");
    }

    #[test]
    fn all_bad_lines_are_reported() {
        let file = b"{\"email\":\"a@b.co\",\"name\":\"x\"}\n{\"email\":1}\nplain\n{\"email\":\"a@b.co\"}\n";
        let found = read(file, &RowDefaults::default()).err().unwrap();
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with("line 1: unknown field `name`, expected one of `email`"),
            "{found:?}"
        );
        assert!(
            found[1].starts_with("line 2: invalid type: integer `1`, expected a string (column"),
            "{found:?}"
        );
        assert!(
            found[2].starts_with("line 3: expected value (column"),
            "{found:?}"
        );
        assert_eq!(
            read(b"\n", &RowDefaults::default()).err().unwrap(),
            ["the file is empty"]
        );
    }
}

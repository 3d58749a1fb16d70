//! A file of people with one JSON object a line (NDJSON), its members named as the columns of a CSV file.

use std::io::{self, BufRead};

use super::encoding::Checker;
use super::{Defaults, Entry, Fields, ROW_BYTES_MAX, ROW_LONG, Unreadable};

/// The lines of a file, one at a time. Empty lines are passed over.
pub(super) struct JsonLines {
    input: Box<dyn BufRead + Send>,
    checker: Checker,
    text: Vec<u8>,
    line: u64,
}

impl JsonLines {
    /// Begins to read.
    pub(super) fn open(input: Box<dyn BufRead + Send>) -> Self {
        Self {
            input,
            checker: Checker::default(),
            text: Vec::new(),
            line: 0,
        }
    }

    /// Goes past the next line that is not empty, or to the end.
    pub(super) fn skip(&mut self) -> io::Result<bool> {
        Ok(self.read_line()?.is_some())
    }

    /// The next line that is not empty.
    pub(super) fn next(&mut self, defaults: &Defaults) -> io::Result<Option<Entry>> {
        let Some(read) = self.read_line()? else {
            return Ok(None);
        };
        let line = self.line;
        let person = match read {
            Err(problem) => Err(problem),
            Ok(()) => serde_json::from_slice::<Fields>(&self.text)
                .map_err(|error| self::problem(&error))
                .and_then(|fields| fields.person(line, defaults)),
        };
        Ok(Some(person.map_or_else(
            |problem| {
                Entry::Unreadable(Unreadable {
                    line,
                    email: self.email(),
                    problem,
                })
            },
            |person| Entry::Person(Box::new(person)),
        )))
    }

    /// The address of a line that is JSON at least.
    fn email(&self) -> String {
        let value = serde_json::from_slice::<serde_json::Value>(&self.text).unwrap_or_default();
        let email = value.get("email").and_then(serde_json::Value::as_str);
        email.unwrap_or_default().to_owned()
    }

    /// Reads a line that is not empty into `text`; what is wrong with it, if something is.
    fn read_line(&mut self) -> io::Result<Option<Result<(), String>>> {
        loop {
            self.text.clear();
            let mut problem = None;
            let mut is_long = false;
            let (mut is_end, mut is_file_end) = (false, false);
            while !is_end {
                let input = self.input.fill_buf()?;
                is_file_end = input.is_empty();
                let length = input.iter().position(|byte| *byte == b'\n');
                is_end = is_file_end || length.is_some();
                let length = length.map_or(input.len(), |length| length + 1);
                let input = input.get(..length).unwrap_or_default();
                problem = problem.or(self.checker.read(input));
                if self.text.len() + length > ROW_BYTES_MAX {
                    is_long = true;
                } else {
                    self.text.extend_from_slice(input);
                }
                self.input.consume(length);
            }
            if is_file_end {
                problem = problem.or(self.checker.end());
            }
            self.line += 1;
            if is_long {
                self.text.clear();
                return Ok(Some(Err(ROW_LONG.to_owned())));
            }
            if !self.text.trim_ascii().is_empty() {
                return Ok(Some(problem.map_or(Ok(()), Err)));
            }
            if is_file_end {
                return Ok(None);
            }
        }
    }
}

/// The parser counts lines of its own, of which there is only one.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    format!("{text} (column {})", error.column())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::Format;
    use crate::people::Person;
    use crate::people::tests::read_as;
    use crate::proto::new_invitation::Expiry;

    fn read(file: &[u8], defaults: &Defaults) -> Result<Vec<Person>, Vec<String>> {
        read_as(file, Format::Ndjson, defaults)
    }

    #[test]
    fn each_line_is_a_person() {
        let file = br#"{"email":"a@b.co","role":"admin","ttl":"7d","notify":false,"public_metadata":{"plan":"pro"}}

{"email":" c@d.co\t"}
"#;
        let people = read(file, &Defaults::default()).unwrap();
        let [first, second] = people.as_slice() else {
            panic!("two people");
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
        assert!(first.item.expiry == Some(Expiry::Ttl(week)));
        assert_eq!(second.item.email, " c@d.co\t");
    }

    #[test]
    fn bad_lines_are_named_all_at_once() {
        let file = b"{\"email\":\"a@b.co\",\"name\":\"x\"}\n{\"email\":1}\nplain\n{\"email\":\"a@b.co\"}\n";
        let found = read(file, &Defaults::default()).err().unwrap();
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
            read(b"\n", &Defaults::default()).err().unwrap(),
            ["the file is empty"]
        );
    }
}

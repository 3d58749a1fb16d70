//! Reads a list of people in either format.

use std::io::{self, BufRead};
use std::path::Path;

use crate::list::csv_rows::CsvRows;
use crate::list::list_row::{ListEntry, ListError, RowDefaults, RowParser};
use crate::list::ndjson_rows::NdjsonRows;
use crate::list::utf8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ListFormat {
    /// A header line, then one row per person; separated by commas, semicolons or tabs
    Csv,
    /// One JSON object per line
    Ndjson,
}

impl ListFormat {
    /// The format that the extension of a file name stands for. CSV for unknown extensions.
    pub(crate) fn of(path: &Path) -> Self {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.map(str::to_ascii_lowercase).as_deref() {
            Some("ndjson" | "jsonl") => Self::Ndjson,
            _ => Self::Csv,
        }
    }
}

pub(crate) struct ListReader {
    rows: Box<dyn RowParser>,
    format: ListFormat,
    has_rows: bool,
}

impl ListReader {
    pub(crate) fn open(
        input: impl BufRead + Send + 'static,
        format: ListFormat,
    ) -> Result<Self, ListError> {
        let input = Box::new(utf8::skip_byte_order_mark(input)?.map_err(ListError::invalid)?);
        Ok(Self {
            rows: match format {
                ListFormat::Csv => Box::new(CsvRows::open(input)?),
                ListFormat::Ndjson => Box::new(NdjsonRows::new(input)),
            },
            format,
            has_rows: false,
        })
    }

    /// The next row, or `None` at the end. A list without rows is an error.
    pub(crate) fn next_entry(
        &mut self,
        defaults: &RowDefaults,
    ) -> Result<Option<ListEntry>, ListError> {
        let is_row = self.rows.read_row()?;
        if !is_row && !self.has_rows {
            return Err(ListError::invalid(match self.format {
                ListFormat::Csv => "the file has a header but no rows",
                ListFormat::Ndjson => "the file is empty",
            }));
        }
        self.has_rows = true;
        Ok(is_row.then(|| self.rows.entry(defaults)))
    }

    /// Counts the remaining rows without parsing their values.
    pub(crate) fn count_rows(mut self) -> io::Result<u64> {
        let mut count = 0;
        while self.rows.read_row()? {
            count += 1;
        }
        Ok(count)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::list::list_row::Invitee;

    pub(crate) fn read_csv(
        file: &[u8],
        defaults: &RowDefaults,
    ) -> Result<Vec<Invitee>, Vec<String>> {
        read_list(file, ListFormat::Csv, defaults)
    }

    /// Reads a whole file. Returns all problems if there are any.
    pub(crate) fn read_list(
        file: &[u8],
        format: ListFormat,
        defaults: &RowDefaults,
    ) -> Result<Vec<Invitee>, Vec<String>> {
        let problems_of = |error| match error {
            ListError::Invalid(problems) => problems,
            ListError::Io(error) => vec![error.to_string()],
        };
        // The small buffer ends in the middle of rows, quotes and characters.
        let input = io::BufReader::with_capacity(7, io::Cursor::new(file.to_vec()));
        let mut reader = ListReader::open(input, format).map_err(problems_of)?;
        let (mut invitees, mut problems) = (Vec::new(), Vec::new());
        while let Some(entry) = reader.next_entry(defaults).map_err(problems_of)? {
            match entry {
                ListEntry::Invitee(invitee) => invitees.push(*invitee),
                ListEntry::Unreadable { line, problem, .. } => {
                    problems.push(format!("line {line}: {problem}"));
                }
            }
        }
        if problems.is_empty() {
            Ok(invitees)
        } else {
            Err(problems)
        }
    }

    #[test]
    fn the_file_name_selects_the_format() {
        for (name, format) in [
            ("people.csv", ListFormat::Csv),
            ("people.NDJSON", ListFormat::Ndjson),
            ("people.jsonl", ListFormat::Ndjson),
            ("people", ListFormat::Csv),
            ("-", ListFormat::Csv),
        ] {
            assert_eq!(ListFormat::of(Path::new(name)), format, "{name}");
        }
    }
}

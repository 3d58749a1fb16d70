//! The file of `suppression add` and `suppression lift`: one address per line, or CSV with a header.

use prost_types::Timestamp;

use crate::commands::suppression::suppression_reason::parse_reason;
use crate::list::delimiter_of;
use crate::proto::SuppressionReason;
use crate::time_argument::parse_end;

const COLUMNS: &str = "email, reason, expire_time";
/// Problems that are named. The others are only counted.
const PROBLEMS_SHOWN_MAX: usize = 20;

#[derive(Clone, PartialEq)]
pub(super) struct AddressRow {
    /// As the file has it, with its spaces.
    pub(super) email: String,
    pub(super) reason: Option<SuppressionReason>,
    pub(super) expire_time: Option<Timestamp>,
}

impl AddressRow {
    pub(super) const fn new(email: String) -> Self {
        Self {
            email,
            reason: None,
            expire_time: None,
        }
    }
}

/// The error has one sentence per problem.
pub(super) fn parse_addresses(text: &str) -> Result<Vec<AddressRow>, String> {
    let text = text.trim_start_matches('\u{feff}');
    let delimiter = delimiter_of(text.as_bytes());
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header = lines.clone().next().unwrap_or_default();
    let mut names = header.split(char::from(delimiter));
    let rows = if names.any(|name| column_name(name) == "email") {
        parse_table(text, delimiter)?
    } else {
        let line = |line: &str| AddressRow::new(line.to_owned());
        lines.by_ref().map(line).collect()
    };
    if rows.is_empty() {
        return Err("the file has no addresses".to_owned());
    }
    Ok(rows)
}

fn column_name(cell: &str) -> String {
    cell.trim().trim_matches('"').to_ascii_lowercase()
}

fn parse_table(text: &str, delimiter: u8) -> Result<Vec<AddressRow>, String> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?;
    let columns: Vec<String> = header.iter().map(column_name).collect();
    for (index, column) in columns.iter().enumerate() {
        if !COLUMNS.split(", ").any(|known| known == column) {
            return Err(format!(
                "unknown column {column:?}; known columns are {COLUMNS}"
            ));
        }
        if columns.iter().take(index).any(|earlier| earlier == column) {
            return Err(format!("the column {column} is there twice"));
        }
    }
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for record in reader.records() {
        let row = match &record {
            Ok(record) => parse_row(&columns, record),
            Err(error) => Err(error.to_string()),
        };
        match row {
            Ok(row) => rows.push(row),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        return Ok(rows);
    }
    let omitted = problems.len().saturating_sub(PROBLEMS_SHOWN_MAX);
    problems.truncate(PROBLEMS_SHOWN_MAX);
    if omitted > 0 {
        problems.push(format!("and {omitted} more"));
    }
    Err(problems.join("\n  "))
}

fn parse_row(columns: &[String], record: &csv::StringRecord) -> Result<AddressRow, String> {
    let mut row = AddressRow::new(String::new());
    let line = record.position().map_or(0, csv::Position::line);
    for (column, cell) in columns.iter().zip(record).filter(|(_, it)| !it.is_empty()) {
        let problem = |problem: String| format!("line {line}: {column} {cell:?} is {problem}");
        match column.as_str() {
            "reason" => row.reason = Some(parse_reason(cell).map_err(problem)?),
            "expire_time" => row.expire_time = Some(parse_end(cell).map_err(problem)?),
            _ => cell.clone_into(&mut row.email),
        }
    }
    Ok(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emails(text: &str) -> Vec<String> {
        let rows = parse_addresses(text).unwrap_or_default();
        rows.into_iter().map(|row| row.email).collect()
    }

    #[test]
    fn a_file_without_a_header_has_one_address_per_line() {
        let text = "\u{feff}a@b.co\r\n\n  \n c@d.co\nnot an address";
        assert_eq!(emails(text), ["a@b.co", " c@d.co", "not an address"]);
    }

    #[test]
    fn a_file_with_a_header_has_columns_in_any_order() {
        let text = "Reason;EMAIL;expire_time\nHARD_BOUNCE;a@b.co;\n;c@d.co;2027-01-31T12:00:00Z\n\ncomplaint;e@f.co;\n";
        let rows = parse_addresses(text).unwrap_or_default();
        let reasons: Vec<_> = rows.iter().map(|row| row.reason).collect();
        assert_eq!(
            reasons,
            [
                Some(SuppressionReason::HardBounce),
                None,
                Some(SuppressionReason::Complaint)
            ]
        );
        let end = rows[1].expire_time.map(|time| time.to_string());
        assert_eq!(end.as_deref(), Some("2027-01-31T12:00:00Z"));
        assert_eq!(emails(text), ["a@b.co", "c@d.co", "e@f.co"]);
        assert_eq!(emails("email\na@b.co\n"), ["a@b.co"]);
    }

    #[test]
    fn the_problems_of_a_file_are_named() {
        for (text, expected) in [
            ("", "no addresses"),
            ("email,reason\n", "no addresses"),
            ("email,name\na@b.co,Ada\n", "unknown column \"name\""),
            ("email,email\na@b.co,a@b.co\n", "email is there twice"),
            (
                "email,reason\na@b.co,bored\n",
                "line 2: reason \"bored\" is not a reason",
            ),
            (
                "email,expire_time\na@b.co,soon\n",
                "line 2: expire_time \"soon\" is neither",
            ),
            ("email,reason\na@b.co\n", "line: 2"),
        ] {
            let problem = parse_addresses(text).err().unwrap_or_default();
            assert!(problem.contains(expected), "{text:?}: {problem}");
        }
        let many = format!("email,reason\n{}", "a@b.co,bored\n".repeat(30));
        let problem = parse_addresses(&many).err().unwrap_or_default();
        assert!(problem.ends_with("and 10 more"), "{problem}");
    }
}

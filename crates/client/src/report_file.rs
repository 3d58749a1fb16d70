//! What became of each row, as a CSV file for whoever goes on with it: a spreadsheet or a script.
//!
//! Rows are written as they come. Where their mails are is put in at the end, when it is known, in a new file that takes
//! the place of the first one.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::mails::KnownMails;
use super::row::{Mail, Outcome, Row};
use super::status::short_name;
use invitations_command::error::CommandError;

const HEADER: [&str; 9] = [
    "line",
    "email",
    "outcome",
    "reason",
    "explanation",
    "invitation_id",
    "batch_id",
    "mail",
    "mail_error",
];
/// Where some of the columns are.
const INVITATION_ID: usize = 5;
const MAIL: usize = 7;
/// What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// A report that is being written.
pub struct ReportFile {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl ReportFile {
    /// Begins the file anew.
    pub fn create(path: &Path) -> Result<Self, CommandError> {
        let create = || {
            let mut writer = csv::Writer::from_path(path)?;
            writer.write_record(HEADER)?;
            writer.flush()?;
            Ok(writer)
        };
        let writer =
            create().map_err(|source: io::Error| CommandError::file("write", path, source))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
        })
    }

    /// Writes the next rows, so that they are there whatever comes.
    pub fn add(&mut self, rows: &[Row]) -> Result<(), CommandError> {
        let mut write = || {
            for row in rows {
                write_row(&mut self.writer, row)?;
            }
            self.writer.flush()
        };
        write().map_err(|source| CommandError::file("write", &self.path, source))
    }

    /// Puts in where the mails are.
    pub fn finish(mut self, mails: &KnownMails) -> Result<(), CommandError> {
        let mut write = || {
            self.writer.flush()?;
            // What is no file cannot be read again: a pipe or a terminal keeps what it was given.
            if fs::metadata(&self.path)?.is_file() {
                rewrite(&self.path, mails)
            } else {
                Ok(())
            }
        };
        write().map_err(|source| CommandError::file("write", &self.path, source))
    }
}

fn write_row(writer: &mut csv::Writer<File>, row: &Row) -> io::Result<()> {
    let (outcome, reason, explanation) = match &row.outcome {
        Outcome::Created => ("created", "", ""),
        Outcome::Existing => ("existing", "", ""),
        Outcome::Resent => ("resent", "", ""),
        Outcome::Replaced => ("replaced", "", ""),
        Outcome::Refused { reason, sentence } => ("refused", reason.as_str(), sentence.as_str()),
    };
    let [state, error] = mail_cells(row.mail.as_ref());
    let has_invitation = !row.invitation_id.is_empty();
    writer.write_record([
        row.line.to_string().as_str(),
        &defused(&row.email),
        outcome,
        reason,
        &defused(explanation),
        &row.invitation_id,
        if has_invitation { &row.batch_id } else { "" },
        &state,
        &error,
    ])?;
    Ok(())
}

fn rewrite(path: &Path, mails: &KnownMails) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let result = copy(path, &part, mails).and_then(|()| fs::rename(&part, path));
    if result.is_err() {
        // The report itself is whole; what is left of the new one is of no use.
        let _ = fs::remove_file(&part);
    }
    result
}

fn copy(from: &Path, to: &Path, mails: &KnownMails) -> io::Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_path(from)?;
    let mut writer = csv::Writer::from_path(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        let id = record.get(INVITATION_ID).unwrap_or_default();
        let has_mail = record.get(MAIL).is_some_and(|state| !state.is_empty());
        match mails.of(id).filter(|_| has_mail) {
            Some(mail) => {
                let cells = mail_cells(Some(&mail));
                let kept = record.iter().take(MAIL);
                writer.write_record(kept.chain(cells.iter().map(String::as_str)))?;
            }
            None => writer.write_record(&record)?,
        }
    }
    writer.flush()
}

fn mail_cells(mail: Option<&Mail>) -> [String; 2] {
    let Some(mail) = mail else {
        return [String::new(), String::new()];
    };
    let state = short_name(mail.state.as_str_name(), "DELIVERY_STATE_").to_ascii_lowercase();
    [state, defused(&mail.last_error).into_owned()]
}

/// Text of others that no spreadsheet runs.
fn defused(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA_STARTS) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

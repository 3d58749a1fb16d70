//! The report of `send` as a CSV file, for spreadsheets and scripts.
//!
//! Rows are written as the server answers them. When the command has waited for the emails, the file is replaced by one
//! with the final delivery states.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use invitations_command::error::CommandError;

use crate::output::{delivery_state_name, replace_file};
use crate::report::row_result::{RowDelivery, RowOutcome, RowResult};

const HEADER: &str = "line,email,outcome,reason,explanation,invitation_id,batch_id,mail,mail_error";
const INVITATION_ID: usize = 5;
const MAIL: usize = 7;
/// Characters that start a formula in a spreadsheet (OWASP, CSV injection).
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

pub(crate) struct ReportFile {
    path: PathBuf,
    writer: csv::Writer<File>,
}

impl ReportFile {
    /// Creates the file, or empties it if it exists.
    pub(crate) fn create(path: &Path) -> Result<Self, CommandError> {
        let create = || {
            let mut writer = csv::Writer::from_path(path)?;
            writer.write_record(HEADER.split(','))?;
            writer.flush()?;
            Ok(writer)
        };
        Ok(Self {
            path: path.to_owned(),
            writer: create().map_err(|source| CommandError::file("write", path, source))?,
        })
    }

    /// Writes rows and flushes them, so that they are in the file if the command is killed.
    pub(crate) fn add(&mut self, rows: &[RowResult]) -> Result<(), CommandError> {
        let mut write = || {
            for row in rows {
                write_row(&mut self.writer, row)?;
            }
            self.writer.flush()
        };
        write().map_err(|source| CommandError::file("write", &self.path, source))
    }

    /// Replaces the delivery states of all rows by the final ones.
    pub(crate) fn finish(
        mut self,
        delivery_of: impl Fn(&str) -> Option<RowDelivery>,
    ) -> Result<(), CommandError> {
        let write = || {
            self.writer.flush()?;
            // A pipe or a terminal cannot be read again.
            if !fs::metadata(&self.path)?.is_file() {
                return Ok(());
            }
            replace_file(&self.path, |part| copy(&self.path, part, delivery_of))
        };
        write().map_err(|source| CommandError::file("write", &self.path, source))
    }
}

fn write_row(writer: &mut csv::Writer<File>, row: &RowResult) -> io::Result<()> {
    let (reason, explanation) = match &row.outcome {
        RowOutcome::Refused { reason, message } => (reason.as_str(), message.as_str()),
        _ => ("", ""),
    };
    let delivery = row.delivery.as_ref();
    let [state, error] = delivery.map(delivery_cells).unwrap_or_default();
    let has_invitation = !row.invitation_id.is_empty();
    writer.write_record([
        row.line.to_string().as_str(),
        &without_formula(&row.email),
        row.outcome.name(),
        reason,
        &without_formula(explanation),
        &row.invitation_id,
        if has_invitation { &row.batch_id } else { "" },
        &state,
        &error,
    ])?;
    Ok(())
}

fn copy(
    from: &Path,
    to: &Path,
    delivery_of: impl Fn(&str) -> Option<RowDelivery>,
) -> io::Result<()> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .from_path(from)?;
    let mut writer = csv::Writer::from_path(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record)? {
        let id = record.get(INVITATION_ID).unwrap_or_default();
        let has_email = record.get(MAIL).is_some_and(|state| !state.is_empty());
        match delivery_of(id).filter(|_| has_email) {
            Some(delivery) => {
                let cells = delivery_cells(&delivery);
                let unchanged = record.iter().take(MAIL);
                writer.write_record(unchanged.chain(cells.iter().map(String::as_str)))?;
            }
            None => writer.write_record(&record)?,
        }
    }
    writer.flush()
}

fn delivery_cells(delivery: &RowDelivery) -> [String; 2] {
    let error = without_formula(&delivery.last_error).into_owned();
    [delivery_state_name(delivery.state), error]
}

/// Prefixes text of other people that a spreadsheet would run as a formula.
fn without_formula(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA_STARTS) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

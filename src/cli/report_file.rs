//! What became of each row, as a CSV file for whoever goes on with it: a spreadsheet or a script.

use std::borrow::Cow;
use std::io;
use std::path::Path;

use super::report::{Outcome, Row};
use super::status::short_name;

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
/// What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection).
const FORMULA_STARTS: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// Writes the file anew.
pub fn write(rows: &[Row], path: &Path) -> io::Result<()> {
    let mut writer = csv::Writer::from_path(path)?;
    writer.write_record(HEADER)?;
    for row in rows {
        let (outcome, reason, explanation) = match &row.outcome {
            Outcome::Created => ("created", "", ""),
            Outcome::Existing => ("existing", "", ""),
            Outcome::Resent => ("resent", "", ""),
            Outcome::Replaced => ("replaced", "", ""),
            Outcome::Refused { reason, sentence } => {
                ("refused", reason.as_str(), sentence.as_str())
            }
        };
        let mail = row.mail.as_ref();
        let state = mail
            .map(|mail| short_name(mail.state.as_str_name(), "DELIVERY_STATE_"))
            .unwrap_or_default()
            .to_ascii_lowercase();
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
            &defused(mail.map_or("", |mail| mail.last_error.as_str())),
        ])?;
    }
    writer.flush()
}

/// Text of others that no spreadsheet runs.
fn defused(text: &str) -> Cow<'_, str> {
    if text.starts_with(FORMULA_STARTS) {
        Cow::Owned(format!("'{text}"))
    } else {
        Cow::Borrowed(text)
    }
}

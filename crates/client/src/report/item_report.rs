//! The report of commands that change several items: how many succeeded, and which were refused and why.

use std::collections::BTreeMap;
use std::io::{self, Write};

use invitations_command::error::{CommandError, Exit};

use crate::output::{Table, escaped, reason_name};
use crate::proto::ItemError;

#[derive(Default)]
pub(crate) struct ItemReport {
    pub(crate) succeeded: usize,
    /// Items that were already as requested.
    pub(crate) unchanged: usize,
    /// Ids, and why the items were refused.
    refused: Vec<(String, ItemError)>,
}

impl ItemReport {
    pub(crate) fn add(&mut self, id: String, error: Option<ItemError>) {
        match error {
            None => self.succeeded += 1,
            Some(error) => self.refused.push((id, error)),
        }
    }

    /// Adds what the earlier calls did to the error of a later one; `verb` is for example "revoked".
    pub(crate) fn interrupted(&self, failure: CommandError, verb: &str) -> CommandError {
        match (failure, self.succeeded) {
            (failure, 0) => failure,
            (CommandError::Refused(text), count) => {
                CommandError::Refused(format!("{text}\n  earlier calls {verb} {count}"))
            }
            (failure, _) => failure,
        }
    }

    pub(crate) const fn exit(&self) -> Exit {
        Exit::partial_if(!self.refused.is_empty())
    }

    /// Writes what was refused, and a last line with all counts for scripts; `verb` is for example "resent".
    pub(crate) fn write(&self, verb: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut table = Table::new(["Id", "Reason", "Explanation"], &[]);
        for (id, error) in &self.refused {
            let reason = reason_name(error.reason);
            *reasons.entry(reason.clone()).or_default() += 1;
            table.add_row([escaped(id), reason, escaped(&error.message)]);
        }
        if !table.is_empty() {
            table.never_wrap(0);
            table.never_wrap(1);
            table.write(out)?;
            writeln!(out)?;
        }
        let reasons = reasons.iter();
        let reasons = reasons.map(|(reason, count)| format!(", {count} {reason}"));
        let reasons: String = reasons.collect();
        let (succeeded, refused) = (self.succeeded, self.refused.len());
        let total = succeeded + self.unchanged + refused;
        let unchanged = match self.unchanged {
            0 => String::new(),
            count => format!("{count} unchanged, "),
        };
        writeln!(
            out,
            "{verb} {succeeded} of {total}: {unchanged}{refused} refused{reasons}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ErrorReason;

    #[test]
    fn the_last_line_has_counts_and_the_table_has_explanations() {
        let mut report = ItemReport::default();
        report.add("a".to_owned(), None);
        report.add(
            "b".to_owned(),
            Some(ItemError {
                reason: ErrorReason::InvitationRevoked.into(),
                message: "the invitation was revoked".to_owned(),
                ..Default::default()
            }),
        );
        let mut out = Vec::new();
        report.write("resent", &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("the invitation was revoked"), "{out}");
        assert!(
            out.ends_with("\n\nresent 1 of 2: 1 refused, 1 INVITATION_REVOKED\n"),
            "{out}"
        );
        assert_eq!((report.succeeded, report.exit()), (1, Exit::Partial));
    }

    #[test]
    fn the_error_of_a_later_call_says_what_the_earlier_ones_did() {
        let mut report = ItemReport::default();
        let failure = || CommandError::Refused("BulkRevoke failed".to_owned());
        let text = |report: &ItemReport| report.interrupted(failure(), "revoked").to_string();
        assert_eq!(text(&report), "BulkRevoke failed");
        report.add("a".to_owned(), None);
        assert_eq!(
            text(&report),
            "BulkRevoke failed\n  earlier calls revoked 1"
        );
    }
}

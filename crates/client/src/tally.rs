//! What became of invitations that a command names by id: how many were done, and which were not and why.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::status::reason_name;
use super::table;
use super::visible::visible;
use crate::proto::ItemError;
use invitations_command::error::Exit;

/// Takes the id of an invitation from the command line, in whatever form UUIDs are written.
pub fn invitation_id(text: &str) -> Result<String, uuid::Error> {
    uuid::Uuid::try_parse(text).map(|id| id.to_string())
}

/// The results of all calls of a command.
#[derive(Default)]
pub struct Tally {
    done: usize,
    refused: Vec<Refused>,
}

struct Refused {
    invitation_id: String,
    reason: String,
    sentence: String,
}

impl Tally {
    /// Adds one result; without an error it was done.
    pub fn add(&mut self, invitation_id: String, error: Option<ItemError>) {
        match error {
            None => self.done += 1,
            Some(error) => self.refused.push(Refused {
                invitation_id,
                reason: reason_name(error.reason),
                sentence: error.message,
            }),
        }
    }

    /// How many were done.
    #[must_use]
    pub const fn done(&self) -> usize {
        self.done
    }

    /// The exit status: [`Exit::Partly`] if something was not done.
    #[must_use]
    pub const fn exit(&self) -> Exit {
        if self.refused.is_empty() {
            Exit::Done
        } else {
            Exit::Partly
        }
    }

    /// Writes what was not done, and a last line with all counts for scripts; `verb` is such as "resent".
    pub fn write(&self, verb: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        let mut table = table::with_header(["Invitation", "Reason", "Explanation"], &[]);
        for refused in &self.refused {
            *reasons.entry(&refused.reason).or_default() += 1;
            table.add_row([
                visible(&refused.invitation_id),
                refused.reason.clone(),
                visible(&refused.sentence),
            ]);
        }
        if !self.refused.is_empty() {
            table::never_wrap(&mut table, 0);
            table::never_wrap(&mut table, 1);
            writeln!(out, "{}\n", table.trim_fmt())?;
        }
        let reasons = reasons
            .iter()
            .map(|(reason, count)| format!(", {count} {reason}"));
        writeln!(
            out,
            "{verb} {} of {}: {} refused{}",
            self.done,
            self.done + self.refused.len(),
            self.refused.len(),
            reasons.collect::<String>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ErrorReason;

    #[test]
    fn the_last_line_counts_and_the_table_explains() {
        let mut tally = Tally::default();
        tally.add("a".to_owned(), None);
        tally.add(
            "b".to_owned(),
            Some(ItemError {
                reason: ErrorReason::Revoked.into(),
                message: "the invitation was revoked".to_owned(),
                ..Default::default()
            }),
        );
        let mut out = Vec::new();
        tally.write("resent", &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("the invitation was revoked"), "{out}");
        assert!(
            out.ends_with("\n\nresent 1 of 2: 1 refused, 1 REVOKED\n"),
            "{out}"
        );
        assert_eq!((tally.done(), tally.exit()), (1, Exit::Partly));
    }
}

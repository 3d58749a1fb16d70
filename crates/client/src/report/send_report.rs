//! The report of `send` on stdout and the exit status. It keeps a limited number of rows, however long the list is.

use std::collections::BTreeMap;
use std::io::{self, Write};

use invitations_command::error::Exit;

use crate::output::{Table, delivery_state_name, escaped};
use crate::report::counts::{DeliveryCounts, OutcomeCounts};
use crate::report::row_result::{RowDelivery, RowOutcome, RowResult};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReportOptions {
    /// The call had `validate_only` set, so nothing was changed.
    pub(crate) is_dry_run: bool,
    /// The command waited for the emails, so the delivery states are known.
    pub(crate) has_waited: bool,
    pub(crate) shows_all: bool,
}

/// Rows from the start of a list that are kept, so that they can be shown with their final delivery states.
const ROWS_KEPT_MAX: usize = 10_000;
/// Refused rows that are kept after these.
const REFUSED_KEPT_MAX: usize = 1_000;

#[derive(Default)]
pub(crate) struct SendReport {
    pub(crate) outcomes: OutcomeCounts,
    reasons: BTreeMap<String, u64>,
    /// All emails are waiting until the command has waited for them.
    pub(crate) deliveries: DeliveryCounts,
    rows: Vec<RowResult>,
    /// Refused rows that were not kept.
    refused_omitted: u64,
}

impl SendReport {
    pub(crate) fn add(&mut self, row: RowResult) {
        self.outcomes.add(&row.outcome);
        self.deliveries.waiting += u64::from(row.delivery.is_some());
        let mut room = ROWS_KEPT_MAX;
        if let RowOutcome::Refused { reason, .. } = &row.outcome {
            *self.reasons.entry(reason.clone()).or_default() += 1;
            room += REFUSED_KEPT_MAX;
            self.refused_omitted += u64::from(self.rows.len() >= room);
        }
        if self.rows.len() < room {
            self.rows.push(row);
        }
    }

    /// Sets the delivery of the kept rows; `delivery_of` takes the id of an invitation.
    pub(crate) fn update_deliveries(&mut self, delivery_of: impl Fn(&str) -> Option<RowDelivery>) {
        for row in self.rows.iter_mut().filter(|row| row.delivery.is_some()) {
            if let Some(delivery) = delivery_of(&row.invitation_id) {
                row.delivery = Some(delivery);
            }
        }
    }

    pub(crate) const fn exit(&self) -> Exit {
        Exit::partial_if(self.outcomes.refused > 0 || self.deliveries.failed > 0)
    }

    /// Writes the counts, the rows that need attention (or all rows), and the last line.
    pub(crate) fn write(&self, options: ReportOptions, out: &mut dyn Write) -> io::Result<()> {
        self.write_counts(options, out)?;
        let is_shown = |row: &&RowResult| options.shows_all || needs_attention(row);
        let shown: Vec<&RowResult> = self.rows.iter().filter(is_shown).collect();
        let omitted = self.omitted(&shown, options);
        if !shown.is_empty() {
            let header = ["Line", "Address", "Outcome", "Email", "Explanation"];
            let mut table = Table::new(header, &[0]);
            for row in shown {
                table.add_row(cells(row, options));
            }
            table.never_wrap(2);
            writeln!(out)?;
            table.write(out)?;
        }
        if omitted > 0 {
            writeln!(
                out,
                "{omitted} more rows are not shown; --report writes all rows to a file"
            )?;
        }
        writeln!(out, "\n{}", self.last_line(options))
    }

    /// How many rows should be shown but were not kept.
    fn omitted(&self, shown: &[&RowResult], options: ReportOptions) -> u64 {
        if options.shows_all {
            return self.outcomes.total() - self.rows.len() as u64;
        }
        if !options.has_waited {
            return self.refused_omitted;
        }
        let emails_shown = shown.iter().filter(|row| row.delivery.is_some()).count() as u64;
        let emails = self.deliveries.failed + self.deliveries.deferred;
        self.refused_omitted + emails.saturating_sub(emails_shown)
    }

    /// One line with all counts, for scripts.
    fn last_line(&self, options: ReportOptions) -> String {
        let verb = if options.is_dry_run {
            "would invite"
        } else {
            "invited"
        };
        let emails = if options.is_dry_run {
            "none in a dry run".to_owned()
        } else if options.has_waited {
            list_counts(&self.deliveries.named())
        } else {
            format!("{} queued", self.deliveries.total())
        };
        let outcomes = self.outcomes;
        format!(
            "{verb} {} of {}: {}; emails: {emails}",
            outcomes.accepted(),
            outcomes.total(),
            list_counts(&outcomes.named()),
        )
    }

    fn write_counts(&self, options: ReportOptions, out: &mut dyn Write) -> io::Result<()> {
        let reasons = self.reasons();
        let remarks = [
            "a new invitation",
            "invited before, not changed",
            "invited before, email sent again",
            "invited before, replaced by a new invitation",
            &reasons,
        ];
        count_table("Rows", self.outcomes.named(), remarks).write(out)?;
        if !options.has_waited || self.deliveries.total() == 0 {
            return Ok(());
        }
        let remarks = [
            "accepted by the mail server",
            "the server retries later",
            "not delivered",
            "still in the queue",
            "the invitation ended or was sent again",
        ];
        writeln!(out)?;
        count_table("Emails", self.deliveries.named(), remarks).write(out)
    }

    /// The reasons of refused rows with their counts, the most frequent first.
    fn reasons(&self) -> String {
        let mut counts: Vec<_> = self.reasons.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let counts = counts
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"));
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// A table of the counts that are not zero.
fn count_table<const N: usize>(title: &str, counts: [(&str, u64); N], remarks: [&str; N]) -> Table {
    let mut table = Table::new([title, "", ""], &[0]);
    for ((name, count), remark) in counts.into_iter().zip(remarks) {
        if count > 0 {
            table.add_row([count.to_string(), name.to_owned(), remark.to_owned()]);
        }
    }
    table
}

fn list_counts(counts: &[(&str, u64)]) -> String {
    let counts = counts.iter().map(|(name, count)| format!("{count} {name}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Whether the row was refused, or its email is late or did not arrive.
fn needs_attention(row: &RowResult) -> bool {
    let counts = row.delivery.as_ref();
    let counts = counts.map(|delivery| DeliveryCounts::of_state(delivery.state));
    let has_problem = counts.is_some_and(|counts| counts.deferred + counts.failed > 0);
    has_problem || matches!(row.outcome, RowOutcome::Refused { .. })
}

fn cells(row: &RowResult, options: ReportOptions) -> [String; 5] {
    let address = match row.email.as_str() {
        "" => "(empty)".to_owned(),
        email => escaped(email),
    };
    let email = match &row.delivery {
        Some(delivery) if options.has_waited => delivery_state_name(delivery.state),
        Some(_) if !options.is_dry_run => "queued".to_owned(),
        _ => "-".to_owned(),
    };
    let (outcome, explanation) = match (&row.outcome, &row.delivery) {
        (RowOutcome::Refused { reason, message }, _) => (reason.as_str(), escaped(message)),
        (outcome, Some(delivery)) if needs_attention(row) => {
            (outcome.name(), escaped(&delivery.last_error))
        }
        (outcome, _) => (outcome.name(), row.invitation_id.clone()),
    };
    let line = row.line.to_string();
    [line, address, outcome.to_owned(), email, explanation]
}

#[cfg(test)]
#[path = "send_report_tests.rs"]
mod tests;

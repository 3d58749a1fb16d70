//! What happened to whom: the tables and the last line that `send` prints, and the exit status that follows from them.
//!
//! Works on rows alone and makes no calls. However long the list is, it keeps a bounded number of rows.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::counts::{MailCounts, OutcomeCounts};
use super::row::{Mail, Outcome, Row};
use super::status::short_name;
use super::table;
use super::visible::visible;
use invitations_command::error::Exit;

/// What the report is told besides the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Nothing was done, the service only said what it would do.
    pub is_dry_run: bool,
    /// Mails were followed on their way.
    pub is_followed: bool,
    /// Show every row, not only those that need a look.
    pub shows_all: bool,
}

/// Rows from the start of a list that are kept, to be shown with what became of their mails.
const ROWS_KEPT_MAX: usize = 10_000;
/// Rows after these that are kept because they were refused.
const REFUSED_KEPT_MAX: usize = 1_000;

/// What became of a list, added up while its rows come.
#[derive(Default)]
pub struct Report {
    outcomes: OutcomeCounts,
    reasons: BTreeMap<String, u64>,
    mails_queued: u64,
    rows: Vec<Row>,
    refused_left_out: u64,
}

/// The report with where its mails are.
struct Written<'report> {
    report: &'report Report,
    mails: MailCounts,
    manner: Manner,
}

impl Report {
    /// Adds the next row.
    pub fn add(&mut self, row: Row) {
        self.outcomes.add(&row.outcome);
        self.mails_queued += u64::from(row.mail.is_some());
        let is_refused = if let Outcome::Refused { reason, .. } = &row.outcome {
            match self.reasons.get_mut(reason) {
                Some(count) => *count += 1,
                None => drop(self.reasons.insert(reason.clone(), 1)),
            }
            true
        } else {
            false
        };
        let room = if is_refused { REFUSED_KEPT_MAX } else { 0 };
        if self.rows.len() < ROWS_KEPT_MAX + room {
            self.rows.push(row);
        } else if is_refused {
            self.refused_left_out += 1;
        }
    }

    /// How many rows had which outcome.
    #[must_use]
    pub const fn outcomes(&self) -> OutcomeCounts {
        self.outcomes
    }

    /// The mails as they were when their rows came.
    #[must_use]
    pub const fn mails_at_first(&self) -> MailCounts {
        MailCounts {
            sent: 0,
            deferred: 0,
            failed: 0,
            waiting: self.mails_queued,
            canceled: 0,
        }
    }

    /// Notes where the mails of the rows are that are kept.
    pub fn note_mails(&mut self, find: impl Fn(&Row) -> Option<Mail>) {
        for row in self.rows.iter_mut().filter(|row| row.mail.is_some()) {
            if let Some(mail) = find(row) {
                row.mail = Some(mail);
            }
        }
    }

    /// The exit status: [`Exit::Partly`] if a row was refused or a mail failed.
    #[must_use]
    pub const fn exit(&self, mails: MailCounts) -> Exit {
        if self.outcomes.refused == 0 && mails.failed == 0 {
            Exit::Done
        } else {
            Exit::Partly
        }
    }

    /// Writes the summary, the rows that need a look (or all of them), and the last line.
    pub fn write(&self, mails: MailCounts, manner: Manner, out: &mut dyn Write) -> io::Result<()> {
        let written = Written {
            report: self,
            mails,
            manner,
        };
        written.write(out)
    }
}

impl Written<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.summary())?;
        let is_shown = |row: &&Row| self.manner.shows_all || row.needs_a_look();
        let shown: Vec<&Row> = self.report.rows.iter().filter(is_shown).collect();
        let left_out = self.left_out(&shown);
        if !shown.is_empty() {
            let mut people =
                table::with_header(["Line", "Address", "Outcome", "Mail", "Explanation"], &[0]);
            for row in shown {
                people.add_row([
                    row.line.to_string(),
                    address(row),
                    outcome_name(&row.outcome),
                    mail_name(row, self.manner),
                    explanation(row),
                ]);
            }
            table::never_wrap(&mut people, 2);
            writeln!(out, "\n{}", people.trim_fmt())?;
        }
        if left_out > 0 {
            writeln!(out, "and {left_out} rows more, which --report writes down")?;
        }
        writeln!(out, "\n{}", self.last_line())
    }

    /// How many rows should be shown and were not kept.
    fn left_out(&self, shown: &[&Row]) -> u64 {
        let report = self.report;
        if self.manner.shows_all {
            return report.outcomes.total() - report.rows.len() as u64;
        }
        let troubled = shown.iter().filter(|row| row.mail.is_some()).count() as u64;
        let troubled_left_out = if self.manner.is_followed {
            (self.mails.failed + self.mails.deferred).saturating_sub(troubled)
        } else {
            0
        };
        report.refused_left_out + troubled_left_out
    }

    /// One line with all counts, for scripts.
    fn last_line(&self) -> String {
        let outcomes = self.report.outcomes;
        let mut line = format!(
            "{} {} of {}: {} created, {} existing, {} resent, {} replaced, {} refused; ",
            if self.manner.is_dry_run {
                "would invite"
            } else {
                "invited"
            },
            outcomes.taken(),
            outcomes.total(),
            outcomes.created,
            outcomes.existing,
            outcomes.resent,
            outcomes.replaced,
            outcomes.refused,
        );
        let mails = self.mails;
        if self.manner.is_dry_run {
            line.push_str("no mail in a dry run");
        } else if self.manner.is_followed {
            let _ = write!(
                line,
                "{} mails sent, {} deferred, {} failed, {} waiting, {} canceled",
                mails.sent, mails.deferred, mails.failed, mails.waiting, mails.canceled
            );
        } else {
            let _ = write!(line, "{} mails queued, not waited for", mails.total());
        }
        line
    }

    fn summary(&self) -> String {
        let outcomes = self.report.outcomes;
        let mut text = facts(
            "Rows",
            &[
                (outcomes.created, "created", "a new invitation"),
                (
                    outcomes.existing,
                    "existing",
                    "invited before, left as it is",
                ),
                (outcomes.resent, "resent", "invited before, mailed again"),
                (
                    outcomes.replaced,
                    "replaced",
                    "invited before, a new invitation took its place",
                ),
                (outcomes.refused, "refused", &self.reasons()),
            ],
        );
        let mails = self.mails;
        if self.manner.is_followed && mails.total() > 0 {
            let mails = facts(
                "Mails",
                &[
                    (mails.sent, "sent", "taken by the mail server"),
                    (mails.deferred, "deferred", "the server will try again"),
                    (mails.failed, "failed", "will not arrive"),
                    (mails.waiting, "waiting", "still in the queue"),
                    (
                        mails.canceled,
                        "canceled",
                        "the invitation ended or was mailed anew",
                    ),
                ],
            );
            text.push_str("\n\n");
            text.push_str(&mails);
        }
        text
    }

    /// The reasons of refused rows with their numbers, the most frequent first.
    fn reasons(&self) -> String {
        let mut counts: Vec<_> = self.report.reasons.iter().collect();
        counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let counts = counts
            .iter()
            .map(|(reason, count)| format!("{count} {reason}"));
        counts.collect::<Vec<_>>().join(", ")
    }
}

/// A table of counts that are not zero.
fn facts(title: &str, counts: &[(u64, &str, &str)]) -> String {
    let mut table = table::with_header([title, "", ""], &[0]);
    for (count, name, remark) in counts.iter().filter(|(count, ..)| *count > 0) {
        table.add_row([count.to_string(), (*name).to_owned(), (*remark).to_owned()]);
    }
    table.trim_fmt()
}

fn address(row: &Row) -> String {
    if row.email.is_empty() {
        "(empty)".to_owned()
    } else {
        visible(&row.email)
    }
}

fn outcome_name(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Created => "created".to_owned(),
        Outcome::Existing => "existing".to_owned(),
        Outcome::Resent => "resent".to_owned(),
        Outcome::Replaced => "replaced".to_owned(),
        Outcome::Refused { reason, .. } => reason.clone(),
    }
}

fn mail_name(row: &Row, manner: Manner) -> String {
    match &row.mail {
        Some(mail) if manner.is_followed => {
            short_name(mail.state.as_str_name(), "DELIVERY_STATE_").to_ascii_lowercase()
        }
        Some(_) if !manner.is_dry_run => "queued".to_owned(),
        _ => "-".to_owned(),
    }
}

fn explanation(row: &Row) -> String {
    match (&row.outcome, &row.mail) {
        (Outcome::Refused { sentence, .. }, _) => visible(sentence),
        (_, Some(mail)) if row.needs_a_look() => visible(&mail.last_error),
        _ => row.invitation_id.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::proto::DeliveryState;

    const FOLLOWED: Manner = Manner {
        is_dry_run: false,
        is_followed: true,
        shows_all: false,
    };

    /// A row that was taken.
    pub(crate) fn taken(line: u64, email: &str, outcome: Outcome, state: DeliveryState) -> Row {
        Row {
            line,
            email: email.to_owned(),
            outcome,
            invitation_id: format!("id-{line}"),
            batch_id: "batch".to_owned(),
            mail: Some(Mail {
                state,
                last_error: String::new(),
            }),
        }
    }

    fn refused(line: u64, email: &str, reason: &str, sentence: &str) -> Row {
        Row {
            line,
            email: email.to_owned(),
            outcome: Outcome::Refused {
                reason: reason.to_owned(),
                sentence: sentence.to_owned(),
            },
            invitation_id: String::new(),
            batch_id: String::new(),
            mail: None,
        }
    }

    fn rows() -> Vec<Row> {
        let mut bounced = taken(4, "gone@b.co", Outcome::Created, DeliveryState::Failed);
        bounced.mail.as_mut().unwrap().last_error = "550 no such user".to_owned();
        vec![
            taken(2, "a@b.co", Outcome::Created, DeliveryState::Sent),
            refused(3, "plain\t", "EMAIL_INVALID", "is no address"),
            bounced,
            refused(5, "a@b.co", "DUPLICATE_IN_REQUEST", "the same as line 2"),
            refused(6, "", "EMAIL_INVALID", "is no address"),
            taken(7, "c@d.co", Outcome::Resent, DeliveryState::Deferred),
        ]
    }

    fn report(rows: Vec<Row>) -> (Report, MailCounts) {
        let (mut report, mut mails) = (Report::default(), MailCounts::default());
        for row in rows {
            if let Some(mail) = &row.mail {
                mails.add(mail.state, 1);
            }
            report.add(row);
        }
        (report, mails)
    }

    fn written(rows: Vec<Row>, manner: Manner) -> String {
        let mut out = Vec::new();
        let (report, mails) = report(rows);
        report.write(mails, manner, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_report_tells_what_happened_to_whom() {
        let expected = " Rows
─
    2   created   a new invitation
    1   resent    invited before, mailed again
    3   refused   2 EMAIL_INVALID, 1 DUPLICATE_IN_REQUEST

 Mails
─
     1   sent       taken by the mail server
     1   deferred   the server will try again
     1   failed     will not arrive

 Line   Address     Outcome                Mail       Explanation
─
    3   plain\\t     EMAIL_INVALID          -          is no address
    4   gone@b.co   created                failed     550 no such user
    5   a@b.co      DUPLICATE_IN_REQUEST   -          the same as line 2
    6   (empty)     EMAIL_INVALID          -          is no address
    7   c@d.co      resent                 deferred

invited 3 of 6: 2 created, 0 existing, 1 resent, 0 replaced, 3 refused; 1 mails sent, 1 deferred, 1 failed, 0 waiting, 0 canceled
";
        // The rules below headers are as wide as their tables.
        let trim = |text: &str| {
            let lines = text.lines().map(|line| line.trim_end().trim_matches('─'));
            lines.collect::<Vec<_>>().join("\n")
        };
        let report = written(rows(), FOLLOWED);
        assert_eq!(trim(&report), trim(expected), "\n{report}");
    }

    #[test]
    fn all_rows_show_on_request() {
        let manner = Manner {
            shows_all: true,
            ..FOLLOWED
        };
        assert!(written(rows(), manner).contains("id-2"));
        assert!(!written(rows(), FOLLOWED).contains("id-2"));
    }

    #[test]
    fn the_last_line_says_what_was_not_done() {
        let dry = Manner {
            is_dry_run: true,
            is_followed: false,
            shows_all: false,
        };
        let last_line = |manner| written(rows(), manner).lines().last().unwrap().to_owned();
        let line = last_line(dry);
        assert!(line.starts_with("would invite 3 of 6: "), "{line}");
        assert!(line.ends_with("; no mail in a dry run"), "{line}");
        let unfollowed = Manner {
            is_dry_run: false,
            ..dry
        };
        let line = last_line(unfollowed);
        assert!(line.ends_with("; 3 mails queued, not waited for"), "{line}");
    }

    #[test]
    fn the_exit_status_follows_from_the_rows() {
        let exit = |from, to| {
            let (report, mails) = report(rows()[from..to].to_vec());
            report.exit(mails)
        };
        assert_eq!(exit(0, 1), Exit::Done);
        assert_eq!(exit(5, 6), Exit::Done, "deferred is not failed");
        assert_eq!(exit(0, 2), Exit::Partly);
        assert_eq!(exit(2, 3), Exit::Partly);
    }

    #[test]
    fn a_long_list_is_counted_and_not_kept() {
        let (mut report, mut mails) = (Report::default(), MailCounts::default());
        for line in 0..30_000 {
            report.add(taken(
                line,
                "a@b.co",
                Outcome::Created,
                DeliveryState::Queued,
            ));
            report.add(refused(line, "plain", "EMAIL_INVALID", "is no address"));
        }
        assert_eq!(report.rows.len(), ROWS_KEPT_MAX + REFUSED_KEPT_MAX);
        mails.add(DeliveryState::Failed, 7);
        let mut out = Vec::new();
        report.write(mails, FOLLOWED, &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("invited 30000 of 60000: "), "{out}");
        assert!(out.contains("and 24007 rows more, which --report"), "{out}");
    }
}

//! What happened to whom: the tables and the last line that `send` prints, and the exit status that follows from them.
//!
//! Works on rows alone and makes no calls.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::failure::Exit;
use super::status::short_name;
use super::table;
use super::visible::visible;
use crate::proto::DeliveryState;

/// A row of the file and what became of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Row {
    /// The line of the file.
    pub line: u64,
    /// The address as the file has it.
    pub email: String,
    /// What the service did.
    pub outcome: Outcome,
    /// The invitation, empty if there is none.
    pub invitation_id: String,
    /// The call that made the invitation, which may be an earlier one.
    pub batch_id: String,
    /// The mail of this call, if there is one.
    pub mail: Option<Mail>,
}

/// What the service did about a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A new invitation.
    Created,
    /// There was one, and it stays as it is.
    Existing,
    /// There was one, and it is mailed again.
    Resent,
    /// A new one took the place of an older one.
    Replaced,
    /// Nothing.
    Refused {
        /// Such as `EMAIL_INVALID`.
        reason: String,
        /// What it means, for a human.
        sentence: String,
    },
}

/// Where a mail is.
#[derive(Clone, PartialEq, Eq)]
pub struct Mail {
    /// Its state.
    pub state: DeliveryState,
    /// What the last failed attempt said.
    pub last_error: String,
}

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

/// How many rows had each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// [`Outcome::Created`].
    pub created: usize,
    /// [`Outcome::Existing`].
    pub existing: usize,
    /// [`Outcome::Resent`].
    pub resent: usize,
    /// [`Outcome::Replaced`].
    pub replaced: usize,
    /// [`Outcome::Refused`].
    pub refused: usize,
}

/// How many mails are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailCounts {
    /// Taken by the mail server.
    pub sent: usize,
    /// Will be tried again.
    pub deferred: usize,
    /// Given up, bounced, unwanted or suppressed: the person will not read it.
    pub failed: usize,
    /// Queued or on its way.
    pub waiting: usize,
    /// Not needed any more: the invitation was accepted, revoked or mailed anew in the meantime.
    pub canceled: usize,
}

impl OutcomeCounts {
    /// Counts the outcomes of rows.
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        let mut counts = Self::default();
        for row in rows {
            *match row.outcome {
                Outcome::Created => &mut counts.created,
                Outcome::Existing => &mut counts.existing,
                Outcome::Resent => &mut counts.resent,
                Outcome::Replaced => &mut counts.replaced,
                Outcome::Refused { .. } => &mut counts.refused,
            } += 1;
        }
        counts
    }

    /// How many rows the service took.
    #[must_use]
    pub const fn taken(&self) -> usize {
        self.created + self.existing + self.resent + self.replaced
    }
}

impl MailCounts {
    /// Counts the mails of rows.
    #[must_use]
    pub fn of(rows: &[Row]) -> Self {
        let mut counts = Self::default();
        for mail in rows.iter().filter_map(|row| row.mail.as_ref()) {
            *match mail.state {
                DeliveryState::Sent => &mut counts.sent,
                DeliveryState::Deferred => &mut counts.deferred,
                DeliveryState::Bounced
                | DeliveryState::Complained
                | DeliveryState::Failed
                | DeliveryState::Suppressed => &mut counts.failed,
                DeliveryState::Queued | DeliveryState::Sending | DeliveryState::Unspecified => {
                    &mut counts.waiting
                }
                DeliveryState::Canceled | DeliveryState::NotRequested => &mut counts.canceled,
            } += 1;
        }
        counts
    }

    /// How many mails there are.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.sent + self.deferred + self.failed + self.waiting + self.canceled
    }

    /// How many will not change any more.
    #[must_use]
    pub const fn settled(&self) -> usize {
        self.sent + self.failed + self.canceled
    }
}

/// The exit status: [`Exit::Partly`] if a row was refused or a mail failed.
#[must_use]
pub fn exit(rows: &[Row]) -> Exit {
    if OutcomeCounts::of(rows).refused == 0 && MailCounts::of(rows).failed == 0 {
        Exit::Done
    } else {
        Exit::Partly
    }
}

/// Writes the summary, the rows that need a look (or all of them), and the last line.
pub fn write(rows: &[Row], manner: Manner, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", summary(rows, manner))?;
    let shown: Vec<&Row> = rows
        .iter()
        .filter(|row| manner.shows_all || needs_a_look(row))
        .collect();
    if !shown.is_empty() {
        let mut people =
            table::with_header(["Line", "Address", "Outcome", "Mail", "Explanation"], &[0]);
        for row in shown {
            people.add_row([
                row.line.to_string(),
                address(row),
                outcome_name(&row.outcome),
                mail_name(row, manner),
                explanation(row),
            ]);
        }
        table::never_wrap(&mut people, 2);
        writeln!(out, "\n{}", people.trim_fmt())?;
    }
    writeln!(out, "\n{}", last_line(rows, manner))
}

/// One line with all counts, for scripts.
#[must_use]
pub fn last_line(rows: &[Row], manner: Manner) -> String {
    let outcomes = OutcomeCounts::of(rows);
    let mut line = format!(
        "{} {} of {}: {} created, {} existing, {} resent, {} replaced, {} refused; ",
        if manner.is_dry_run {
            "would invite"
        } else {
            "invited"
        },
        outcomes.taken(),
        rows.len(),
        outcomes.created,
        outcomes.existing,
        outcomes.resent,
        outcomes.replaced,
        outcomes.refused,
    );
    let mails = MailCounts::of(rows);
    if manner.is_dry_run {
        line.push_str("no mail in a dry run");
    } else if manner.is_followed {
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

fn summary(rows: &[Row], manner: Manner) -> String {
    let outcomes = OutcomeCounts::of(rows);
    let mails = MailCounts::of(rows);
    let mut table = table::with_header(["Rows", "", ""], &[0]);
    let mut add = |count: usize, name: &str, remark: &str| {
        if count > 0 {
            table.add_row([count.to_string(), name.to_owned(), remark.to_owned()]);
        }
    };
    add(outcomes.created, "created", "a new invitation");
    add(
        outcomes.existing,
        "existing",
        "invited before, left as it is",
    );
    add(outcomes.resent, "resent", "invited before, mailed again");
    add(
        outcomes.replaced,
        "replaced",
        "invited before, a new invitation took its place",
    );
    add(outcomes.refused, "refused", &reasons(rows));
    let mut text = table.trim_fmt();
    if manner.is_followed && mails.total() > 0 {
        let mut table = table::with_header(["Mails", "", ""], &[0]);
        let mut add = |count: usize, name: &str, remark: &str| {
            if count > 0 {
                table.add_row([count.to_string(), name.to_owned(), remark.to_owned()]);
            }
        };
        add(mails.sent, "sent", "taken by the mail server");
        add(mails.deferred, "deferred", "the server will try again");
        add(mails.failed, "failed", "will not arrive");
        add(mails.waiting, "waiting", "still in the queue");
        add(
            mails.canceled,
            "canceled",
            "the invitation ended or was mailed anew",
        );
        text.push_str("\n\n");
        text.push_str(&table.trim_fmt());
    }
    text
}

/// The reasons of refused rows with their numbers, the most frequent first.
fn reasons(rows: &[Row]) -> String {
    let mut counts = BTreeMap::new();
    for row in rows {
        if let Outcome::Refused { reason, .. } = &row.outcome {
            *counts.entry(reason.as_str()).or_insert(0_usize) += 1;
        }
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let counts = counts
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn needs_a_look(row: &Row) -> bool {
    let is_settled_well = row.mail.as_ref().is_none_or(|mail| {
        !matches!(
            mail.state,
            DeliveryState::Deferred
                | DeliveryState::Bounced
                | DeliveryState::Complained
                | DeliveryState::Failed
                | DeliveryState::Suppressed
        )
    });
    matches!(row.outcome, Outcome::Refused { .. }) || !is_settled_well
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
        (_, Some(mail)) if needs_a_look(row) => visible(&mail.last_error),
        _ => row.invitation_id.clone(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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

    fn written(rows: &[Row], manner: Manner) -> String {
        let mut out = Vec::new();
        write(rows, manner, &mut out).unwrap();
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
        let report = written(&rows(), FOLLOWED);
        assert_eq!(trim(&report), trim(expected), "\n{report}");
    }

    #[test]
    fn all_rows_show_on_request() {
        let manner = Manner {
            shows_all: true,
            ..FOLLOWED
        };
        assert!(written(&rows(), manner).contains("id-2"));
        assert!(!written(&rows(), FOLLOWED).contains("id-2"));
    }

    #[test]
    fn the_last_line_says_what_was_not_done() {
        let dry = Manner {
            is_dry_run: true,
            is_followed: false,
            shows_all: false,
        };
        let line = last_line(&rows(), dry);
        assert!(line.starts_with("would invite 3 of 6: "), "{line}");
        assert!(line.ends_with("; no mail in a dry run"), "{line}");
        let unfollowed = Manner {
            is_dry_run: false,
            ..dry
        };
        let line = last_line(&rows(), unfollowed);
        assert!(line.ends_with("; 3 mails queued, not waited for"), "{line}");
    }

    #[test]
    fn the_exit_status_follows_from_the_rows() {
        let rows = rows();
        assert_eq!(exit(&rows[..1]), Exit::Done);
        assert_eq!(exit(&rows[5..]), Exit::Done, "deferred is not failed");
        assert_eq!(exit(&rows[..2]), Exit::Partly);
        assert_eq!(exit(&rows[2..3]), Exit::Partly);
    }
}

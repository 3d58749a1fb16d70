//! Shows how far a list and its mails are: a bar on a terminal, a line now and then elsewhere. On stderr alone.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::counts::MailCounts;

/// The least time between two plain lines, so that a log stays readable.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
/// The least time between two pictures of a bar.
const BAR_INTERVAL: Duration = Duration::from_millis(100);
const TEMPLATE: &str = "[{bar:30}] {msg}";
const TEMPLATE_WITHOUT_END: &str = "{spinner} {msg}";

/// How far a list is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowsDone {
    /// Rows that were taken.
    pub accepted: u64,
    /// Rows that were refused.
    pub refused: u64,
    /// Where the mails are, if that was looked at.
    pub mails: Option<MailCounts>,
}

/// What is shown, and where.
pub struct Progress {
    total: Option<u64>,
    started: Instant,
    /// What was said last, and when.
    last: Option<(String, Instant)>,
    /// Set if stderr is a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Begins to show the rows of a list, so many if that is known.
    #[must_use]
    pub fn rows(total: Option<u64>) -> Self {
        let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
        let template = if total.is_some() {
            TEMPLATE
        } else {
            TEMPLATE_WITHOUT_END
        };
        let style = ProgressStyle::with_template(template)
            .expect("the templates are constants that a test reads");
        bar.set_style(style.progress_chars("=> "));
        Self {
            total,
            started: Instant::now(),
            last: None,
            bar: (!bar.is_hidden()).then_some(bar),
        }
    }

    /// Begins to show so many mails.
    #[must_use]
    pub fn mails(total: u64) -> Self {
        Self::rows(Some(total))
    }

    /// Shows how far the rows are.
    pub fn show_rows(&mut self, done: RowsDone) {
        let count = done.accepted + done.refused;
        let is_end = self.total == Some(count);
        if self.is_due(is_end) {
            let text = rows_text(done, self.total, self.started.elapsed());
            self.show(count, text);
        }
    }

    /// Shows where the mails are.
    pub fn show_mails(&mut self, counts: MailCounts) {
        let is_end = counts.settled() == counts.total();
        if self.is_due(is_end) {
            let text = format!(
                "mails {}/{}{}",
                counts.settled(),
                counts.total(),
                remarks(counts)
            );
            self.show(counts.settled(), text);
        }
    }

    fn is_due(&self, is_end: bool) -> bool {
        let interval = if self.bar.is_some() {
            BAR_INTERVAL
        } else {
            LINE_INTERVAL
        };
        let is_old = |(_, at): &(String, Instant)| at.elapsed() >= interval;
        is_end || self.last.as_ref().is_none_or(is_old)
    }

    fn show(&mut self, position: u64, text: String) {
        if self.last.as_ref().is_some_and(|(last, _)| *last == text) {
            return;
        }
        if let Some(bar) = &self.bar {
            bar.set_position(position);
            bar.set_message(text.clone());
        } else {
            eprintln!("{text}");
        }
        self.last = Some((text, Instant::now()));
    }

    /// Says something without disturbing the bar.
    pub fn say(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => eprintln!("{message}"),
        }
    }

    /// Takes the bar away; the report says it all.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn rows_text(done: RowsDone, total: Option<u64>, elapsed: Duration) -> String {
    let count = done.accepted + done.refused;
    let mut text = match total {
        Some(total) => format!("rows {count}/{total}"),
        None => format!("rows {count}"),
    };
    if done.refused > 0 {
        let _ = write!(text, ", {} refused", done.refused);
    }
    if let Some(mails) = done.mails {
        let _ = write!(text, ", {} mails sent{}", mails.sent, remarks(mails));
    }
    let milliseconds = elapsed.as_millis();
    let rate = u128::from(count) * 1_000 / milliseconds.max(1);
    if milliseconds >= 1_000 && rate > 0 {
        let _ = write!(text, ", {rate}/s");
        if let Some(total) = total {
            let left = u128::from(total.saturating_sub(count)) / rate;
            let left = Duration::from_secs(u64::try_from(left).unwrap_or(u64::MAX));
            let _ = write!(text, ", {} left", humantime::format_duration(left));
        }
    }
    text
}

fn remarks(counts: MailCounts) -> String {
    let mut remarks = String::new();
    for (count, name) in [(counts.deferred, "deferred"), (counts.failed, "failed")] {
        if count > 0 {
            let _ = write!(remarks, ", {count} {name}");
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_good() {
        for template in [TEMPLATE, TEMPLATE_WITHOUT_END] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn rows_tell_their_rate_and_what_is_left() {
        let mails = MailCounts {
            sent: 400,
            failed: 1,
            waiting: 599,
            ..MailCounts::default()
        };
        let done = RowsDone {
            accepted: 990,
            refused: 10,
            mails: Some(mails),
        };
        let after = Duration::from_secs(2);
        assert_eq!(
            rows_text(done, Some(31_000), after),
            "rows 1000/31000, 10 refused, 400 mails sent, 1 failed, 500/s, 1m left"
        );
        assert_eq!(
            rows_text(
                RowsDone {
                    mails: None,
                    ..done
                },
                None,
                after
            ),
            "rows 1000, 10 refused, 500/s"
        );
        assert_eq!(
            rows_text(RowsDone::default(), Some(5), Duration::ZERO),
            "rows 0/5"
        );
    }
}

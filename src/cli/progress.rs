//! Shows how far the mails are: a bar on a terminal, a line now and then elsewhere. On stderr alone.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::report::MailCounts;

/// The least time between two plain lines, so that a log stays readable.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "mails [{bar:40}] {pos}/{len}{msg} ({elapsed})";

/// How far the mails are.
pub enum Progress {
    /// stderr is a terminal.
    Bar(ProgressBar),
    /// It is not.
    Lines {
        /// What was said last, and when.
        last: Option<(MailCounts, Instant)>,
    },
}

impl Progress {
    /// Begins to show.
    #[must_use]
    pub fn start(total: usize) -> Self {
        let bar = ProgressBar::new(total as u64);
        if bar.is_hidden() {
            return Self::Lines { last: None };
        }
        let style = ProgressStyle::with_template(TEMPLATE)
            .expect("the template is a constant that a test reads");
        bar.set_style(style.progress_chars("=> "));
        Self::Bar(bar)
    }

    /// Shows these counts.
    pub fn show(&mut self, counts: MailCounts) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(counts.settled() as u64);
                bar.set_message(remarks(counts));
            }
            Self::Lines { last } => {
                let is_due = last.is_none_or(|(shown, at)| {
                    let is_end = counts.settled() == counts.total();
                    shown != counts && (is_end || at.elapsed() >= LINE_INTERVAL)
                });
                if is_due {
                    eprintln!(
                        "mails {}/{}{}",
                        counts.settled(),
                        counts.total(),
                        remarks(counts)
                    );
                    *last = Some((counts, Instant::now()));
                }
            }
        }
    }

    /// Says something without disturbing the bar.
    pub fn say(&self, message: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| eprintln!("{message}")),
            Self::Lines { .. } => eprintln!("{message}"),
        }
    }

    /// Takes the bar away; the report says it all.
    pub fn finish(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
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
    fn the_template_is_good() {
        assert!(ProgressStyle::with_template(TEMPLATE).is_ok());
    }
}

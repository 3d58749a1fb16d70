//! Progress of a list and of its emails, on stderr: a bar on a terminal, elsewhere a line every few seconds.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::report::{DeliveryCounts, OutcomeCounts};

/// Shortest time between two plain lines, so that a log stays readable.
const LINE_INTERVAL: Duration = Duration::from_secs(5);
const BAR_INTERVAL: Duration = Duration::from_millis(100);
const TEMPLATE: &str = "[{bar:30}] {msg}";
const TEMPLATE_WITHOUT_TOTAL: &str = "{spinner} {msg}";

pub(crate) struct Progress {
    total: Option<u64>,
    started: Instant,
    /// The latest text, and when it was printed.
    last: Option<(String, Instant)>,
    /// Set if stderr is a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts the display; `total` is the number of rows or emails, if it is known.
    pub(crate) fn new(total: Option<u64>) -> Self {
        let (bar, template) = match total {
            Some(total) => (ProgressBar::new(total), TEMPLATE),
            None => (ProgressBar::no_length(), TEMPLATE_WITHOUT_TOTAL),
        };
        let style = ProgressStyle::with_template(template)
            .expect("both templates are constants, and a test parses them");
        bar.set_style(style.progress_chars("=> "));
        Self {
            total,
            started: Instant::now(),
            last: None,
            bar: (!bar.is_hidden()).then_some(bar),
        }
    }

    /// Shows the answered rows; `deliveries` has the delivery of their emails, if it was counted.
    pub(crate) fn show_rows(
        &mut self,
        outcomes: OutcomeCounts,
        deliveries: Option<DeliveryCounts>,
    ) {
        let count = outcomes.total();
        if self.is_due(self.total == Some(count)) {
            let text = rows_text(outcomes, deliveries, self.total, self.started.elapsed());
            self.show(count, text);
        }
    }

    pub(crate) fn show_deliveries(&mut self, counts: DeliveryCounts) {
        if self.is_due(counts.is_settled()) {
            let text = format!(
                "emails {}/{}{}",
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

    pub(crate) fn print(&self, message: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{message}")),
            None => eprintln!("{message}"),
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn rows_text(
    outcomes: OutcomeCounts,
    deliveries: Option<DeliveryCounts>,
    total: Option<u64>,
    elapsed: Duration,
) -> String {
    let count = outcomes.total();
    let mut text = match total {
        Some(total) => format!("rows {count}/{total}"),
        None => format!("rows {count}"),
    };
    if outcomes.refused > 0 {
        let _ = write!(text, ", {} refused", outcomes.refused);
    }
    if let Some(counts) = deliveries {
        let _ = write!(text, ", {} emails sent{}", counts.sent, remarks(counts));
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

fn remarks(counts: DeliveryCounts) -> String {
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
    fn both_templates_parse() {
        for template in [TEMPLATE, TEMPLATE_WITHOUT_TOTAL] {
            assert!(ProgressStyle::with_template(template).is_ok());
        }
    }

    #[test]
    fn the_text_has_the_rate_and_the_time_left() {
        let deliveries = DeliveryCounts {
            sent: 400,
            failed: 1,
            waiting: 599,
            ..DeliveryCounts::default()
        };
        let outcomes = OutcomeCounts {
            created: 990,
            refused: 10,
            ..OutcomeCounts::default()
        };
        let after = Duration::from_secs(2);
        assert_eq!(
            rows_text(outcomes, Some(deliveries), Some(31_000), after),
            "rows 1000/31000, 10 refused, 400 emails sent, 1 failed, 500/s, 1m left"
        );
        assert_eq!(
            rows_text(outcomes, None, None, after),
            "rows 1000, 10 refused, 500/s"
        );
        assert_eq!(
            rows_text(OutcomeCounts::default(), None, Some(5), Duration::ZERO),
            "rows 0/5"
        );
    }
}

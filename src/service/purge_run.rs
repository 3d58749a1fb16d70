//! One run of a purge, with its limits.

use std::time::Duration;

use time::OffsetDateTime;

use crate::store::Purged;

/// Most rows of one transaction, so that no lock is held for long.
pub(super) const PURGE_ROWS_MAX: i64 = 500;
/// Most transactions of one run. Reminders and expiry must not wait until an old table is small.
const PURGE_BATCHES_MAX: usize = 20;
/// A purge that is later than this is logged as a warning: purges do not keep up, or did not run.
const PURGE_LAG_MAX: Duration = Duration::from_hours(24);

/// One run of a purge: how far it goes, how many rows it deleted, and how late they were. Logs when it is dropped.
pub(super) struct PurgeRun {
    name: &'static str,
    due_by: Option<OffsetDateTime>,
    rows_max: i64,
    batches: usize,
    is_done: bool,
    count: i64,
    oldest: Option<OffsetDateTime>,
}

impl PurgeRun {
    pub(super) fn new(
        name: &'static str,
        kept: Option<Duration>,
        rows_max: i64,
        now: OffsetDateTime,
    ) -> Self {
        let due_by = kept.and_then(|kept| now.checked_sub(kept.try_into().ok()?));
        Self {
            name,
            due_by,
            rows_max,
            batches: 0,
            is_done: false,
            count: 0,
            oldest: None,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) const fn rows_max(&self) -> i64 {
        self.rows_max
    }

    /// The time by which the rows of the next transaction were due. `None` at the end of the run.
    pub(super) fn next_batch(&mut self) -> Option<OffsetDateTime> {
        if self.is_done || self.batches == PURGE_BATCHES_MAX {
            return None;
        }
        self.batches += 1;
        self.due_by
    }

    pub(super) fn add(&mut self, purged: Purged) {
        self.count += purged.count;
        self.oldest = self.oldest.into_iter().chain(purged.oldest).min();
        self.is_done = purged.count < self.rows_max;
    }

    /// How late the oldest row was deleted.
    fn lag(&self) -> Duration {
        let lag = self.due_by.zip(self.oldest).map(|(by, oldest)| by - oldest);
        lag.and_then(|lag| lag.try_into().ok()).unwrap_or_default()
    }
}

impl Drop for PurgeRun {
    fn drop(&mut self) {
        if self.count == 0 {
            return;
        }
        let (lag, is_done) = (self.lag(), self.is_done);
        if lag > PURGE_LAG_MAX {
            tracing::warn!(
                purge.name = self.name,
                purge.count = self.count,
                purge.lag_seconds = lag.as_secs(),
                purge.is_done = is_done,
                "a purge is more than a day late"
            );
        } else {
            tracing::info!(
                purge.name = self.name,
                purge.count = self.count,
                purge.lag_seconds = lag.as_secs(),
                purge.is_done = is_done,
                "purged"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);
    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn a_run_that_keeps_rows_forever_or_longer_than_the_calendar_deletes_nothing() {
        for kept in [None, Some(Duration::MAX), Some(DAY * 365 * 20_000)] {
            assert_eq!(
                PurgeRun::new("test", kept, PURGE_ROWS_MAX, NOW).next_batch(),
                None
            );
        }
    }

    #[test]
    fn a_run_ends_with_a_batch_that_is_not_full_or_at_its_limit() {
        let full = Purged {
            count: PURGE_ROWS_MAX,
            oldest: Some(NOW - DAY * 9),
        };
        let last = Purged {
            count: 3,
            oldest: Some(NOW - DAY * 8),
        };
        let mut run = PurgeRun::new("test", Some(DAY * 7), PURGE_ROWS_MAX, NOW);
        assert_eq!(run.next_batch(), Some(NOW - DAY * 7));
        run.add(full);
        assert!(run.next_batch().is_some());
        run.add(last);
        assert_eq!((run.next_batch(), run.lag()), (None, DAY * 2));
        let mut run = PurgeRun::new("test", Some(DAY * 7), PURGE_ROWS_MAX, NOW);
        let mut batches = 0;
        while run.next_batch().is_some() {
            run.add(full);
            batches += 1;
        }
        assert_eq!(batches, PURGE_BATCHES_MAX);
    }
}

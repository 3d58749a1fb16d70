//! Retention: deletes what was kept for as long as the configuration says, a little at a time.
//!
//! Each purge deletes a bounded number of rows in a transaction of its own, so it can be cut off at any moment, and any
//! number of processes can purge at the same time. [`sweep`](super::sweep) deletes what is kept for a fixed time.

use std::time::Duration;

use futures::future::BoxFuture;
use time::OffsetDateTime;

use crate::store::{
    self, Connection, Purged, StoreError, audit_events, batches, erasures, invitation_events,
    outbox,
};

use super::{Service, ServiceError, UnitOfWork, UseCase};

/// Most rows of one transaction, so that no lock is held for long.
const PURGE_ROWS_MAX: i64 = 500;
/// Most transactions of one run. Reminders and expiry must not wait until an old table is small.
const PURGE_BATCHES_MAX: usize = 20;
/// A purge that is later than this is logged as a warning: purges do not keep up, or did not run.
const PURGE_LAG_MAX: Duration = Duration::from_hours(24);
/// Most rows of events of one transaction. Events are the most frequent rows, and nothing else locks them.
const PURGE_EVENTS_MAX: i64 = 5_000;

/// How long things are kept. `None` is forever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The address of an invitation that ended, and the other personal data in it.
    pub addresses: Option<Duration>,
    pub invitations: Option<Duration>,
    pub mails: Option<Duration>,
    pub dead_mails: Option<Duration>,
    pub audit_events: Option<Duration>,
    /// An event of an invitation, once it is counted.
    pub events: Option<Duration>,
    /// A batch and its counts.
    pub batches: Option<Duration>,
}

impl Retention {
    /// An invitation is erased before it is deleted, so its address is kept no longer than the invitation.
    fn addresses(&self) -> Option<Duration> {
        self.addresses.into_iter().chain(self.invitations).min()
    }
}

/// Deletes rows that were due at a time or before, at most a number of them.
type Purge = for<'c> fn(
    &'c mut Connection<'_>,
    OffsetDateTime,
    i64,
) -> BoxFuture<'c, Result<Purged, StoreError>>;

impl Service {
    /// Purges every table: all that is due, or as much as one call may. A purge that fails stops no other. Returns the first
    /// failure.
    pub async fn purge(&self, retention: &Retention) -> Result<(), ServiceError> {
        // Addresses are erased first, because only erased invitations are deleted.
        let erased = self.erase_ended(retention.addresses()).await;
        let purges: [(&str, Option<Duration>, i64, Purge); 6] = [
            (
                "purge.invitations",
                retention.invitations,
                PURGE_ROWS_MAX,
                |it, by, max| Box::pin(erasures::delete_ended(it, by, max)),
            ),
            (
                "purge.mails",
                retention.mails,
                PURGE_ROWS_MAX,
                |it, by, max| Box::pin(outbox::purge_settled(it, by, max)),
            ),
            (
                "purge.dead_mails",
                retention.dead_mails,
                PURGE_ROWS_MAX,
                |it, by, max| Box::pin(outbox::purge_dead(it, by, max)),
            ),
            (
                "purge.audit_events",
                retention.audit_events,
                PURGE_ROWS_MAX,
                |it, by, max| Box::pin(audit_events::purge(it, by, max)),
            ),
            (
                "purge.events",
                retention.events,
                PURGE_EVENTS_MAX,
                |it, by, max| Box::pin(invitation_events::purge(it, by, max)),
            ),
            (
                "purge.batches",
                retention.batches,
                PURGE_ROWS_MAX,
                |it, by, max| Box::pin(batches::purge(it, by, max)),
            ),
        ];
        let mut outcome = erased;
        for (name, kept, rows_max, purge) in purges {
            let run = PurgeRun::new(name, kept, rows_max, self.context.now());
            outcome = outcome.and(self.purge_table(run, purge).await);
        }
        outcome
    }

    async fn purge_table(&self, mut run: PurgeRun, purge: Purge) -> Result<(), ServiceError> {
        let (name, rows_max) = (run.name, run.rows_max);
        while let Some(due_by) = run.next_batch() {
            let purged = self
                .store
                .with_tx(name, move |connection| {
                    Box::pin(async move {
                        store::planner::force_custom_plans(connection).await?;
                        purge(connection, due_by, rows_max).await
                    })
                })
                .await?;
            run.add(purged);
        }
        Ok(())
    }

    /// Removes the addresses of invitations that ended, and leaves their tags.
    async fn erase_ended(&self, kept: Option<Duration>) -> Result<(), ServiceError> {
        let now = self.context.now();
        let mut run = PurgeRun::new(EraseEnded::NAME, kept, PURGE_ROWS_MAX, now);
        while let Some(ended_by) = run.next_batch() {
            run.add(self.run(EraseEnded { ended_by }).await?);
        }
        Ok(())
    }
}

struct EraseEnded {
    ended_by: OffsetDateTime,
}

impl UseCase for EraseEnded {
    const NAME: &'static str = "purge.addresses";
    type Output = Purged;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<Purged, ServiceError> {
        store::planner::force_custom_plans(work).await?;
        let locked = erasures::lock_ended(work, self.ended_by, PURGE_ROWS_MAX).await?;
        let tagger = work.context.suppression.tagger();
        let rows: Vec<_> = locked
            .iter()
            .map(|row| (row, tagger.tag_of_normalized(&row.email_normalized)))
            .collect();
        if !rows.is_empty() {
            let now = work.context.now();
            erasures::erase_many(work, &rows, now).await?;
        }
        Ok(Purged {
            count: i64::try_from(locked.len()).unwrap_or(i64::MAX),
            oldest: locked.iter().map(|row| row.end_at).min(),
        })
    }
}

/// One run of a purge: how far it goes, how many rows it deleted, and how late they were. Logs when it is dropped.
struct PurgeRun {
    name: &'static str,
    due_by: Option<OffsetDateTime>,
    rows_max: i64,
    batches: usize,
    is_done: bool,
    count: i64,
    oldest: Option<OffsetDateTime>,
}

impl PurgeRun {
    fn new(name: &'static str, kept: Option<Duration>, rows_max: i64, now: OffsetDateTime) -> Self {
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

    /// The time by which the rows of the next transaction were due. `None` at the end of the run.
    fn next_batch(&mut self) -> Option<OffsetDateTime> {
        if self.is_done || self.batches == PURGE_BATCHES_MAX {
            return None;
        }
        self.batches += 1;
        self.due_by
    }

    fn add(&mut self, purged: Purged) {
        self.count += purged.count;
        self.oldest = self.oldest.into_iter().chain(purged.oldest).min();
        self.is_done = purged.count < self.rows_max;
    }

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

    const DAY: Duration = Duration::from_hours(24);

    #[test]
    fn an_address_is_kept_no_longer_than_its_invitation() {
        let kept = |addresses, invitations| {
            let retention = Retention {
                addresses,
                invitations,
                ..Retention::default()
            };
            retention.addresses()
        };
        assert_eq!(kept(None, Some(DAY)), Some(DAY));
        assert_eq!(kept(Some(DAY * 2), Some(DAY)), Some(DAY));
        assert_eq!(kept(Some(DAY), None), Some(DAY));
        assert_eq!(kept(None, None), None);
    }

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);

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

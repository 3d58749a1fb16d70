//! Retention: what has been kept for long enough goes, a little at a time.
//!
//! Each purge is a statement of its own over a bounded number of rows that it alone holds: it can be cut off at any
//! moment, and any number of replicas purge beside each other. How long things are kept is the configuration's business;
//! what ends by itself whatever is configured stands in `sweep`.

use std::time::Duration;

use futures::future::BoxFuture;
use time::OffsetDateTime;

use crate::store::{
    self, Connection, Purged, StoreError, audit_events, batches, erasures, invitation_events,
    outbox,
};

use super::{Service, ServiceError};

/// Most rows of one transaction, so that no lock lasts.
const PURGE_ROWS_MAX: i64 = 500;
/// Most rows of events of one transaction: they come faster than anything else, and nobody else locks them.
const PURGE_EVENTS_MAX: i64 = 5_000;
/// Most transactions of one purge in a row: reminders and expiry must not wait for an old table to become small.
const PURGE_BATCHES_MAX: usize = 20;
/// So far behind, somebody should look: purges do not keep up, or did not run.
const PURGE_LAG_MAX: Duration = Duration::from_hours(24);

/// How long things are kept; `None` is for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The address of an invitation that ended, and what else in it is about its person.
    pub addresses: Option<Duration>,
    /// An invitation that ended.
    pub invitations: Option<Duration>,
    /// What became of a mail that was sent or canceled.
    pub mails: Option<Duration>,
    /// A mail that was given up.
    pub dead_mails: Option<Duration>,
    /// An event of the audit log.
    pub audit_events: Option<Duration>,
    /// An event of an invitation, once it is in the counts.
    pub events: Option<Duration>,
    /// A batch and its counts.
    pub batches: Option<Duration>,
}

impl Retention {
    /// An invitation is erased before it is deleted, and so at the latest by then.
    fn addresses(&self) -> Option<Duration> {
        self.addresses.into_iter().chain(self.invitations).min()
    }
}

/// Takes some of the rows that were due at a time or before, at most so many.
type Purge = for<'c> fn(
    &'c mut Connection,
    OffsetDateTime,
    i64,
) -> BoxFuture<'c, Result<Purged, StoreError>>;

impl Service {
    /// Purges every table a little: all that is due, or as much as one turn allows. One that fails stops no other.
    ///
    /// # Errors
    ///
    /// The first failure.
    pub async fn purge(&self, retention: &Retention) -> Result<(), ServiceError> {
        // A table that people are in has its line here. Erasing comes before deleting, which takes erased rows alone.
        let done = [
            self.erase_ended(retention.addresses()).await,
            self.purge_table(
                "purge.invitations",
                retention.invitations,
                |it, by, most| Box::pin(erasures::delete_ended(it, by, most)),
            )
            .await,
            self.purge_table("purge.mails", retention.mails, |it, by, most| {
                Box::pin(outbox::purge_settled(it, by, most))
            })
            .await,
            self.purge_table("purge.dead_mails", retention.dead_mails, |it, by, most| {
                Box::pin(outbox::purge_dead(it, by, most))
            })
            .await,
            self.purge_table(
                "purge.audit_events",
                retention.audit_events,
                |it, by, most| Box::pin(audit_events::purge(it, by, most)),
            )
            .await,
            self.purge_events(retention.events).await,
            self.purge_table("purge.batches", retention.batches, |it, by, most| {
                Box::pin(batches::purge(it, by, most))
            })
            .await,
        ];
        done.into_iter().collect()
    }

    async fn purge_table(
        &self,
        name: &'static str,
        kept: Option<Duration>,
        purge: Purge,
    ) -> Result<(), ServiceError> {
        let turn = Turn::new(name, kept, self.clock.now());
        self.purge_in(turn, purge).await
    }

    async fn purge_events(&self, kept: Option<Duration>) -> Result<(), ServiceError> {
        let turn = Turn {
            rows_max: PURGE_EVENTS_MAX,
            ..Turn::new("purge.events", kept, self.clock.now())
        };
        let purge: Purge = |it, by, most| Box::pin(invitation_events::purge(it, by, most));
        self.purge_in(turn, purge).await
    }

    async fn purge_in(&self, mut turn: Turn, purge: Purge) -> Result<(), ServiceError> {
        let (name, rows_max) = (turn.name, turn.rows_max);
        while let Some(due_by) = turn.next() {
            let purged = self
                .store
                .with_tx(name, move |connection| {
                    Box::pin(async move {
                        store::plan_afresh(connection).await?;
                        purge(connection, due_by, rows_max).await
                    })
                })
                .await?;
            turn.add(purged);
        }
        Ok(())
    }

    /// Takes the addresses out of invitations that ended, and leaves their tags.
    async fn erase_ended(&self, kept: Option<Duration>) -> Result<(), ServiceError> {
        let name = "purge.addresses";
        let mut turn = Turn::new(name, kept, self.clock.now());
        while let Some(ended_by) = turn.next() {
            let service = self.clone();
            let purged = self
                .store
                .with_tx(name, move |connection| {
                    let service = service.clone();
                    Box::pin(async move { service.erase_ended_batch(connection, ended_by).await })
                })
                .await?;
            turn.add(purged);
        }
        Ok(())
    }

    async fn erase_ended_batch(
        &self,
        connection: &mut Connection<'_>,
        ended_by: OffsetDateTime,
    ) -> Result<Purged, ServiceError> {
        store::plan_afresh(connection).await?;
        let locked = erasures::lock_ended(connection, ended_by, PURGE_ROWS_MAX).await?;
        let rows: Vec<_> = locked
            .iter()
            .map(|row| (row, self.tagger.tag_of_normalized(&row.email_normalized)))
            .collect();
        if !rows.is_empty() {
            erasures::erase_many(connection, &rows, self.clock.now()).await?;
        }
        Ok(Purged {
            count: i64::try_from(locked.len()).unwrap_or(i64::MAX),
            oldest: locked.iter().map(|row| row.end_at).min(),
        })
    }
}

/// One turn of a purge: how far it goes, what it took, and how late that was. Tells the log when it is over, however it
/// ends.
struct Turn {
    name: &'static str,
    due_by: Option<OffsetDateTime>,
    rows_max: i64,
    batches: usize,
    is_done: bool,
    count: i64,
    oldest: Option<OffsetDateTime>,
}

impl Turn {
    fn new(name: &'static str, kept: Option<Duration>, now: OffsetDateTime) -> Self {
        let due_by = kept.and_then(|kept| now.checked_sub(kept.try_into().ok()?));
        Self {
            name,
            due_by,
            rows_max: PURGE_ROWS_MAX,
            batches: 0,
            is_done: false,
            count: 0,
            oldest: None,
        }
    }

    /// By when the rows of the next batch were due; `None` when the turn is over.
    fn next(&mut self) -> Option<OffsetDateTime> {
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

    /// How late the oldest row was.
    fn lag(&self) -> Duration {
        let lag = self.due_by.zip(self.oldest).map(|(by, oldest)| by - oldest);
        lag.and_then(|lag| lag.try_into().ok()).unwrap_or_default()
    }
}

impl Drop for Turn {
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
                "a purge is over a day late"
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
    fn what_is_kept_for_ever_has_no_turn_and_neither_has_what_is_older_than_the_calendar() {
        for kept in [None, Some(Duration::MAX), Some(DAY * 365 * 20_000)] {
            assert_eq!(Turn::new("test", kept, NOW).next(), None);
        }
    }

    #[test]
    fn a_turn_ends_with_a_batch_that_is_not_full_or_after_so_many() {
        let full = Purged {
            count: PURGE_ROWS_MAX,
            oldest: Some(NOW - DAY * 9),
        };
        let last = Purged {
            count: 3,
            oldest: Some(NOW - DAY * 8),
        };
        let mut turn = Turn::new("test", Some(DAY * 7), NOW);
        assert_eq!(turn.next(), Some(NOW - DAY * 7));
        turn.add(full);
        assert!(turn.next().is_some());
        turn.add(last);
        assert_eq!((turn.next(), turn.lag()), (None, DAY * 2));
        let mut turn = Turn::new("test", Some(DAY * 7), NOW);
        let mut batches = 0;
        while turn.next().is_some() {
            turn.add(full);
            batches += 1;
        }
        assert_eq!(batches, PURGE_BATCHES_MAX);
    }

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
}

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

use super::ServiceError;
use super::purge_run::{PURGE_ROWS_MAX, PurgeRun};
use super::runner::{Service, UseCase};
use super::unit_of_work::UnitOfWork;

/// Most rows of events of one transaction. Events are the most frequent rows, and nothing else locks them.
const PURGE_EVENTS_MAX: i64 = 5_000;

/// How long things are kept. `None` is forever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The address of an invitation that ended, and the other personal data in it.
    pub addresses: Option<Duration>,
    /// An invitation that ended.
    pub invitations: Option<Duration>,
    /// A message that was sent or canceled.
    pub mails: Option<Duration>,
    /// A message that was given up.
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
    /// Purges every table: all that is due, or as much as one call may. A purge that fails stops no other.
    ///
    /// # Errors
    ///
    /// The first failure.
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
        let (name, rows_max) = (run.name(), run.rows_max());
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

/// Erases some of the invitations that ended at a time or before.
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
}

//! Periodic work: the sweep, which records what expired and deletes what is kept for a fixed time; reminders; and the
//! counts of batches.
//!
//! Readers see an invitation as expired at once. The sweep writes that state and its event.

use futures::future::BoxFuture;
use time::{Duration, OffsetDateTime};

use crate::domain::quota;
use crate::store::invitations::{self, EndReason};
use crate::store::{
    Connection, StoreError, batches, feedback_events, idempotency_keys, quotas, reminders,
    stream_chunks, suppressions,
};

use super::idempotency::REQUEST_ID_TTL;
use super::{Service, ServiceError, UnitOfWork, UseCase};

/// How long reports of mail providers are remembered: longer than any provider repeats one.
const FEEDBACK_EVENT_TTL: Duration = Duration::days(7);
/// How much longer chunks are kept than request ids. A stream that is sent again in the last minute still needs its chunks.
const CHUNK_TTL_MARGIN: Duration = Duration::hours(2);
/// How long the quotas of a day are kept. Another process may still be at its last call of the day before.
const QUOTA_TTL: Duration = Duration::days(1);
/// Most rows of one transaction, so that no lock is held for long.
const SWEEP_ROWS_MAX: i64 = 500;
/// Most invitations of one statement, so that no lock is held for long.
const REMIND_ROWS_MAX: i64 = 500;
/// About how many rows of events one statement folds, so that it stays short.
const FOLD_ROWS_MAX: i64 = 1_000;
const FOLD_STATEMENTS_MAX: usize = 50;

/// Deletes rows that are older than a time, at most a number of them. Returns how many.
type DeleteRows = for<'c> fn(
    &'c mut Connection<'_>,
    OffsetDateTime,
    i64,
) -> BoxFuture<'c, Result<u64, StoreError>>;

/// What is kept for a fixed time: the name of its transaction, the time, and how it is deleted.
const KEPT_FOR_FIXED_TIME: [(&str, Duration, DeleteRows); 5] = [
    ("forget_requests", REQUEST_ID_TTL, |it, before, max| {
        Box::pin(idempotency_keys::purge(it, before, max))
    }),
    (
        "forget_chunks",
        REQUEST_ID_TTL.saturating_add(CHUNK_TTL_MARGIN),
        |it, before, max| Box::pin(stream_chunks::purge(it, before, max)),
    ),
    ("purge_suppressions", Duration::ZERO, |it, now, max| {
        Box::pin(suppressions::purge(it, now, max))
    }),
    ("forget_feedback", FEEDBACK_EVENT_TTL, |it, before, max| {
        Box::pin(feedback_events::purge(it, before, max))
    }),
    ("forget_quotas", QUOTA_TTL, |it, before, max| {
        Box::pin(quotas::purge(it, quota::day(before), max))
    }),
];

/// Ends some of the invitations that expired, and cancels their messages. Returns how many. Zero means that none is left, or
/// that another process ends them.
struct ExpireDue;

impl Service {
    /// Sweeps until nothing is left for now.
    pub async fn sweep(&self) -> Result<(), ServiceError> {
        while self.run(ExpireDue).await? > 0 {}
        for (name, kept, delete) in KEPT_FOR_FIXED_TIME {
            let before = self.context.now() - kept;
            while self.delete_rows(name, before, delete).await? > 0 {}
        }
        Ok(())
    }

    /// Queues the reminders that are due. Returns how many messages were queued. Any number of processes may do this at the
    /// same time.
    pub async fn remind(&self) -> Result<i64, ServiceError> {
        let mut queued = 0;
        loop {
            let now = self.context.now();
            let remind = self.store.run("remind", move |connection| {
                Box::pin(reminders::queue_due(connection, now, REMIND_ROWS_MAX))
            });
            let reminded = remind.await?;
            queued += reminded.queued;
            // None is left, or another process queues them.
            if reminded.due == 0 {
                return Ok(queued);
            }
        }
    }

    /// Folds the events that are final into the counts of their batches, so that few rows have to be read to count a batch: all,
    /// or as many as one call may. Returns how many rows of events.
    pub async fn fold(&self) -> Result<i64, ServiceError> {
        let mut total = 0;
        for _ in 0..FOLD_STATEMENTS_MAX {
            let fold = self.store.run("fold", |connection| {
                Box::pin(batches::fold_events(connection, FOLD_ROWS_MAX))
            });
            let folded = fold.await?;
            total += folded;
            // A statement that was limited folds more rows than the limit, because it ends with a transaction.
            if folded <= FOLD_ROWS_MAX {
                break;
            }
        }
        Ok(total)
    }

    async fn delete_rows(
        &self,
        name: &'static str,
        before: OffsetDateTime,
        delete: DeleteRows,
    ) -> Result<u64, StoreError> {
        self.store
            .run(name, move |connection| {
                delete(connection, before, SWEEP_ROWS_MAX)
            })
            .await
    }
}

impl UseCase for ExpireDue {
    const NAME: &'static str = "expire_due";
    type Output = usize;

    async fn run(&self, work: &mut UnitOfWork<'_>) -> Result<usize, ServiceError> {
        let now = work.context.now();
        let due = invitations::lock_expired(work, now, SWEEP_ROWS_MAX).await?;
        let ended = invitations::end_many(work, &due, EndReason::Expired, now).await?;
        Ok(ended.len())
    }
}

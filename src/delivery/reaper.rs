//! Queues the emails of expired leases again. Every replica runs a reaper.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::{Store, StoreError, mail_batches, outbox};

/// The interval is a quarter of the lease duration, and at most this.
const REAP_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// A call to a provider that was not repeated for this long is given up: no provider remembers its key longer.
const BATCH_AGE_MAX: Duration = Duration::from_hours(24);
const REAP_ROWS_MAX: i64 = 500;
/// Within this time every process learns that the clock of the database jumped. Until then it takes leases by the old time.
const JUMP_NOTICED_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub struct Reaper {
    store: Store,
    clock: Arc<dyn Clock>,
    lease_duration: Duration,
}

/// The time by which leases have ended. Returns `None` until a lease duration after the clock of the database jumped:
/// after a jump forward, leases look expired while their holders send. By then they are extended or really expired.
pub(super) fn lease_end_time(
    clock: &dyn Clock,
    lease_duration: Duration,
) -> Option<OffsetDateTime> {
    // If the clock jumps after this line, the time from before the jump ends no lease early.
    let now = clock.now();
    let is_steady = clock.steady_for() >= lease_duration.saturating_add(JUMP_NOTICED_WITHIN);
    is_steady.then_some(now)
}

impl Reaper {
    pub fn new(store: Store, clock: Arc<dyn Clock>, lease_duration: Duration) -> Self {
        Self {
            store,
            clock,
            lease_duration,
        }
    }

    /// Reaps at once and then at every interval, until `stopping` is canceled.
    pub async fn run(self, stopping: CancellationToken) {
        let interval = (self.lease_duration / 4).min(REAP_INTERVAL_MAX);
        loop {
            match self.reap().await {
                Ok(0) => {}
                Ok(count) => {
                    tracing::warn!(mail.count = count, "queued emails of crashed workers again");
                }
                Err(error) => {
                    let error: &dyn Error = &error;
                    tracing::warn!(error, "cannot look for expired leases");
                }
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(interval) => {}
            }
        }
    }

    /// Queues all emails whose lease expired again, and those of abandoned calls. Returns the number of emails plus the
    /// number of calls.
    pub async fn reap(&self) -> Result<u64, StoreError> {
        let Some(now) = self.lease_end_time() else {
            return Ok(0);
        };
        // Only the lane of a call repeats it. So the calls of a lane that was removed from the settings stay abandoned.
        let abandoned_since = now - BATCH_AGE_MAX;
        let batches = self.store.run("mail_batches.reap", move |connection| {
            let reaped = mail_batches::requeue_abandoned(connection, abandoned_since, now);
            Box::pin(reaped)
        });
        let mut total = batches.await?;
        while let Some(now) = self.lease_end_time() {
            let emails = self.store.run("outbox.reap", move |connection| {
                Box::pin(outbox::requeue_expired(connection, now, REAP_ROWS_MAX))
            });
            match emails.await? {
                0 => return Ok(total),
                count => total += count,
            }
        }
        Ok(total)
    }

    fn lease_end_time(&self) -> Option<OffsetDateTime> {
        lease_end_time(self.clock.as_ref(), self.lease_duration)
    }
}

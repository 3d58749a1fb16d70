//! Queues the emails of expired leases again. Every replica runs a reaper.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::{Store, StoreError, mail_batches, outbox};

/// The interval is a quarter of the lease duration, and at most this.
const REAP_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// A call to a provider that was not repeated for this long is given up: no provider remembers its key longer.
const BATCH_AGE_MAX: Duration = Duration::from_hours(24);
const REAP_ROWS_MAX: i64 = 500;

#[derive(Debug, Clone)]
pub struct Reaper {
    store: Store,
    clock: Arc<dyn Clock>,
    interval: Duration,
}

impl Reaper {
    pub fn new(store: Store, clock: Arc<dyn Clock>, lease_duration: Duration) -> Self {
        Self {
            store,
            clock,
            interval: (lease_duration / 4).min(REAP_INTERVAL_MAX),
        }
    }

    /// Reaps at once and then at every interval, until `stopping` is canceled.
    pub async fn run(self, stopping: CancellationToken) {
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
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    /// Queues all emails whose lease expired again, and those of abandoned calls. Returns the number of emails plus the
    /// number of calls.
    pub async fn reap(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        // Only the lane of a call repeats it. So the calls of a lane that was removed from the settings stay abandoned.
        let abandoned_since = now - BATCH_AGE_MAX;
        let batches = self.store.run("mail_batches.reap", move |connection| {
            let reaped = mail_batches::requeue_abandoned(connection, abandoned_since, now);
            Box::pin(reaped)
        });
        let mut total = batches.await?;
        loop {
            let now = self.clock.now();
            let emails = self.store.run("outbox.reap", move |connection| {
                Box::pin(outbox::requeue_expired(connection, now, REAP_ROWS_MAX))
            });
            match emails.await? {
                0 => return Ok(total),
                count => total += count,
            }
        }
    }
}

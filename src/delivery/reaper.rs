//! Queues again what dead workers held. Any replica may, and a dead replica needs no other rescue.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::{Store, StoreError, mail_batches, outbox};

/// Longest time between two looks; where leases are short, a quarter of one.
const REAP_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// When a call to a provider that nobody repeated is taken for lost: no provider remembers its key longer.
const BATCH_AGE_MAX: Duration = Duration::from_hours(24);
/// Most mails of one statement.
const REAP_ROWS_MAX: i64 = 500;

/// Looks for leases that ran out.
#[derive(Debug, Clone)]
pub struct Reaper {
    store: Store,
    clock: Arc<dyn Clock>,
    interval: Duration,
}

impl Reaper {
    /// A reaper over a store whose mails are leased for this long.
    #[must_use]
    pub fn new(store: Store, clock: Arc<dyn Clock>, lease_duration: Duration) -> Self {
        Self {
            store,
            clock,
            interval: (lease_duration / 4).min(REAP_INTERVAL_MAX),
        }
    }

    /// Reaps at once, and then until told to stop.
    pub async fn run(self, stopping: CancellationToken) {
        loop {
            match self.reap().await {
                Ok(0) => {}
                Ok(count) => {
                    tracing::warn!(mail.count = count, "queued mails of dead workers again");
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot look for dead workers"
                ),
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    /// Queues again all mails whose lease ran out, and those of calls that nobody repeats; returns how many mails, or
    /// calls.
    pub async fn reap(&self) -> Result<u64, StoreError> {
        let mut total = self.reap_batches().await?;
        loop {
            let now = self.clock.now();
            let count = self
                .store
                .run("outbox.reap", move |connection| {
                    Box::pin(outbox::requeue_expired(connection, now, REAP_ROWS_MAX))
                })
                .await?;
            total += count;
            if count == 0 {
                return Ok(total);
            }
        }
    }

    /// A call is repeated by its own lane; one whose lane was taken out of the configuration is nobody's.
    async fn reap_batches(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        self.store
            .run("mail_batches.reap", move |connection| {
                Box::pin(mail_batches::requeue_abandoned(
                    connection,
                    now - BATCH_AGE_MAX,
                    now,
                ))
            })
            .await
    }
}

//! Sweep: what time alone brings about. Expiry is true at once for whoever reads; the sweeper writes it down.

use time::Duration;

use crate::domain::quota;
use crate::store::invitations::{self, End};
use crate::store::{feedback_events, idempotency_keys, quotas, stream_chunks, suppressions};

use super::idempotency::REQUEST_ID_TTL;
use super::{Service, ServiceError};

/// How long a report of a mail provider is remembered: longer than any of them repeats one.
const FEEDBACK_EVENT_TTL: Duration = Duration::days(7);
/// How much longer chunks are kept than request ids: a stream that is sent again in the last minute holds its own.
const CHUNK_TTL_MARGIN: Duration = Duration::hours(2);
/// Most rows of one transaction, so that no lock lasts.
const SWEEP_ROWS_MAX: i64 = 500;

impl Service {
    /// Sweeps until nothing is left for now.
    pub async fn sweep(&self) -> Result<(), ServiceError> {
        while self.expire_due().await? > 0 {}
        while self.forget_requests().await? > 0 {}
        while self.forget_chunks().await? > 0 {}
        while self.purge_suppressions().await? > 0 {}
        while self.forget_feedback().await? > 0 {}
        while self.forget_quotas().await? > 0 {}
        Ok(())
    }

    /// Ends some of the invitations whose time ran out and cancels their mail; returns how many. Zero means that none
    /// is left, or that another replica is at it.
    async fn expire_due(&self) -> Result<usize, ServiceError> {
        let service = self.clone();
        self.store
            .with_tx("expire_due", move |connection| {
                let service = service.clone();
                Box::pin(async move {
                    let now = service.clock.now();
                    let due = invitations::lock_expired(connection, now, SWEEP_ROWS_MAX).await?;
                    let ended = invitations::end_many(connection, &due, End::Expired, now).await?;
                    Ok(ended.len())
                })
            })
            .await
    }

    /// Forgets some of the request ids that are old enough; returns how many.
    async fn forget_requests(&self) -> Result<u64, ServiceError> {
        let forget_before = self.clock.now() - REQUEST_ID_TTL;
        self.store
            .run("forget_requests", move |connection| {
                Box::pin(async move {
                    Ok(idempotency_keys::forget(connection, forget_before, SWEEP_ROWS_MAX).await?)
                })
            })
            .await
    }

    /// Forgets some of the chunks of streams that are old enough; returns how many. Each outlives the request id of its
    /// stream, that of one which is being sent again too.
    async fn forget_chunks(&self) -> Result<u64, ServiceError> {
        let forget_before = self.clock.now() - REQUEST_ID_TTL - CHUNK_TTL_MARGIN;
        self.store
            .run("forget_chunks", move |connection| {
                Box::pin(async move {
                    Ok(stream_chunks::forget(connection, forget_before, SWEEP_ROWS_MAX).await?)
                })
            })
            .await
    }

    /// Deletes some of the suppressions that have ended; returns how many.
    async fn purge_suppressions(&self) -> Result<u64, ServiceError> {
        let now = self.clock.now();
        self.store
            .run("purge_suppressions", move |connection| {
                Box::pin(async move {
                    Ok(suppressions::purge_expired(connection, now, SWEEP_ROWS_MAX).await?)
                })
            })
            .await
    }

    /// Forgets some of what was taken of quotas on days that are over; returns how many. Yesterday stays: another replica
    /// may be at its last call of it.
    async fn forget_quotas(&self) -> Result<u64, ServiceError> {
        let forget_before = quota::day(self.clock.now() - Duration::days(1));
        self.store
            .run("forget_quotas", move |connection| {
                Box::pin(async move {
                    Ok(quotas::forget(connection, forget_before, SWEEP_ROWS_MAX).await?)
                })
            })
            .await
    }

    /// Forgets some of the reports that are old enough; returns how many.
    async fn forget_feedback(&self) -> Result<u64, ServiceError> {
        let forget_before = self.clock.now() - FEEDBACK_EVENT_TTL;
        self.store
            .run("forget_feedback", move |connection| {
                Box::pin(async move {
                    Ok(feedback_events::purge(connection, forget_before, SWEEP_ROWS_MAX).await?)
                })
            })
            .await
    }
}

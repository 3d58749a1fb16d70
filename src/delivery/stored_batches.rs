//! The persisted calls of one lane.
//!
//! A call is persisted before it is made. If its outcome is not recorded, the worker that claims the batch next repeats
//! the same call.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::delivery_context::DeliveryContext;
use super::lane::millis;
use super::reaper::lease_end_time;
use super::settler::retry_until;
use crate::entropy;
use crate::store::StoreError;
use crate::store::mail_batches::{self, AbandonedBatch};
use crate::store::outbox::{Lease, MailKey};
use crate::store::settlements::SettledMail;

/// The pause before a call with an unknown outcome is repeated. Doubles each time.
pub(super) const REPEAT_PAUSE: Duration = Duration::from_secs(1);
const REPEAT_PAUSE_MAX: Duration = Duration::from_mins(10);

/// Identifies a persisted call and its lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLease {
    /// Also the idempotency key of the call.
    pub(super) id: Uuid,
    token: Uuid,
    /// How often the call was attempted, this attempt included.
    pub(super) attempts: i32,
}

impl BatchLease {
    /// Claims one call of a lane whose outcome was not recorded.
    pub(super) async fn claim_abandoned(
        context: &DeliveryContext,
        lane: String,
    ) -> Result<Option<(AbandonedBatch, Self)>, StoreError> {
        let clock = context.clock.as_ref();
        let Some(now) = lease_end_time(clock, context.config.lease_duration) else {
            return Ok(None);
        };
        let lease = context.new_lease();
        let store = &context.store;
        let batch = store.with_tx("mail_batches.claim", move |connection| {
            let lane = lane.clone();
            Box::pin(async move { mail_batches::claim(connection, &lane, lease, now).await })
        });
        let batch = batch.await?;
        Ok(batch.map(|batch| {
            let lease = Self::new(batch.id, lease.token, batch.attempts);
            (batch, lease)
        }))
    }

    /// Persists a call with emails that are held under these leases. Returns the lease of the call and the indexes, in
    /// order, of the emails whose own leases are still held: only these are in the call.
    pub(super) async fn create(
        context: &DeliveryContext,
        lane: String,
        leases: Arc<[(MailKey, Uuid)]>,
    ) -> Result<(Self, Vec<usize>), StoreError> {
        let id = Uuid::from_bytes(entropy::random_bytes());
        let (lease, now) = (context.new_lease(), context.now());
        let indexes = context.store.run("mail_batches.create", move |connection| {
            let (leases, lane) = (Arc::clone(&leases), lane.clone());
            Box::pin(async move {
                mail_batches::create(connection, id, &lane, &leases, lease, now).await
            })
        });
        let indexes = indexes.await?;
        Ok((Self::new(id, lease.token, 1), indexes))
    }

    fn new(id: Uuid, token: Uuid, attempts: i32) -> Self {
        Self {
            id,
            token,
            attempts,
        }
    }

    /// Extends the lease of a call that is being made.
    pub(super) async fn extend(self, context: &DeliveryContext) {
        let lease = Lease {
            token: self.token,
            until: context.now() + context.config.lease_duration,
        };
        let store = &context.store;
        let extended = store.run("mail_batches.extend_lease", move |connection| {
            Box::pin(mail_batches::extend_lease(connection, self.id, lease))
        });
        match extended.await {
            Ok(true) => {}
            // The call cannot be stopped. Settling it will also find that the lease was lost.
            Ok(false) => tracing::warn!("the lease of a call was lost while the call was made"),
            Err(error) => {
                let error: &dyn Error = &error;
                tracing::warn!(error, "cannot extend the lease of a call");
            }
        }
    }

    /// Settles the emails of a call and deletes the batch. Retries while the database is unavailable, because the result
    /// of the call is known only here.
    pub(super) async fn settle(
        self,
        context: &DeliveryContext,
        settled: Vec<SettledMail>,
    ) -> Result<(), StoreError> {
        let (Self { id, token, .. }, now) = (self, context.now());
        let settled: Arc<[SettledMail]> = settled.into();
        // The lease ends later: it was extended while the call was made.
        let give_up_at = Instant::now() + context.config.lease_duration / 2;
        let is_held = retry_until(give_up_at, || {
            let settled = Arc::clone(&settled);
            let store = &context.store;
            store.with_tx("mail_batches.settle", move |connection| {
                let settled = Arc::clone(&settled);
                Box::pin(
                    async move { mail_batches::settle(connection, id, token, &settled, now).await },
                )
            })
        })
        .await?;
        if !is_held {
            tracing::warn!("the lease of a call was lost before the call was settled");
        }
        Ok(())
    }

    /// Deletes a batch and gives its emails leases of their own, to be sent in other calls. `false` if the lease was
    /// lost.
    pub(super) async fn dissolve(self, context: &DeliveryContext) -> Result<bool, StoreError> {
        let Self { id, token, .. } = self;
        let until = context.now() + context.config.lease_duration;
        let store = &context.store;
        let dissolved = store.with_tx("mail_batches.dissolve", move |connection| {
            Box::pin(mail_batches::dissolve(connection, id, token, until))
        });
        dissolved.await
    }

    /// Keeps a call to be repeated later, and not before the time that the provider asked for.
    pub(super) async fn postpone(
        self,
        context: &DeliveryContext,
        requested: Option<Duration>,
    ) -> Result<(), StoreError> {
        let Self { id, token, .. } = self;
        let doublings = u32::try_from(self.attempts.clamp(1, 16) - 1).unwrap_or(0);
        let scheduled = (REPEAT_PAUSE * 2_u32.pow(doublings)).min(REPEAT_PAUSE_MAX);
        let pause = scheduled.max(requested.unwrap_or_default());
        tracing::debug!(call.pause_ms = millis(pause), "a call will be repeated");
        let now = context.now();
        let at = now + pause;
        let store = &context.store;
        let postponed = store.run("mail_batches.postpone", move |connection| {
            Box::pin(mail_batches::reschedule(connection, id, token, at, now))
        });
        postponed.await?;
        Ok(())
    }
}

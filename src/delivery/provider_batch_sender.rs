//! Sends many emails in one call to a provider: build, persist the call, call, settle.
//!
//! The call is persisted before it is made. If its outcome is unknown, the same call is repeated by the worker that
//! claims its batch next. A provider with idempotency keys then sends no email twice. Without keys, or after the key
//! expired, the emails return to the queue, and each may arrive twice.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval_at};
use uuid::Uuid;

use super::delivery_context::DeliveryContext;
use super::job_reader::{read_jobs, refresh_jobs};
use super::lane::Lane;
use super::send_job::SendJob;
use super::send_outcome;
use super::stored_batches::{self, BatchLease, REPEAT_PAUSE};
use crate::mail::message::{Composer, RenderedMessage};
use crate::mail::providers::{
    BatchError, BatchOutcome, BatchResults, ProviderMessage, ProviderTransport,
};
use crate::mail::send_error::FailureAction;
use crate::store::StoreError;
use crate::store::mail_batches::AbandonedBatch;
use crate::store::settlements::{SettledMail, Settlement};

/// A call is not repeated when its idempotency key expires within this time, because clocks differ.
const KEY_EXPIRY_MARGIN: Duration = Duration::from_hours(1);

pub(super) struct ProviderBatchSender {
    pub(super) context: Arc<DeliveryContext>,
    pub(super) lane: Arc<Lane>,
    pub(super) provider: ProviderTransport,
}

/// One call, persisted in the store.
struct BatchCall {
    lease: BatchLease,
    /// Including this one.
    attempts: i32,
    jobs: Vec<SendJob>,
    /// One for each job, in the same order.
    messages: Vec<ProviderMessage>,
}

impl ProviderBatchSender {
    /// Sends emails in one call and settles them. A call that the provider refuses for its content is split into
    /// halves. Then repeats an abandoned call: while the queue is long, no call is idle long enough to claim one.
    pub(super) async fn send(&self, jobs: Vec<SendJob>) {
        let mut waiting = vec![jobs];
        while let Some(jobs) = waiting.pop() {
            match self.send_call(jobs).await {
                Ok(refused) if refused.is_empty() => {}
                Ok(mut refused) => {
                    let half = refused.split_off(refused.len() / 2);
                    waiting.extend([half, refused]);
                }
                // The leases expire, and the emails are queued again.
                Err(error) => self.warn(&error, "cannot record a call to a provider"),
            }
        }
        if self.lane.is_available() {
            let lane = self.lane.name.clone();
            match stored_batches::claim_abandoned(&self.context, lane).await {
                Ok(Some((batch, token))) => self.repeat(batch, token).await,
                Ok(None) => {}
                Err(error) => self.warn(&error, "cannot look for calls to repeat"),
            }
        }
    }

    /// Repeats a call whose outcome was not recorded.
    pub(super) async fn repeat(&self, batch: AbandonedBatch, token: Uuid) {
        if let Err(error) = self.try_repeat(batch, token).await {
            self.warn(&error, "cannot repeat a call to a provider");
        }
    }

    async fn try_repeat(&self, batch: AbandonedBatch, token: Uuid) -> Result<(), StoreError> {
        let jobs = read_jobs(&self.context, batch.mails).await?;
        let now = self.context.now();
        let age = now - batch.created_at;
        let is_key_valid = self
            .provider
            .key_retention()
            .is_some_and(|retention| age < retention.saturating_sub(KEY_EXPIRY_MARGIN));
        let lease = BatchLease {
            id: batch.id,
            token,
        };
        let mut call = BatchCall::new(lease, batch.attempts);
        if !is_key_valid {
            call.jobs = jobs;
            return self
                .requeue(&call, "the outcome of a call is unknown")
                .await;
        }
        let mut deleted = Vec::new();
        for job in jobs {
            // The message must have its original bytes even if the invitation ended: other bytes are another call.
            match self.context.builder.rebuild(&job, now, Composer::render) {
                Ok(message) => call.push(job, message),
                Err(Settlement::Deferred { .. }) => return self.postpone(&call, None).await,
                Err(settlement) => deleted.push(job.settled(settlement)),
            }
        }
        // Without the emails of a deleted organization, the bytes differ from the first call under this key. If the
        // provider accepted the first call, it refuses this one, and no recipient gets a second email.
        self.context.settler.settle_all(deleted).await;
        if call.jobs.is_empty() {
            return self.settle(&call, Vec::new()).await;
        }
        let refused = self.make(call).await?;
        if !refused.is_empty() {
            // Boxed, because `send` calls `repeat`.
            Box::pin(self.send(refused)).await;
        }
        Ok(())
    }

    /// Builds, persists and makes one call. Returns the jobs of a call that was refused for its content.
    async fn send_call(&self, jobs: Vec<SendJob>) -> Result<Vec<SendJob>, StoreError> {
        let context = &*self.context;
        let jobs = refresh_jobs(context, jobs).await?;
        let (mut built, mut settled) = (Vec::new(), Vec::new());
        for job in jobs {
            match context.builder.build(&job, context.now(), Composer::render) {
                Ok(message) => built.push((job, message)),
                Err(settlement) => settled.push(job.settled(settlement)),
            }
        }
        context.settler.settle_all(settled).await;
        if built.is_empty() {
            return Ok(Vec::new());
        }
        let leases = built.iter().map(|(job, _)| job.lease()).collect();
        let lane = self.lane.name.clone();
        let (lease, indexes) = stored_batches::create(context, lane, leases).await?;
        let mut call = BatchCall::new(lease, 1);
        for (index, (job, message)) in built.into_iter().enumerate() {
            if indexes.binary_search(&index).is_ok() {
                call.push(job, message);
            }
        }
        if call.jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.make(call).await
    }

    /// Makes a persisted call and settles its emails. Returns the jobs of a call that was refused for its content.
    async fn make(&self, call: BatchCall) -> Result<Vec<SendJob>, StoreError> {
        let error = match self.call_provider(&call).await {
            Ok(results) => {
                self.settle_results(&call, results).await?;
                return Ok(Vec::new());
            }
            Err(error) => error,
        };
        tracing::warn!(
            lane.name = self.lane.name,
            mail.count = call.jobs.len(),
            mail.reply_code = error.error.reply_code,
            call.outcome = ?error.outcome,
            "a call to a provider failed"
        );
        match error.outcome {
            // The provider accepted a call with other bytes, such as an older organization name, under this key.
            BatchOutcome::KeyReused => {
                let settled = call.settled(|_| Settlement::Sent);
                self.settle(&call, settled).await?;
            }
            BatchOutcome::InProgress => self.postpone(&call, error.retry_after).await?,
            BatchOutcome::Unknown => {
                self.lane.record_failure(&error.error, error.retry_after);
                if self.provider.key_retention().is_some() {
                    self.postpone(&call, error.retry_after).await?;
                } else {
                    self.requeue(&call, &error.error.text).await?;
                }
            }
            BatchOutcome::NotSent => return self.after_refusal(call, error).await,
        }
        Ok(Vec::new())
    }

    /// Calls the provider and extends the lease of the call meanwhile.
    async fn call_provider(&self, call: &BatchCall) -> Result<BatchResults, BatchError> {
        let calling = async {
            // Here, because halves of a refused call and repeated calls count against the provider's limit too.
            if let Some(rate) = &self.lane.call_rate {
                rate.acquire().await;
            }
            self.provider.send(call.lease.id, &call.messages).await
        };
        tokio::pin!(calling);
        let heartbeat = self.context.lease_duration / 4;
        let mut heartbeats = interval_at(Instant::now() + heartbeat, heartbeat);
        loop {
            tokio::select! {
                outcome = &mut calling => return outcome,
                _ = heartbeats.tick() => {
                    stored_batches::extend_lease(&self.context, call.lease).await;
                }
            }
        }
    }

    /// Handles a refused call, of which no email was sent: the provider is down, asks for a pause, or cannot read
    /// something in the call.
    async fn after_refusal(
        &self,
        call: BatchCall,
        failure: BatchError,
    ) -> Result<Vec<SendJob>, StoreError> {
        let (error, retry_after) = (failure.error, failure.retry_after);
        if error.reply_code == Some(429) {
            // The provider works and says for how long to pause.
            self.lane.slow_down();
            let pause = retry_after.unwrap_or(REPEAT_PAUSE);
            self.lane.breaker.pause_for(pause);
        } else if error.action == FailureAction::PauseLane {
            self.lane.record_failure(&error, retry_after);
        } else if call.jobs.len() == 1 {
            self.settle_results(&call, vec![Err(error)]).await?;
            return Ok(Vec::new());
        } else if stored_batches::dissolve(&self.context, call.lease).await? {
            return Ok(call.jobs);
        } else {
            tracing::warn!("the lease of a call was lost before the call was split");
            return Ok(Vec::new());
        }
        if call.attempts > 1 {
            // That a repeated call is refused says nothing about the outcome of the first one.
            self.postpone(&call, retry_after).await?;
        } else {
            let context = &self.context;
            let settled =
                call.settled(|job| send_outcome::after_lane_failure(context, job, error.clone()));
            self.settle(&call, settled).await?;
        }
        Ok(Vec::new())
    }

    async fn settle_results(
        &self,
        call: &BatchCall,
        results: BatchResults,
    ) -> Result<(), StoreError> {
        let pairs = call.jobs.iter().zip(results);
        let settled = pairs
            .map(|(job, result)| send_outcome::settlement(&self.context, result, job, &self.lane))
            .collect();
        self.settle(call, settled).await
    }

    /// Returns the emails of a call with an unknown outcome to the queue, unless they must not be sent any more. Each
    /// may arrive twice.
    async fn requeue(&self, call: &BatchCall, text: &str) -> Result<(), StoreError> {
        let context = &*self.context;
        let settled =
            call.settled(
                |job| match context.builder.build(job, context.now(), |_, _| Ok(())) {
                    Ok(()) => send_outcome::after_unknown_outcome(context, job, text),
                    Err(settlement) => settlement,
                },
            );
        self.settle(call, settled).await
    }

    async fn settle(&self, call: &BatchCall, settled: Vec<SettledMail>) -> Result<(), StoreError> {
        stored_batches::settle(&self.context, call.lease, settled).await
    }

    async fn postpone(
        &self,
        call: &BatchCall,
        requested: Option<Duration>,
    ) -> Result<(), StoreError> {
        stored_batches::postpone(&self.context, call.lease, call.attempts, requested).await
    }

    fn warn(&self, error: &StoreError, message: &str) {
        let error: &dyn Error = error;
        tracing::warn!(lane.name = self.lane.name, error, "{message}");
    }
}

impl BatchCall {
    fn new(lease: BatchLease, attempts: i32) -> Self {
        Self {
            lease,
            attempts,
            jobs: Vec::new(),
            messages: Vec::new(),
        }
    }

    fn push(&mut self, job: SendJob, message: RenderedMessage) {
        self.messages.push(ProviderMessage {
            message,
            reference: job.reference(),
        });
        self.jobs.push(job);
    }

    fn settled(&self, settlement: impl Fn(&SendJob) -> Settlement) -> Vec<SettledMail> {
        let jobs = self.jobs.iter();
        jobs.map(|job| job.settled(settlement(job))).collect()
    }
}

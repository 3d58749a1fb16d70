//! Sends many emails in one call to a provider: build, persist the call, call, settle.
//!
//! The call is persisted before it is made. If its outcome is unknown, the same call is repeated by the worker that
//! claims its batch next. A provider with idempotency keys then sends no email twice. Without keys, or shortly before
//! the key expires, the call is not repeated: [`AmbiguousPolicy`](super::AmbiguousPolicy) decides whether its emails
//! return to the queue, so that each may arrive twice, or are given up.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use super::delivery_context::DeliveryContext;
use super::job_reader::{read_jobs, refresh_jobs};
use super::lane::Lane;
use super::send_job::SendJob;
use super::send_outcome;
use super::stored_batches::{BatchLease, REPEAT_PAUSE};
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

struct BatchCall {
    lease: BatchLease,
    jobs: Vec<SendJob>,
    /// One for each job, in the same order.
    messages: Vec<ProviderMessage>,
}

impl ProviderBatchSender {
    /// Sends emails in one call and settles them. Then repeats an abandoned call: while the queue is long, no call is
    /// idle long enough to claim one.
    pub(super) async fn send(&self, jobs: Vec<SendJob>) {
        self.send_calls(jobs).await;
        if !self.lane.is_working() {
            return;
        }
        match BatchLease::claim_abandoned(&self.context, self.lane.name.clone()).await {
            Ok(Some((batch, lease))) => self.repeat(batch, lease).await,
            Ok(None) => {}
            Err(error) => self.warn(&error, "cannot look for calls to repeat"),
        }
    }

    /// Repeats a call whose outcome was not recorded.
    pub(super) async fn repeat(&self, batch: AbandonedBatch, lease: BatchLease) {
        match self.repeat_call(batch, lease).await {
            Ok(refused) => self.send_calls(refused).await,
            Err(error) => self.warn(&error, "cannot repeat a call to a provider"),
        }
    }

    /// Sends emails in one call. A call that the provider refuses for its content is split into halves.
    async fn send_calls(&self, jobs: Vec<SendJob>) {
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
    }

    /// Builds, persists and makes one call. Returns the jobs of a call that was refused for its content.
    async fn send_call(&self, jobs: Vec<SendJob>) -> Result<Vec<SendJob>, StoreError> {
        let context = &*self.context;
        let (mut built, mut settled) = (Vec::new(), Vec::new());
        for job in refresh_jobs(context, jobs).await? {
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
        let (lease, indexes) = BatchLease::create(context, lane, leases).await?;
        let mut call = BatchCall::new(lease);
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

    /// Builds an abandoned call again and makes it. Returns the jobs of a call that was refused for its content.
    async fn repeat_call(
        &self,
        batch: AbandonedBatch,
        lease: BatchLease,
    ) -> Result<Vec<SendJob>, StoreError> {
        let context = &*self.context;
        let jobs = read_jobs(context, batch.mails).await?;
        let now = context.now();
        let age = now - batch.created_at;
        let retention = self.provider.key_retention();
        let mut call = BatchCall::new(lease);
        if retention.is_none_or(|retention| age >= retention.saturating_sub(KEY_EXPIRY_MARGIN)) {
            call.jobs = jobs;
            self.settle_unknown(&call, "the outcome of a call is unknown")
                .await?;
            return Ok(Vec::new());
        }
        let mut deleted = Vec::new();
        for job in jobs {
            // The message must have its original bytes even if the invitation ended: other bytes are another call.
            match context.builder.rebuild(&job, now, Composer::render) {
                Ok(message) => call.push(job, message),
                Err(Settlement::Deferred { .. }) => {
                    lease.postpone(context, None).await?;
                    return Ok(Vec::new());
                }
                Err(settlement) => deleted.push(job.settled(settlement)),
            }
        }
        // Without the emails of a deleted organization, the bytes differ from the first call under this key. If the
        // provider accepted the first call, it refuses this one, and no recipient gets a second email.
        context.settler.settle_all(deleted).await;
        if call.jobs.is_empty() {
            lease.settle(context, Vec::new()).await?;
            return Ok(Vec::new());
        }
        self.make(call).await
    }

    /// Makes a persisted call and settles its emails. Returns the jobs of a call that was refused for its content.
    async fn make(&self, call: BatchCall) -> Result<Vec<SendJob>, StoreError> {
        let context = &*self.context;
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
                call.lease.settle(context, settled).await?;
            }
            BatchOutcome::InProgress => call.lease.postpone(context, error.retry_after).await?,
            BatchOutcome::Unknown => {
                self.lane.record_failure(&error.error, error.retry_after);
                if self.provider.key_retention().is_some() {
                    call.lease.postpone(context, error.retry_after).await?;
                } else {
                    self.settle_unknown(&call, &error.error.text).await?;
                }
            }
            BatchOutcome::NotSent => return self.after_refusal(call, error).await,
        }
        Ok(Vec::new())
    }

    async fn call_provider(&self, call: &BatchCall) -> Result<BatchResults, BatchError> {
        let calling = async {
            // Here, because halves of a refused call and repeated calls count against the provider's limit too.
            if let Some(rate) = &self.lane.call_rate {
                rate.acquire().await;
            }
            self.provider.send(call.lease.id, &call.messages).await
        };
        tokio::pin!(calling);
        let heartbeat = self.context.config.lease_duration / 4;
        let mut heartbeats = interval_at(Instant::now() + heartbeat, heartbeat);
        loop {
            tokio::select! {
                outcome = &mut calling => return outcome,
                _ = heartbeats.tick() => call.lease.extend(&self.context).await,
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
        let context = &*self.context;
        let (error, retry_after) = (failure.error, failure.retry_after);
        if error.reply_code == Some(429) {
            // The provider works and says for how long to pause.
            self.lane.slow_down();
            let pause = retry_after.unwrap_or(REPEAT_PAUSE);
            self.lane.breaker.close_for(pause);
        } else if error.action == FailureAction::PauseLane {
            self.lane.record_failure(&error, retry_after);
        } else if call.jobs.len() == 1 {
            self.settle_results(&call, vec![Err(error)]).await?;
            return Ok(Vec::new());
        } else if call.lease.dissolve(context).await? {
            return Ok(call.jobs);
        } else {
            tracing::warn!("the lease of a call was lost before the call was split");
            return Ok(Vec::new());
        }
        if call.lease.attempts > 1 {
            // That a repeated call is refused says nothing about the outcome of the first one.
            call.lease.postpone(context, retry_after).await?;
        } else {
            let settled =
                call.settled(|job| send_outcome::after_lane_failure(context, job, error.clone()));
            call.lease.settle(context, settled).await?;
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
        call.lease.settle(&self.context, settled).await
    }

    /// Settles the emails of a call with an unknown outcome: each that is still wanted is retried or given up, as
    /// [`AmbiguousPolicy`](super::AmbiguousPolicy) says.
    async fn settle_unknown(&self, call: &BatchCall, text: &str) -> Result<(), StoreError> {
        let context = &*self.context;
        let settled = call.settled(|job| {
            let unsent = context.builder.build(job, context.now(), |_, _| Ok(()));
            unsent
                .err()
                .unwrap_or_else(|| send_outcome::after_unknown_outcome(context, job, text))
        });
        call.lease.settle(context, settled).await
    }

    fn warn(&self, error: &StoreError, message: &str) {
        let error: &dyn Error = error;
        tracing::warn!(lane.name = self.lane.name, error, "{message}");
    }
}

impl BatchCall {
    fn new(lease: BatchLease) -> Self {
        Self {
            lease,
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

//! The worker: claims about as many emails as its lanes can send, and keeps every lane busy.
//!
//! One task owns this state. Everything that waits for the database, a relay or a provider runs in a task of its own
//! and returns its result to the worker.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::claims::{ClaimBuffer, ClaimQuery, ClaimResult, LeasedMessages, extend_leases, release};
use super::delivery_config::{DeliveryConfig, LaneTransport};
use super::delivery_context::DeliveryContext;
use super::lane_set::LaneSet;
use super::message_builder::MessageBuilder;
use super::provider_batch_sender::ProviderBatchSender;
use super::send_job::SendJob;
use super::settler::Settler;
use super::smtp_sender::SmtpSender;
use crate::clock::Clock;
use crate::entropy;
use crate::mail::transport::TransportSession;
use crate::store::outbox::MailKey;
use crate::store::{CommitNotifier, Store, StoreError};

/// Jitter shortens the poll interval by at most this share, so that replicas do not poll at the same time.
const POLL_JITTER: f64 = 0.2;
/// How often to check whether a domain at its cap accepts emails again.
const DOMAIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How long released emails to a domain at its cap wait, so that emails to other domains can be claimed.
const DOMAIN_RELEASE_PAUSE: Duration = Duration::from_secs(2);

/// Sends the emails of the outbox over a number of lanes.
pub struct Worker {
    context: Arc<DeliveryContext>,
    config: DeliveryConfig,
    notifier: CommitNotifier,
    lanes: LaneSet,
    buffer: ClaimBuffer,
    leases: LeasedMessages,
    tasks: JoinSet<TaskResult>,
    /// What the running tasks use. Kept here so that a task that panics returns it too.
    in_flight: HashMap<Id, InFlight>,
    /// The settler's task, which ends with the worker.
    _settler: JoinSet<()>,
    is_claiming: bool,
    /// Whether another claim may find due emails.
    may_have_more: bool,
    poll_at: Instant,
    heartbeat_at: Instant,
    /// When emails to domains at their caps were last released.
    released_at: Instant,
}

/// The result of a finished task.
enum TaskResult {
    Claimed(Result<ClaimResult, StoreError>),
    /// An email was attempted over this session.
    Sent(TransportSession),
    /// A call was made, leases were extended or released, or a connection was closed.
    Done,
}

/// What a running task uses.
enum InFlight {
    /// A session or a call of a lane, and emails with their leases and domains.
    Send {
        lane: usize,
        messages: Vec<(MailKey, Uuid)>,
        domains: Vec<String>,
    },
    /// One call of each of these lanes, reserved by a claim for the abandoned call that it may find.
    Claim { reserved_calls: Vec<usize> },
}

impl Worker {
    /// The worker claims after each poll interval, and after a commit that queues emails. Requires a tokio runtime.
    pub fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        builder: MessageBuilder,
        config: DeliveryConfig,
    ) -> Self {
        let lease_duration = config.lease_duration;
        let (settler, settler_task) =
            Settler::new(store.clone(), Arc::clone(&clock), lease_duration);
        let mut settler_tasks = JoinSet::new();
        settler_tasks.spawn(settler_task);
        let now = Instant::now();
        Self {
            notifier: store.notifier().clone(),
            context: Arc::new(DeliveryContext {
                store,
                clock,
                builder,
                settler,
                ambiguous: config.ambiguous,
                lease_duration,
            }),
            lanes: LaneSet::new(&config.lanes),
            config,
            buffer: ClaimBuffer::default(),
            leases: LeasedMessages::default(),
            tasks: JoinSet::new(),
            in_flight: HashMap::new(),
            _settler: settler_tasks,
            is_claiming: false,
            may_have_more: true,
            poll_at: now,
            heartbeat_at: now + lease_duration / 4,
            released_at: now,
        }
    }

    /// Works until `stopping` is canceled. Then waits for emails in flight and releases all others.
    pub async fn run(mut self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            self.start_due_work();
            let wake_at = self.wake_at();
            tokio::select! {
                () = stopping.cancelled() => {}
                Some(ended) = self.tasks.join_next_with_id() => self.finish_or_warn(ended),
                () = self.notifier.mail_queued(), if !self.may_have_more => self.may_have_more = true,
                () = tokio::time::sleep_until(wake_at) => {
                    self.close_connections(Some(Instant::now()));
                }
            }
        }
        self.drain().await;
    }

    /// Sends everything that is due now and returns the number of attempts. For tests.
    pub async fn deliver_all(&mut self) -> Result<usize, StoreError> {
        let mut total = 0;
        self.may_have_more = true;
        loop {
            self.start_due_work();
            match self.tasks.join_next_with_id().await {
                Some(ended) => {
                    let attempts = self.finish(ended)?;
                    total += attempts;
                    // An email that was queued for another attempt may be due at once.
                    self.may_have_more |= attempts > 0;
                }
                None if self.buffer.is_empty() => return Ok(total),
                None => tokio::time::sleep_until(self.wake_at()).await,
            }
        }
    }

    fn start_due_work(&mut self) {
        let now = Instant::now();
        if now >= self.heartbeat_at {
            self.heartbeat_at = now + self.config.lease_duration / 4;
            self.start_heartbeat();
        }
        if now >= self.poll_at {
            self.poll_at = now + entropy::jittered(self.config.poll_interval, POLL_JITTER);
            self.may_have_more = true;
        }
        self.dispatch();
        self.start_claim();
    }

    /// When there is work to start even if no task finishes.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let has_messages = !self.buffer.is_empty();
        [self.poll_at, self.heartbeat_at]
            .into_iter()
            .chain(self.lanes.available_at(has_messages))
            .chain(has_messages.then(|| now + DOMAIN_CHECK_INTERVAL))
            .min()
            .unwrap_or(now)
    }

    /// Gives buffered emails to lanes, as long as a lane has room for one of them.
    fn dispatch(&mut self) {
        let mut skipped = Vec::new();
        while !self.buffer.is_empty() {
            let buffered = self.buffer.len();
            let Some(index) = self.lanes.choose(buffered, &skipped) else {
                break;
            };
            let state = self.lanes.get_mut(index);
            let jobs = self.buffer.take(state.room(buffered), &state.lane);
            if jobs.is_empty() {
                // Every buffered email goes to a domain that is at its cap on this lane.
                skipped.push(index);
                continue;
            }
            state.assign(jobs.len());
            self.start_send(index, jobs);
        }
        self.release_blocked(!skipped.is_empty());
    }

    /// Releases buffered emails that no lane can take now, so that other emails can be claimed.
    fn release_blocked(&mut self, has_domain_at_cap: bool) {
        if !self.lanes.is_any_available() {
            self.release(0, Duration::ZERO);
        } else if has_domain_at_cap
            && self.may_have_more
            && !self.is_claiming
            && self.claim_size() == 0
            && self.released_at.elapsed() >= DOMAIN_CHECK_INTERVAL
        {
            self.released_at = Instant::now();
            self.release(self.lanes.buffer_size() / 2, DOMAIN_RELEASE_PAUSE);
        }
    }

    fn start_send(&mut self, index: usize, mut jobs: Vec<SendJob>) {
        let in_flight = InFlight::Send {
            lane: index,
            messages: jobs.iter().map(SendJob::lease).collect(),
            domains: jobs.iter().map(|job| job.domain().to_owned()).collect(),
        };
        let state = self.lanes.get_mut(index);
        let (context, lane) = (Arc::clone(&self.context), Arc::clone(&state.lane));
        match &state.transport {
            LaneTransport::PerMessage { transport, .. } => {
                let Some(job) = jobs.pop() else { return };
                let idle = state.idle_sessions.pop();
                let session = idle.unwrap_or_else(|| transport.open());
                let sender = SmtpSender { context, lane };
                self.spawn(in_flight, async move {
                    TaskResult::Sent(sender.send(session, job).await)
                });
            }
            LaneTransport::Batches { provider, .. } => {
                let provider = provider.clone();
                state.idle_calls -= 1;
                let sender = ProviderBatchSender {
                    context,
                    lane,
                    provider,
                };
                self.spawn(in_flight, async move {
                    sender.send(jobs).await;
                    TaskResult::Done
                });
            }
        }
    }

    fn spawn(
        &mut self,
        in_flight: InFlight,
        task: impl Future<Output = TaskResult> + Send + 'static,
    ) {
        let task = self.tasks.spawn(task);
        self.in_flight.insert(task.id(), in_flight);
    }

    /// How many emails to claim: none before the buffer is half empty.
    fn claim_size(&self) -> usize {
        let size = self.lanes.buffer_size();
        let room = size.saturating_sub(self.buffer.len());
        if room * 2 < size { 0 } else { room }
    }

    fn start_claim(&mut self) {
        let limit = self.claim_size();
        if self.is_claiming || !self.may_have_more || limit == 0 {
            return;
        }
        self.is_claiming = true;
        self.may_have_more = false;
        let lanes = self.lanes.reserve_calls();
        let reserved_calls = lanes.iter().map(|(index, _)| *index).collect();
        let query = ClaimQuery {
            context: Arc::clone(&self.context),
            leases: self.leases.clone(),
        };
        self.spawn(InFlight::Claim { reserved_calls }, async move {
            TaskResult::Claimed(query.run(limit, lanes).await)
        });
    }

    /// Takes back what a task used and returns the number of emails that it attempted. Fails if the task was a claim
    /// that failed.
    fn finish(&mut self, ended: Result<(Id, TaskResult), JoinError>) -> Result<usize, StoreError> {
        let (id, result) = ended.unwrap_or_else(|error| {
            // The leases of its emails expire, and the reaper queues them again.
            tracing::error!(
                error = &error as &dyn Error,
                "a task of the worker panicked"
            );
            (error.id(), TaskResult::Done)
        });
        match self.in_flight.remove(&id) {
            Some(InFlight::Send {
                lane,
                messages,
                domains,
            }) => {
                let attempts = messages.len();
                self.leases.remove(messages);
                let state = self.lanes.get_mut(lane);
                for domain in domains {
                    state.lane.domains.leave(&domain);
                }
                let session = match result {
                    TaskResult::Sent(session) => Some(session),
                    _ => None,
                };
                state.release(session);
                Ok(attempts)
            }
            Some(InFlight::Claim { reserved_calls }) => {
                self.is_claiming = false;
                for lane in reserved_calls {
                    self.lanes.get_mut(lane).release(None);
                }
                if let TaskResult::Claimed(claimed) = result {
                    self.accept_claim(claimed?);
                }
                Ok(0)
            }
            None => Ok(0),
        }
    }

    fn finish_or_warn(&mut self, ended: Result<(Id, TaskResult), JoinError>) {
        if let Err(error) = self.finish(ended) {
            tracing::warn!(error = &error as &dyn Error, "cannot claim emails");
        }
    }

    /// Buffers claimed emails and repeats abandoned calls.
    fn accept_claim(&mut self, claimed: ClaimResult) {
        // There may be more abandoned calls.
        self.may_have_more |= claimed.has_more || !claimed.abandoned.is_empty();
        self.buffer.extend(claimed.jobs);
        for (index, batch, lease_token) in claimed.abandoned {
            let state = self.lanes.get_mut(index);
            let LaneTransport::Batches { provider, .. } = &state.transport else {
                continue;
            };
            let sender = ProviderBatchSender {
                context: Arc::clone(&self.context),
                lane: Arc::clone(&state.lane),
                provider: provider.clone(),
            };
            state.idle_calls -= 1;
            let in_flight = InFlight::Send {
                lane: index,
                messages: Vec::new(),
                domains: Vec::new(),
            };
            self.spawn(in_flight, async move {
                sender.repeat(batch, lease_token).await;
                TaskResult::Done
            });
        }
    }

    /// Extends the leases of all emails that the worker holds.
    fn start_heartbeat(&mut self) {
        let leases = self.leases.all();
        if !leases.is_empty() {
            self.spawn_untracked(extend_leases(Arc::clone(&self.context), leases));
        }
    }

    /// Returns all buffered emails except the `kept` oldest to the queue. Another claim finds them after `pause`.
    fn release(&mut self, kept: usize, pause: Duration) {
        let jobs = self.buffer.take_newest(kept);
        if !jobs.is_empty() {
            self.leases.remove(jobs.iter().map(SendJob::lease));
            self.spawn_untracked(release(Arc::clone(&self.context), jobs, pause));
        }
    }

    /// Closes the connections whose idle deadline is at `now` or before, or all. In tasks of their own, because a relay
    /// may reply late.
    fn close_connections(&mut self, now: Option<Instant>) {
        for mut session in self.lanes.take_idle_connections(now) {
            self.spawn_untracked(async move { session.close().await });
        }
    }

    fn spawn_untracked(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            task.await;
            TaskResult::Done
        });
    }

    /// Releases what was not started and waits for the rest, at most for the drain timeout. The leases of emails that
    /// are still in flight then expire.
    async fn drain(mut self) {
        let timeout = self.config.drain_timeout;
        let all_ended = async {
            loop {
                self.release(0, Duration::ZERO);
                self.close_connections(None);
                let Some(ended) = self.tasks.join_next_with_id().await else {
                    return;
                };
                self.finish_or_warn(ended);
            }
        };
        if tokio::time::timeout(timeout, all_ended).await.is_err() {
            tracing::warn!(
                "emails in flight did not finish in time; another worker sends them again"
            );
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;

//! The worker: claims about as many emails as its lanes can send, and keeps every lane busy.
//!
//! One task owns this state. Everything that waits for the database, a relay or a provider runs in a task of its own
//! and returns its result to the worker.

use std::collections::VecDeque;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::claims::{self, ClaimResult, LeasedMessages};
use super::delivery_config::{DeliveryConfig, LaneTransport};
use super::delivery_context::DeliveryContext;
use super::lane::Lane;
use super::lane_set::LaneSet;
use super::message_builder::MessageBuilder;
use super::provider_batch_sender::ProviderBatchSender;
use super::send_job::SendJob;
use super::settler::Settler;
use super::smtp_sender;
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
    notifier: CommitNotifier,
    lanes: LaneSet,
    /// Claimed emails that no lane has taken yet, oldest first. With them no connection waits for the database.
    buffer: VecDeque<SendJob>,
    leases: LeasedMessages,
    tasks: JoinSet<TaskResult>,
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

/// The result of a finished task, and what the task used. A task that panicked has no other result.
enum TaskResult {
    /// Emails were attempted, over this session unless in a call.
    Sent(RunningSend, Option<TransportSession>),
    /// Emails and abandoned calls were claimed. The lanes have one call each reserved for an abandoned call.
    Claimed {
        reserved_calls: Vec<usize>,
        claimed: Option<Result<ClaimResult, StoreError>>,
    },
    /// Leases were extended or released, or a connection was closed.
    Done,
}

/// A session or a call of a lane that a task uses, and its emails with their leases and domains.
struct RunningSend {
    lane: usize,
    messages: Vec<(MailKey, Uuid)>,
    domains: Vec<String>,
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
            lanes: LaneSet::new(&config.lanes),
            notifier: store.notifier().clone(),
            context: Arc::new(DeliveryContext {
                store,
                clock,
                builder,
                settler,
                config,
            }),
            buffer: VecDeque::new(),
            leases: LeasedMessages::default(),
            tasks: JoinSet::new(),
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
                Some(ended) = self.tasks.join_next() => self.finish_or_warn(ended),
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
            match self.tasks.join_next().await {
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
            self.heartbeat_at = now + self.context.config.lease_duration / 4;
            self.start_heartbeat();
        }
        if now >= self.poll_at {
            let interval = self.context.config.poll_interval;
            self.poll_at = now + entropy::jittered(interval, POLL_JITTER);
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
            let jobs = take_for_lane(&mut self.buffer, state.room(buffered), &state.lane);
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

    fn start_send(&mut self, lane: usize, mut jobs: Vec<SendJob>) {
        let in_flight = RunningSend {
            lane,
            messages: jobs.iter().map(SendJob::lease).collect(),
            domains: jobs.iter().map(|job| job.domain().to_owned()).collect(),
        };
        let state = self.lanes.get_mut(lane);
        if let LaneTransport::PerMessage { transport, .. } = &state.transport {
            let Some(job) = jobs.pop() else { return };
            let idle = state.idle_sessions.pop();
            let session = idle.unwrap_or_else(|| transport.open());
            let (context, lane) = (Arc::clone(&self.context), Arc::clone(&state.lane));
            self.spawn_send(in_flight, async move {
                Some(smtp_sender::send(&context, &lane, session, job).await)
            });
        } else if let Some(sender) = self.take_call(lane) {
            self.spawn_send(in_flight, async move {
                sender.send(jobs).await;
                None
            });
        }
    }

    fn take_call(&mut self, lane: usize) -> Option<ProviderBatchSender> {
        let state = self.lanes.get_mut(lane);
        let LaneTransport::Batches { provider, .. } = &state.transport else {
            return None;
        };
        state.idle_calls -= 1;
        Some(ProviderBatchSender {
            context: Arc::clone(&self.context),
            lane: Arc::clone(&state.lane),
            provider: provider.clone(),
        })
    }

    fn spawn_send(
        &mut self,
        in_flight: RunningSend,
        task: impl Future<Output = Option<TransportSession>> + Send + 'static,
    ) {
        self.tasks.spawn(async move {
            let session = unless_panicked(task).await.flatten();
            TaskResult::Sent(in_flight, session)
        });
    }

    fn spawn_untracked(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            unless_panicked(task).await;
            TaskResult::Done
        });
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
        let (context, leases) = (Arc::clone(&self.context), self.leases.clone());
        self.tasks.spawn(async move {
            let claim = claims::claim(&context, &leases, limit, lanes);
            TaskResult::Claimed {
                reserved_calls,
                claimed: unless_panicked(claim).await,
            }
        });
    }

    /// Takes back what a task used and returns the number of emails that it attempted. Fails if the task was a claim
    /// that failed.
    fn finish(&mut self, ended: Result<TaskResult, JoinError>) -> Result<usize, StoreError> {
        match ended {
            Ok(TaskResult::Sent(in_flight, session)) => {
                let attempts = in_flight.messages.len();
                self.leases.remove(in_flight.messages);
                let state = self.lanes.get_mut(in_flight.lane);
                for domain in &in_flight.domains {
                    state.lane.domains.leave(domain);
                }
                state.release(session);
                Ok(attempts)
            }
            Ok(TaskResult::Claimed {
                reserved_calls,
                claimed,
            }) => {
                self.is_claiming = false;
                for lane in reserved_calls {
                    self.lanes.get_mut(lane).release(None);
                }
                if let Some(claimed) = claimed {
                    self.accept_claim(claimed?);
                }
                Ok(0)
            }
            // Tasks catch their panics and are not aborted while the worker runs.
            Ok(TaskResult::Done) | Err(_) => Ok(0),
        }
    }

    fn finish_or_warn(&mut self, ended: Result<TaskResult, JoinError>) {
        if let Err(error) = self.finish(ended) {
            tracing::warn!(error = &error as &dyn Error, "cannot claim emails");
        }
    }

    /// Buffers claimed emails and repeats abandoned calls.
    fn accept_claim(&mut self, claimed: ClaimResult) {
        // There may be more abandoned calls.
        self.may_have_more |= claimed.has_more || !claimed.abandoned.is_empty();
        self.buffer.extend(claimed.jobs);
        for (lane, batch, lease) in claimed.abandoned {
            self.lanes.get_mut(lane).lane.breaker.begin_send();
            if let Some(sender) = self.take_call(lane) {
                let in_flight = RunningSend {
                    lane,
                    messages: Vec::new(),
                    domains: Vec::new(),
                };
                self.spawn_send(in_flight, async move {
                    sender.repeat(batch, lease).await;
                    None
                });
            }
        }
    }

    fn start_heartbeat(&mut self) {
        let leases = self.leases.all();
        if !leases.is_empty() {
            self.spawn_untracked(claims::extend_leases(Arc::clone(&self.context), leases));
        }
    }

    /// Returns all buffered emails except the `kept` oldest to the queue. Another claim finds them after `pause`.
    fn release(&mut self, kept: usize, pause: Duration) {
        let jobs = self.buffer.split_off(kept.min(self.buffer.len()));
        if !jobs.is_empty() {
            self.leases.remove(jobs.iter().map(SendJob::lease));
            self.spawn_untracked(claims::release(Arc::clone(&self.context), jobs, pause));
        }
    }

    /// Closes the connections whose idle deadline is at `now` or before, or all. In tasks of their own, because a relay
    /// may reply late.
    fn close_connections(&mut self, now: Option<Instant>) {
        for mut session in self.lanes.take_idle_connections(now) {
            self.spawn_untracked(async move { session.close().await });
        }
    }

    /// Releases what was not started and waits for the rest, at most for the drain timeout. The leases of emails that
    /// are still in flight then expire.
    async fn drain(mut self) {
        let timeout = self.context.config.drain_timeout;
        let all_ended = async {
            loop {
                self.release(0, Duration::ZERO);
                self.close_connections(None);
                let Some(ended) = self.tasks.join_next().await else {
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

/// Takes the oldest jobs, at most `limit`, whose domains are below their caps on a lane.
fn take_for_lane(buffer: &mut VecDeque<SendJob>, limit: usize, lane: &Lane) -> Vec<SendJob> {
    let mut taken = Vec::new();
    let mut at = 0;
    while taken.len() < limit && at < buffer.len() {
        if lane.domains.try_enter(buffer[at].domain()) {
            taken.extend(buffer.remove(at));
        } else {
            at += 1;
        }
    }
    taken
}

/// Runs a task and returns `None` if it panics. The leases of its emails then expire, and the reaper queues them again.
async fn unless_panicked<T>(task: impl Future<Output = T>) -> Option<T> {
    let result = AssertUnwindSafe(task).catch_unwind().await;
    result
        .inspect_err(|_| tracing::error!("a task of the worker panicked"))
        .ok()
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;

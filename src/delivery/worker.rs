//! The worker: claims about as many mails as it can send at once, and keeps every lane busy.
//!
//! One task looks after all of it; whatever waits for the database or a relay runs in a task of its own and comes back
//! to it.

use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::store::CommitNotifier;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::DeliveryConfig;
use super::attempt::Desk;
use super::lane::{Lane, Route};
use super::look::{Found, Look};
use super::mailroom::{Job, Mailroom};
use super::pace::Pace;
use super::settler::{Settler, SettlerTask};
use super::slot::{self, Slot};
use super::stock::{Held, Stock};
use crate::entropy;
use crate::mail::transport::Session;
use crate::store::StoreError;
use crate::store::outbox::{self, MailKey};
use crate::store::settlements::{self, SettledMail, Settlement};

/// How far chance shortens the wait for the next look, so that replicas do not look in step.
const POLL_JITTER: f64 = 0.2;
/// How often to look whether a domain that had its share has room again.
const DOMAIN_PAUSE: Duration = Duration::from_millis(100);
/// How long mails wait that were claimed for a domain that had its share, so that others come to their turn.
const DOMAIN_RELEASE_PAUSE: Duration = Duration::from_secs(2);

/// Drains the outbox over a number of lanes.
pub struct Worker {
    desk: Desk,
    config: DeliveryConfig,
    notifier: CommitNotifier,
    slots: Vec<Slot>,
    stock: Stock,
    held: Held,
    running: JoinSet<Done>,
    /// What the running tasks use, so that it comes back even from one that panics.
    lent: HashMap<Id, Lent>,
    /// The settler's task; ends with the worker.
    _background: JoinSet<()>,
    is_claiming: bool,
    /// Whether another look may find mails that are due.
    may_have_more: bool,
    poll_at: Instant,
    beat_at: Instant,
    given_back_at: Instant,
}

/// What comes back to the worker.
enum Done {
    /// What one look found.
    Claimed(Result<Found, StoreError>),
    /// A mail was tried.
    Sent(Session),
    /// A call was made.
    Called,
    /// Leases were extended or given back, or a connection was closed.
    Minded,
}

/// What a task uses while it runs.
enum Lent {
    /// A session of a lane or a call, and mails with their leases and domains.
    Way {
        slot: usize,
        mails: Vec<(MailKey, Uuid)>,
        domains: Vec<String>,
    },
    /// A call of each of these lanes, which a look kept free for what it might find.
    Calls(Vec<usize>),
}

impl Worker {
    /// A worker, woken by commits before its next poll. Needs a runtime around it.
    #[must_use]
    pub fn new(mailroom: Mailroom, config: DeliveryConfig) -> Self {
        let notifier = mailroom.store.notifier().clone();
        let slots: Vec<Slot> = config
            .lanes
            .iter()
            .map(|config| Slot::new(Arc::new(Lane::new(config)), config.route.clone()))
            .collect();
        let (settler, task) = Settler::new(
            mailroom.store.clone(),
            Arc::clone(&mailroom.clock),
            config.lease_duration,
        );
        let mut background = JoinSet::new();
        background.spawn(SettlerTask::run(task));
        Self {
            desk: Desk {
                mailroom: Arc::new(mailroom),
                settler,
                ambiguous: config.ambiguous,
                lease_duration: config.lease_duration,
            },
            beat_at: Instant::now() + config.lease_duration / 4,
            config,
            notifier,
            slots,
            stock: Stock::default(),
            held: Held::default(),
            running: JoinSet::new(),
            lent: HashMap::new(),
            _background: background,
            is_claiming: false,
            may_have_more: true,
            poll_at: Instant::now(),
            given_back_at: Instant::now(),
        }
    }

    /// Works until told to stop, then lets what is in flight end and gives back the rest.
    pub async fn run(mut self, stopping: CancellationToken) {
        while !stopping.is_cancelled() {
            self.go_on();
            let wake_at = self.wake_at();
            tokio::select! {
                () = stopping.cancelled() => {}
                Some(ended) = self.running.join_next_with_id() => self.take_back_or_warn(ended),
                () = self.notifier.mail_queued(), if !self.may_have_more => self.may_have_more = true,
                () = tokio::time::sleep_until(wake_at) => self.close(Some(Instant::now())),
            }
        }
        self.drain().await;
    }

    /// Sends everything that is due now, and returns how many mails were tried. What tests use to see the queue empty.
    pub async fn deliver_all(&mut self) -> Result<usize, StoreError> {
        let mut total = 0;
        self.may_have_more = true;
        loop {
            self.go_on();
            match self.running.join_next_with_id().await {
                Some(ended) => {
                    let tried = self.take_back(ended)?;
                    total += tried;
                    // What was given back for another try may be due at once.
                    self.may_have_more |= tried > 0;
                }
                None if self.stock.is_empty() => return Ok(total),
                None => tokio::time::sleep_until(self.wake_at()).await,
            }
        }
    }

    /// Starts whatever can be started.
    fn go_on(&mut self) {
        let now = Instant::now();
        if now >= self.beat_at {
            self.beat_at = now + self.config.lease_duration / 4;
            self.beat();
        }
        if now >= self.poll_at {
            self.poll_at = now + entropy::jittered(self.config.poll_interval, POLL_JITTER);
            self.may_have_more = true;
        }
        self.hand_out();
        self.look();
    }

    /// When there is something to do even if nothing comes back.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let lanes = self.slots.iter().filter_map(|slot| {
            let closed_until = slot.lane.breaker.closed_until();
            let paces = std::iter::once(&slot.lane.pace).chain(&slot.lane.calls);
            let next_at = paces.filter_map(Pace::next_at).max();
            closed_until.or_else(|| next_at.filter(|_| !self.stock.is_empty()))
        });
        let crowded = (!self.stock.is_empty()).then(|| now + DOMAIN_PAUSE);
        [self.poll_at, self.beat_at]
            .into_iter()
            .chain(lanes)
            .chain(crowded)
            .min()
            .unwrap_or(now)
    }

    /// Hands mails to lanes while there are both. What cannot go to any lane for now is given back, so that others come
    /// to their turn.
    fn hand_out(&mut self) {
        let mut is_passed = vec![false; self.slots.len()];
        while !self.stock.is_empty() {
            let Some(index) = slot::next(&mut self.slots, self.stock.len(), &is_passed) else {
                break;
            };
            let slot = &mut self.slots[index];
            let most = slot.room(self.stock.len());
            let jobs = self.stock.take(most, &slot.lane);
            if jobs.is_empty() {
                is_passed[index] = true;
                continue;
            }
            slot.give(jobs.len());
            self.start(index, jobs);
        }
        let is_any_open = self.slots.iter().any(|slot| slot.lane.is_open());
        if !is_any_open {
            self.give_back(0, Duration::ZERO);
        } else if is_passed.contains(&true)
            && self.may_have_more
            && !self.is_claiming
            && self.room() == 0
            && self.given_back_at.elapsed() >= DOMAIN_PAUSE
        {
            self.given_back_at = Instant::now();
            self.give_back(self.stock_max() / 2, DOMAIN_RELEASE_PAUSE);
        }
    }

    fn start(&mut self, index: usize, mut jobs: Vec<Job>) {
        let lent = Lent::Way {
            slot: index,
            mails: jobs.iter().map(Job::held).collect(),
            domains: jobs.iter().map(|job| job.domain().to_owned()).collect(),
        };
        let slot = &mut self.slots[index];
        let task = match &slot.route {
            Route::Each { transport, .. } => {
                let session = slot.sessions.pop().unwrap_or_else(|| transport.open());
                let (desk, lane) = (self.desk.clone(), Arc::clone(&slot.lane));
                let Some(job) = jobs.pop() else { return };
                self.running
                    .spawn(async move { Done::Sent(desk.attempt(session, job, &lane).await) })
            }
            Route::Batches { provider, .. } => {
                slot.calls -= 1;
                let counter = self.desk.counter(&slot.lane, provider);
                self.running.spawn(async move {
                    counter.send(jobs).await;
                    Done::Called
                })
            }
        };
        self.lent.insert(task.id(), lent);
    }

    /// Most mails in stock, for the lanes in use.
    fn stock_max(&self) -> usize {
        let lanes = slot::in_use(&self.slots);
        lanes.map(|(_, slot)| slot.stock()).sum()
    }

    /// How many mails are worth a look: none before the stock is half empty.
    fn room(&self) -> usize {
        let most = self.stock_max();
        let room = most.saturating_sub(self.stock.len());
        if room * 2 < most { 0 } else { room }
    }

    /// Claims what the stock has room for.
    fn look(&mut self) {
        let room = self.room();
        if self.is_claiming || !self.may_have_more || room == 0 {
            return;
        }
        self.is_claiming = true;
        self.may_have_more = false;
        let mut lanes = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if matches!(slot.route, Route::Batches { .. }) && slot.lane.is_open() && slot.calls > 0
            {
                slot.calls -= 1;
                lanes.push((index, slot.lane.name.clone()));
            }
        }
        let look = Look {
            mailroom: Arc::clone(&self.desk.mailroom),
            held: self.held.clone(),
            lease_duration: self.config.lease_duration,
        };
        let lent = Lent::Calls(lanes.iter().map(|(index, _)| *index).collect());
        let task = self
            .running
            .spawn(async move { Done::Claimed(look.find(room, lanes).await) });
        self.lent.insert(task.id(), lent);
    }

    /// Takes back what a task used, and returns how many mails it tried; an error if it was to claim some and could not.
    fn take_back(&mut self, ended: Result<(Id, Done), JoinError>) -> Result<usize, StoreError> {
        let (id, done) = match ended {
            Ok((id, done)) => (id, done),
            Err(error) => {
                // The leases of its mails run out, and the reaper queues them again.
                tracing::error!(
                    error = &error as &dyn Error,
                    "a task of the worker panicked"
                );
                (error.id(), Done::Minded)
            }
        };
        let mut tried = 0;
        match self.lent.remove(&id) {
            Some(Lent::Way {
                slot,
                mails,
                domains,
            }) => {
                tried = mails.len();
                self.held.remove(&mails);
                let slot = &mut self.slots[slot];
                for domain in domains {
                    slot.lane.domains.leave(&domain);
                }
                let session = match done {
                    Done::Sent(session) => Some(session),
                    _ => None,
                };
                slot.take_back(session);
            }
            Some(Lent::Calls(slots)) => {
                self.is_claiming = false;
                for slot in slots {
                    self.slots[slot].calls += 1;
                }
                if let Done::Claimed(found) = done {
                    self.take_in(found?);
                }
            }
            None => {}
        }
        Ok(tried)
    }

    fn take_back_or_warn(&mut self, ended: Result<(Id, Done), JoinError>) {
        if let Err(error) = self.take_back(ended) {
            tracing::warn!(error = &error as &dyn Error, "cannot claim mails");
        }
    }

    fn take_in(&mut self, found: Found) {
        self.may_have_more |= found.is_full;
        self.stock.add(found.jobs);
        for (index, left, lease_token) in found.left {
            let slot = &mut self.slots[index];
            let Route::Batches { provider, .. } = &slot.route else {
                continue;
            };
            slot.calls -= 1;
            // Another may be left.
            self.may_have_more = true;
            let counter = self.desk.counter(&slot.lane, provider);
            let task = self.running.spawn(async move {
                counter.repeat(left, lease_token).await;
                Done::Called
            });
            let lent = Lent::Way {
                slot: index,
                mails: Vec::new(),
                domains: Vec::new(),
            };
            self.lent.insert(task.id(), lent);
        }
    }

    /// Extends the leases of everything that is held.
    fn beat(&mut self) {
        let held: Arc<[_]> = self.held.all().into();
        if held.is_empty() {
            return;
        }
        let until = self.desk.mailroom.clock.now() + self.config.lease_duration;
        let store = self.desk.mailroom.store.clone();
        self.running.spawn(async move {
            let extended = store
                .run("outbox.extend_leases", move |connection| {
                    let held = Arc::clone(&held);
                    Box::pin(async move { outbox::extend_leases(connection, &held, until).await })
                })
                .await;
            if let Err(error) = extended {
                tracing::warn!(
                    error = &error as &dyn Error,
                    "cannot extend the leases of mails"
                );
            }
            Done::Minded
        });
    }

    /// Gives all in stock but the oldest so many back to the queue, for after a pause.
    fn give_back(&mut self, kept: usize, pause: Duration) {
        let jobs = self.stock.take_beyond(kept);
        if jobs.is_empty() {
            return;
        }
        let now = self.desk.mailroom.clock.now();
        let next_attempt_at = (!pause.is_zero()).then(|| now + pause);
        let settled: Arc<[SettledMail]> = jobs
            .iter()
            .map(|job| job.settled(Settlement::Released { next_attempt_at }))
            .collect();
        self.held
            .remove(&jobs.iter().map(Job::held).collect::<Vec<_>>());
        let store = self.desk.mailroom.store.clone();
        self.running.spawn(async move {
            let released = store
                .with_tx("outbox.release", move |connection| {
                    let settled = Arc::clone(&settled);
                    Box::pin(
                        async move { settlements::settle_many(connection, &settled, now).await },
                    )
                })
                .await;
            if let Err(error) = released {
                // Their leases run out.
                tracing::warn!(error = &error as &dyn Error, "cannot give mails back");
            }
            Done::Minded
        });
    }

    /// Closes connections: those that idled long enough by now, or all. Beside everything else, for a relay may take its
    /// time to say goodbye.
    fn close(&mut self, idle_by: Option<Instant>) {
        for slot in &mut self.slots {
            for mut session in slot.take_open(idle_by) {
                self.running.spawn(async move {
                    session.close().await;
                    Done::Minded
                });
            }
        }
    }

    /// Gives back what was not started and lets the rest end, for as long as the process may take. What does not end in
    /// time loses its lease in time.
    async fn drain(mut self) {
        let timeout = self.config.drain_timeout;
        let all_ended = async {
            loop {
                self.give_back(0, Duration::ZERO);
                self.close(None);
                let Some(ended) = self.running.join_next_with_id().await else {
                    return;
                };
                self.take_back_or_warn(ended);
            }
        };
        if tokio::time::timeout(timeout, all_ended).await.is_err() {
            tracing::warn!("mails in flight did not end in time; another worker tries them again");
        }
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;

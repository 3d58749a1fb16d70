//! One call to a provider that takes many mails at once: write, persist who is in it, call, settle.
//!
//! Who is in a call is written down before it is made. A call whose outcome nobody knows is made again as it was, by
//! whoever claims its batch next: a provider that keeps keys does nothing the second time. Where the provider keeps
//! none, or has forgotten, its mails go back to the queue, and each may arrive twice.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, interval_at, sleep};
use uuid::Uuid;

use super::attempt::{Desk, millis};
use super::lane::Lane;
use super::mailroom::{Job, Mailroom};
use crate::entropy;
use crate::mail::message::{Composer, Letter};
use crate::mail::outcome::{Accepted, Fate, SendError};
use crate::mail::provider::{BatchError, BatchOutcome, ProviderLetter, ProviderTransport};
use crate::store::mail_batches::{self, AbandonedBatch};
use crate::store::outbox::Lease;
use crate::store::settlements::{SettledMail, Settlement};
use crate::store::{Store, StoreError};

/// The pause before a call whose outcome is unknown is repeated; doubles each time.
const REPEAT_PAUSE: Duration = Duration::from_secs(1);
/// Longest such pause.
const REPEAT_PAUSE_MAX: Duration = Duration::from_mins(10);
/// The pause between tries to settle a call while the database is away.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// So long before a provider forgets a key the call is not repeated any more: clocks differ.
const KEY_MARGIN: Duration = Duration::from_hours(1);

/// A lane's way to a provider.
pub(super) struct Counter {
    desk: Desk,
    lane: Arc<Lane>,
    provider: ProviderTransport,
}

impl Desk {
    /// The way to the provider of a lane.
    pub(super) fn counter(&self, lane: &Arc<Lane>, provider: &ProviderTransport) -> Counter {
        Counter {
            desk: self.clone(),
            lane: Arc::clone(lane),
            provider: provider.clone(),
        }
    }
}

/// Claims a call of a lane that is to be repeated.
pub(super) async fn claim_left(
    mailroom: &Mailroom,
    lane: String,
    lease: Lease,
) -> Result<Option<AbandonedBatch>, StoreError> {
    let now = mailroom.clock.now();
    mailroom
        .store
        .with_tx("mail_batches.claim", move |connection| {
            let lane = lane.clone();
            Box::pin(async move { mail_batches::claim(connection, &lane, lease, now).await })
        })
        .await
}

/// A call that is written down.
struct Call {
    id: Uuid,
    lease_token: Uuid,
    attempts: i32,
    jobs: Vec<Job>,
    letters: Vec<ProviderLetter>,
}

impl Counter {
    /// Sends mails in one call, or in several where the provider cannot take some of them, and settles them. Then
    /// repeats a call that was left behind: while the queue is long no call is ever idle to look for one.
    pub(super) async fn send(&self, jobs: Vec<Job>) {
        // Halves of a refused call wait their turn here.
        let mut waiting = vec![jobs];
        while let Some(jobs) = waiting.pop() {
            match self.call_with(jobs).await {
                Ok(None) => {}
                Ok(Some(mut refused)) => {
                    let half = refused.split_off(refused.len() / 2);
                    waiting.extend([half, refused]);
                }
                // The leases run out, and somebody tries again.
                Err(error) => tracing::warn!(
                    lane.name = self.lane.name,
                    error = &error as &dyn Error,
                    "cannot write down a call to a provider"
                ),
            }
        }
        if self.lane.is_open() {
            let lease = self.lease();
            match claim_left(&self.desk.mailroom, self.lane.name.clone(), lease).await {
                Ok(Some(left)) => self.repeat(left, lease.token).await,
                Ok(None) => {}
                Err(error) => tracing::warn!(
                    lane.name = self.lane.name,
                    error = &error as &dyn Error,
                    "cannot look for calls to repeat"
                ),
            }
        }
    }

    /// Makes a call again that somebody left without knowing what became of it.
    pub(super) async fn repeat(&self, left: AbandonedBatch, lease_token: Uuid) {
        if let Err(error) = self.try_repeat(left, lease_token).await {
            tracing::warn!(
                lane.name = self.lane.name,
                error = &error as &dyn Error,
                "cannot repeat a call to a provider"
            );
        }
    }

    async fn try_repeat(&self, left: AbandonedBatch, lease_token: Uuid) -> Result<(), StoreError> {
        let jobs = self.desk.mailroom.read(left.mails).await?;
        let age = self.desk.mailroom.clock.now() - left.created_at;
        let is_kept = self
            .provider
            .keeps_keys_for()
            .is_some_and(|kept| age < kept.saturating_sub(KEY_MARGIN));
        let mut call = Call {
            id: left.id,
            lease_token,
            attempts: left.attempts,
            jobs: Vec::new(),
            letters: Vec::new(),
        };
        if !is_kept {
            call.jobs = jobs;
            return self
                .dissolve(&call, "the outcome of a call is unknown")
                .await;
        }
        let (mut letters, mut gone) = (Vec::new(), Vec::new());
        for job in jobs {
            // As they were, whatever has become of the invitations since: another composition is another call.
            match self.desk.mailroom.write_anyway(&job, Composer::write) {
                Ok(letter) => {
                    call.jobs.push(job);
                    letters.push(letter);
                }
                // Once it can be written, the call can be repeated as it was.
                Err(Settlement::Deferred { .. }) => return self.postpone(&call, None).await,
                Err(settlement) => gone.push(job.settled(settlement)),
            }
        }
        // Its organization was deleted. What is left is another call under the same key: if the first one was taken, the
        // provider says so, and nobody gets a second mail.
        self.settle_all(gone).await;
        if call.jobs.is_empty() {
            return self.close(&call, Vec::new()).await;
        }
        call.letters = with_references(&call.jobs, letters);
        if let Some(refused) = self.make(call).await? {
            // Boxed, because a call that was made looks for one that was left.
            Box::pin(self.send(refused)).await;
        }
        Ok(())
    }

    /// Returns the mails of a call that was refused as a whole for what is in it.
    async fn call_with(&self, jobs: Vec<Job>) -> Result<Option<Vec<Job>>, StoreError> {
        let jobs = self.desk.mailroom.refresh(jobs).await?;
        let (mut written, mut unwritten) = (Vec::new(), Vec::new());
        for job in jobs {
            match self.desk.mailroom.write(&job, Composer::write) {
                Ok(letter) => written.push((job, letter)),
                Err(settlement) => unwritten.push(job.settled(settlement)),
            }
        }
        self.settle_all(unwritten).await;
        if written.is_empty() {
            return Ok(None);
        }
        let (jobs, letters) = written.into_iter().unzip();
        let call = self.persist(jobs, letters).await?;
        if call.jobs.is_empty() {
            return Ok(None);
        }
        self.make(call).await
    }

    /// Settles mails that are in no call; the settler makes one statement of them.
    async fn settle_all(&self, settled: Vec<SettledMail>) {
        let settling = settled.into_iter().map(|one| self.desk.settler.settle(one));
        join_all(settling).await;
    }

    async fn persist(&self, jobs: Vec<Job>, letters: Vec<Letter>) -> Result<Call, StoreError> {
        let (id, lease) = (Uuid::from_bytes(entropy::random_bytes()), self.lease());
        let held: Arc<[_]> = jobs.iter().map(Job::held).collect();
        let (lane, now) = (self.lane.name.clone(), self.desk.mailroom.clock.now());
        let places = self
            .store()
            .run("mail_batches.form", move |connection| {
                let (held, lane) = (Arc::clone(&held), lane.clone());
                Box::pin(async move {
                    mail_batches::create(connection, id, &lane, &held, lease, now).await
                })
            })
            .await?;
        let is_in = |place: &usize| places.binary_search(place).is_ok();
        let mut places_of_jobs = 0..jobs.len();
        let mut kept_jobs = Vec::with_capacity(places.len());
        let mut kept_letters = Vec::with_capacity(places.len());
        for (job, letter) in jobs.into_iter().zip(letters) {
            if places_of_jobs.next().as_ref().is_some_and(is_in) {
                kept_jobs.push(job);
                kept_letters.push(letter);
            }
        }
        Ok(Call {
            id,
            lease_token: lease.token,
            attempts: 1,
            letters: with_references(&kept_jobs, kept_letters),
            jobs: kept_jobs,
        })
    }

    /// Calls and settles. Returns the mails of a call that was refused as a whole for what is in it.
    async fn make(&self, call: Call) -> Result<Option<Vec<Job>>, StoreError> {
        let outcome = self.call_under_lease(&call).await;
        let error = match outcome {
            Ok(results) => {
                let settled = self.judge_each(&call, results);
                self.close(&call, settled).await?;
                return Ok(None);
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
            // The key was used with other bytes, such as an older name: that call was taken.
            BatchOutcome::TakenBefore => {
                let settled = settled_alike(&call, &Settlement::Sent);
                self.close(&call, settled).await?;
                Ok(None)
            }
            BatchOutcome::InProgress => {
                self.postpone(&call, error.retry_after).await.map(|()| None)
            }
            BatchOutcome::Unknown => {
                Desk::leave_lane(&error.error, error.retry_after, &self.lane);
                if self.provider.keeps_keys_for().is_some() {
                    self.postpone(&call, error.retry_after).await.map(|()| None)
                } else {
                    self.dissolve(&call, &error.error.text).await.map(|()| None)
                }
            }
            BatchOutcome::NotTaken => self.not_taken(call, error).await,
        }
    }

    /// Nobody got anything: the provider is down, wants a pause, or cannot take something that is in the call.
    async fn not_taken(
        &self,
        call: Call,
        failure: BatchError,
    ) -> Result<Option<Vec<Job>>, StoreError> {
        let BatchError {
            error, retry_after, ..
        } = failure;
        let is_throttled = error.reply_code == Some(429);
        if error.fate == Fate::LaneDown || is_throttled {
            if is_throttled {
                // It works, and says for how long it wants to be spared.
                self.lane.slow_down();
                self.lane.breaker.rest(retry_after.unwrap_or(REPEAT_PAUSE));
            } else {
                Desk::leave_lane(&error, retry_after, &self.lane);
            }
            // A refusal to repeat a call says nothing of what became of it the first time.
            if call.attempts > 1 {
                return self.postpone(&call, retry_after).await.map(|()| None);
            }
            let settled = call
                .jobs
                .iter()
                .map(|job| job.settled(self.desk.without_lane(job, error.clone())))
                .collect();
            self.close(&call, settled).await?;
            return Ok(None);
        }
        if call.jobs.len() == 1 {
            let settled = self.judge_each(&call, vec![Err(error)]);
            self.close(&call, settled).await?;
            return Ok(None);
        }
        if !self.take_apart(&call).await? {
            tracing::warn!("the lease of a call was lost before it could be taken apart");
            return Ok(None);
        }
        Ok(Some(call.jobs))
    }

    fn judge_each(
        &self,
        call: &Call,
        results: Vec<Result<Accepted, SendError>>,
    ) -> Vec<SettledMail> {
        call.jobs
            .iter()
            .zip(results)
            .map(|(job, result)| {
                let outcome = result.map(|_| ());
                self.desk.judge(outcome, job, &self.lane)
            })
            .collect()
    }

    /// Gives up knowing: who is still invited goes back to the queue, and may get the mail twice.
    async fn dissolve(&self, call: &Call, text: &str) -> Result<(), StoreError> {
        let settled = call
            .jobs
            .iter()
            .map(|job| {
                let settlement = match self.desk.mailroom.write(job, |_, _| Ok(())) {
                    Ok(()) => self.desk.doubtful(job, text),
                    Err(settlement) => settlement,
                };
                job.settled(settlement)
            })
            .collect();
        self.close(call, settled).await
    }

    async fn call_under_lease(
        &self,
        call: &Call,
    ) -> Result<Vec<Result<Accepted, SendError>>, BatchError> {
        let calling = async {
            // Halves of a refused call and repetitions are calls as well, to whoever counts them.
            if let Some(calls) = &self.lane.calls {
                calls.turn().await;
            }
            self.provider.send(call.id, &call.letters).await
        };
        tokio::pin!(calling);
        let heartbeat = self.desk.lease_duration / 4;
        let mut beats = interval_at(Instant::now() + heartbeat, heartbeat);
        loop {
            tokio::select! {
                outcome = &mut calling => return outcome,
                _ = beats.tick() => self.extend(call).await,
            }
        }
    }

    async fn extend(&self, call: &Call) {
        let (id, lease) = (
            call.id,
            Lease {
                token: call.lease_token,
                ..self.lease()
            },
        );
        let extended = self
            .store()
            .run("mail_batches.extend_lease", move |connection| {
                Box::pin(mail_batches::extend_lease(connection, id, lease))
            })
            .await;
        match extended {
            Ok(true) => {}
            // What is on the wire cannot be recalled; settling will find the lease lost too.
            Ok(false) => tracing::warn!("the lease of a call was lost while it was made"),
            Err(error) => tracing::warn!(
                error = &error as &dyn Error,
                "cannot extend the lease of a call"
            ),
        }
    }

    async fn close(&self, call: &Call, settled: Vec<SettledMail>) -> Result<(), StoreError> {
        let (id, lease_token) = (call.id, call.lease_token);
        let now = self.desk.mailroom.clock.now();
        let settled: Arc<[SettledMail]> = settled.into();
        // The lease lasts longer: it was extended while the call was made.
        let give_up_at = Instant::now() + self.desk.lease_duration / 2;
        loop {
            let these = Arc::clone(&settled);
            let outcome = self
                .store()
                .with_tx("mail_batches.settle", move |connection| {
                    let these = Arc::clone(&these);
                    Box::pin(async move {
                        mail_batches::settle(connection, id, lease_token, &these, now).await
                    })
                })
                .await;
            match outcome {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    tracing::warn!("the lease of a call was lost before it was settled");
                    return Ok(());
                }
                // What the provider took must not be forgotten because the database was away for a moment.
                Err(_) if Instant::now() < give_up_at => sleep(SETTLE_PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }

    async fn take_apart(&self, call: &Call) -> Result<bool, StoreError> {
        let (id, lease_token) = (call.id, call.lease_token);
        let until = self.lease().until;
        self.store()
            .with_tx("mail_batches.take_apart", move |connection| {
                Box::pin(mail_batches::dissolve(connection, id, lease_token, until))
            })
            .await
    }

    /// Keeps a call to be repeated, after as long as the provider asked for at least.
    async fn postpone(&self, call: &Call, asked: Option<Duration>) -> Result<(), StoreError> {
        let (id, lease_token) = (call.id, call.lease_token);
        let now = self.desk.mailroom.clock.now();
        let doublings = u32::try_from(call.attempts.clamp(1, 16) - 1).unwrap_or(0);
        let usual = (REPEAT_PAUSE * 2_u32.pow(doublings)).min(REPEAT_PAUSE_MAX);
        let pause = usual.max(asked.unwrap_or_default());
        tracing::debug!(call.pause_ms = millis(pause), "a call is to be repeated");
        let next_attempt_at = now + pause;
        self.store()
            .run("mail_batches.postpone", move |connection| {
                Box::pin(mail_batches::reschedule(
                    connection,
                    id,
                    lease_token,
                    next_attempt_at,
                    now,
                ))
            })
            .await
            .map(|_| ())
    }

    fn lease(&self) -> Lease {
        Lease {
            token: Uuid::from_bytes(entropy::random_bytes()),
            until: self.desk.mailroom.clock.now() + self.desk.lease_duration,
        }
    }

    fn store(&self) -> &Store {
        &self.desk.mailroom.store
    }
}

fn with_references(jobs: &[Job], letters: Vec<Letter>) -> Vec<ProviderLetter> {
    jobs.iter()
        .zip(letters)
        .map(|(job, letter)| ProviderLetter {
            letter,
            reference: job.reference(),
        })
        .collect()
}

fn settled_alike(call: &Call, settlement: &Settlement) -> Vec<SettledMail> {
    call.jobs
        .iter()
        .map(|job| job.settled(settlement.clone()))
        .collect()
}

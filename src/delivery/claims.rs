//! Claims due emails and abandoned calls, and holds the claimed emails until a lane takes them.

use std::collections::{HashMap, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::delivery_context::DeliveryContext;
use super::job_reader::read_jobs;
use super::lane::Lane;
use super::send_job::{SUSPENDED_PAUSE, SendJob, suspended};
use super::settler::settle;
use super::stored_batches;
use crate::store::mail_batches::AbandonedBatch;
use crate::store::outbox::{self, ClaimedMail, MailKey};
use crate::store::settlements::{self, SettledMail, Settlement};
use crate::store::{StoreError, suspensions};

/// How often to try to read the content of claimed emails.
const READ_ATTEMPTS_MAX: u32 = 10;
const READ_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The most emails of suspended organizations that one statement postpones, so that it holds its locks only briefly.
const POSTPONED_ROWS_MAX: i64 = 5_000;

pub(super) struct ClaimQuery {
    pub(super) context: Arc<DeliveryContext>,
    pub(super) leases: LeasedMessages,
}

pub(super) struct ClaimResult {
    pub(super) jobs: Vec<SendJob>,
    /// Calls whose outcome was not recorded, each with the index of its lane and the token of its lease.
    pub(super) abandoned: Vec<(usize, AbandonedBatch, Uuid)>,
    /// Whether more emails may be due.
    pub(super) has_more: bool,
}

impl ClaimQuery {
    /// Claims one abandoned call of each of these lanes, and at most `limit` emails.
    pub(super) async fn run(
        &self,
        limit: usize,
        lanes: Vec<(usize, String)>,
    ) -> Result<ClaimResult, StoreError> {
        let mut abandoned = Vec::new();
        for (index, lane) in lanes {
            let batch = stored_batches::claim_abandoned(&self.context, lane).await?;
            abandoned.extend(batch.map(|(batch, token)| (index, batch, token)));
        }
        let claimed = self.claim(limit).await?;
        self.leases.add(leases_of(&claimed));
        let has_more = claimed.len() >= limit;
        let jobs = self.read(claimed).await?;
        Ok(ClaimResult {
            jobs: self.postpone_suspended(jobs).await,
            abandoned,
            has_more,
        })
    }

    async fn claim(&self, limit: usize) -> Result<Vec<(ClaimedMail, Uuid)>, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (lease, now) = (self.context.new_lease(), self.context.now());
        let claimed = self
            .context
            .store
            .run("outbox.claim", move |connection| {
                Box::pin(outbox::claim(connection, limit, lease, now))
            })
            .await?;
        Ok(claimed
            .into_iter()
            .map(|mail| (mail, lease.token))
            .collect())
    }

    /// Reads the content of claimed emails, with a few retries. After the last one the leases expire.
    async fn read(&self, claimed: Vec<(ClaimedMail, Uuid)>) -> Result<Vec<SendJob>, StoreError> {
        let mut attempts = 1;
        loop {
            match read_jobs(&self.context, claimed.clone()).await {
                Err(_) if attempts < READ_ATTEMPTS_MAX => attempts += 1,
                Err(error) => {
                    self.leases.remove(leases_of(&claimed));
                    return Err(error);
                }
                jobs => return jobs,
            }
            tokio::time::sleep(READ_RETRY_PAUSE).await;
        }
    }

    /// Releases the claimed emails of suspended organizations, and postpones all other due emails of these
    /// organizations. One by one they would fill the buffer of every worker. Returns the other jobs.
    async fn postpone_suspended(&self, jobs: Vec<SendJob>) -> Vec<SendJob> {
        let (held_back, jobs): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .partition(SendJob::is_organization_suspended);
        if held_back.is_empty() {
            return jobs;
        }
        self.leases.remove(held_back.iter().map(SendJob::lease));
        let now = self.context.now();
        let until = now + SUSPENDED_PAUSE;
        let settled: Vec<SettledMail> = held_back
            .iter()
            .map(|job| job.settled(suspended(now)))
            .collect();
        let mut organization_ids: Vec<String> = held_back
            .into_iter()
            .map(|job| job.claimed.key.organization_id)
            .collect();
        organization_ids.sort_unstable();
        organization_ids.dedup();
        let rows = Arc::new((settled, organization_ids));
        let postponed = self
            .context
            .store
            .with_tx("outbox.hold_back", move |connection| {
                let rows = Arc::clone(&rows);
                Box::pin(async move {
                    let (settled, ids) = &*rows;
                    settlements::settle_many(connection, settled, now).await?;
                    suspensions::postpone_mails(connection, ids, now, until, POSTPONED_ROWS_MAX)
                        .await
                })
            })
            .await;
        // After a failure the leases expire. The emails of other organizations are sent all the same.
        match postponed {
            Ok(count) => {
                tracing::debug!(
                    mails.count = count,
                    "postponed the emails of suspended organizations"
                );
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn Error,
                "cannot postpone the emails of suspended organizations"
            ),
        }
        jobs
    }
}

fn leases_of(claimed: &[(ClaimedMail, Uuid)]) -> impl Iterator<Item = (MailKey, Uuid)> {
    claimed
        .iter()
        .map(|(mail, token)| (mail.key.clone(), *token))
}

/// Claimed emails that no lane has taken yet, oldest first. With them no connection waits for the database.
#[derive(Default)]
pub(super) struct ClaimBuffer(VecDeque<SendJob>);

/// The leases of every email that a worker holds, buffered or in flight. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct LeasedMessages(Arc<Mutex<HashMap<MailKey, Uuid>>>);

impl ClaimBuffer {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn extend(&mut self, jobs: Vec<SendJob>) {
        self.0.extend(jobs);
    }

    /// Takes the oldest jobs, at most `limit`, whose domains are below their caps on a lane.
    pub(super) fn take(&mut self, limit: usize, lane: &Lane) -> Vec<SendJob> {
        let mut taken = Vec::new();
        let mut at = 0;
        while taken.len() < limit && at < self.0.len() {
            if lane.domains.try_enter(self.0[at].domain()) {
                taken.extend(self.0.remove(at));
            } else {
                at += 1;
            }
        }
        taken
    }

    /// Takes all jobs except the `kept` oldest.
    pub(super) fn take_newest(&mut self, kept: usize) -> Vec<SendJob> {
        self.0.drain(kept.min(self.0.len())..).collect()
    }
}

impl LeasedMessages {
    pub(super) fn add(&self, leases: impl Iterator<Item = (MailKey, Uuid)>) {
        self.lock().extend(leases);
    }

    /// Forgets leases. If an email was claimed again since, its new lease stays.
    pub(super) fn remove(&self, ended: impl IntoIterator<Item = (MailKey, Uuid)>) {
        let mut leases = self.lock();
        for (key, token) in ended {
            if leases.get(&key) == Some(&token) {
                leases.remove(&key);
            }
        }
    }

    pub(super) fn all(&self) -> Arc<[(MailKey, Uuid)]> {
        let leases = self.lock();
        leases
            .iter()
            .map(|(key, token)| (key.clone(), *token))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MailKey, Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Extends leases. If this fails, they expire unless the next heartbeat succeeds.
pub(super) async fn extend_leases(context: Arc<DeliveryContext>, leases: Arc<[(MailKey, Uuid)]>) {
    let until = context.now() + context.lease_duration;
    let extended = context
        .store
        .run("outbox.extend_leases", move |connection| {
            let leases = Arc::clone(&leases);
            Box::pin(async move { outbox::extend_leases(connection, &leases, until).await })
        })
        .await;
    if let Err(error) = extended {
        tracing::warn!(
            error = &error as &dyn Error,
            "cannot extend the leases of emails"
        );
    }
}

/// Returns jobs to the queue, due after `pause`. If this fails, their leases expire.
pub(super) async fn release(context: Arc<DeliveryContext>, jobs: Vec<SendJob>, pause: Duration) {
    let now = context.now();
    let next_attempt_at = (!pause.is_zero()).then(|| now + pause);
    let settled: Arc<[SettledMail]> = jobs
        .iter()
        .map(|job| job.settled(Settlement::Released { next_attempt_at }))
        .collect();
    if let Err(error) = settle(&context.store, "outbox.release", settled, now).await {
        tracing::warn!(error = &error as &dyn Error, "cannot release emails");
    }
}

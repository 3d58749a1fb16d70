//! Claims due emails and abandoned calls, and keeps the leases of the claimed emails.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::delivery_context::DeliveryContext;
use super::job_reader::read_jobs;
use super::send_job::{SUSPENDED_PAUSE, SendJob, suspended};
use super::settler::settle;
use super::stored_batches::BatchLease;
use crate::store::mail_batches::AbandonedBatch;
use crate::store::outbox::{self, ClaimedMail, MailKey};
use crate::store::settlements::{self, Settlement};
use crate::store::{StoreError, suspensions};

const READ_ATTEMPTS_MAX: u32 = 10;
const READ_RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The most emails of suspended organizations that one statement postpones, so that it holds its locks only briefly.
const POSTPONED_ROWS_MAX: i64 = 5_000;

pub(super) struct ClaimResult {
    pub(super) jobs: Vec<SendJob>,
    /// Calls whose outcome was not recorded, each with the index of its lane and its new lease.
    pub(super) abandoned: Vec<(usize, AbandonedBatch, BatchLease)>,
    pub(super) has_more: bool,
}

/// Claims one abandoned call of each of these lanes, and at most `limit` emails, whose leases are added to `leases`.
pub(super) async fn claim(
    context: &DeliveryContext,
    leases: &LeasedMessages,
    limit: usize,
    lanes: Vec<(usize, String)>,
) -> Result<ClaimResult, StoreError> {
    let mut abandoned = Vec::new();
    for (index, lane) in lanes {
        let batch = BatchLease::claim_abandoned(context, lane).await?;
        abandoned.extend(batch.map(|(batch, lease)| (index, batch, lease)));
    }
    let rows_max = i64::try_from(limit).unwrap_or(i64::MAX);
    let (lease, now) = (context.new_lease(), context.now());
    let claimed = context.store.run("outbox.claim", move |connection| {
        Box::pin(outbox::claim(connection, rows_max, lease, now))
    });
    let claimed = claimed.await?.into_iter();
    let claimed: Vec<_> = claimed.map(|mail| (mail, lease.token)).collect();
    let has_more = claimed.len() >= limit;
    leases.add(leases_of(&claimed));
    let jobs = read(context, leases, claimed).await?;
    Ok(ClaimResult {
        jobs: postpone_suspended(context, leases, jobs).await,
        abandoned,
        has_more,
    })
}

/// Reads the content of claimed emails, with a few retries. After the last one the leases expire.
async fn read(
    context: &DeliveryContext,
    leases: &LeasedMessages,
    claimed: Vec<(ClaimedMail, Uuid)>,
) -> Result<Vec<SendJob>, StoreError> {
    for _ in 1..READ_ATTEMPTS_MAX {
        if let Ok(jobs) = read_jobs(context, claimed.clone()).await {
            return Ok(jobs);
        }
        tokio::time::sleep(READ_RETRY_PAUSE).await;
    }
    let ended: Vec<_> = leases_of(&claimed).collect();
    let jobs = read_jobs(context, claimed).await;
    jobs.inspect_err(|_| leases.remove(ended))
}

/// Releases the claimed emails of suspended organizations, and postpones all other due emails of these organizations.
/// One by one they would fill the buffer of every worker. Returns the other jobs.
async fn postpone_suspended(
    context: &DeliveryContext,
    leases: &LeasedMessages,
    jobs: Vec<SendJob>,
) -> Vec<SendJob> {
    let (suspended_jobs, jobs): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .partition(SendJob::is_organization_suspended);
    if suspended_jobs.is_empty() {
        return jobs;
    }
    leases.remove(suspended_jobs.iter().map(SendJob::lease));
    let now = context.now();
    let settled = suspended_jobs.iter().map(|job| job.settled(suspended(now)));
    let settled: Arc<[_]> = settled.collect();
    let ids = suspended_jobs.into_iter();
    let ids: BTreeSet<_> = ids.map(|job| job.claimed.key.organization_id).collect();
    let ids: Arc<[String]> = ids.into_iter().collect();
    let store = &context.store;
    let postponed = store.with_tx("outbox.postpone_suspended", move |connection| {
        let (settled, ids) = (Arc::clone(&settled), Arc::clone(&ids));
        let until = now + SUSPENDED_PAUSE;
        Box::pin(async move {
            settlements::settle_many(connection, &settled, now).await?;
            suspensions::postpone_mails(connection, &ids, now, until, POSTPONED_ROWS_MAX).await
        })
    });
    // After a failure the leases expire. The emails of other organizations are sent all the same.
    match postponed.await {
        Ok(count) => tracing::debug!(
            mails.count = count,
            "postponed the emails of suspended organizations"
        ),
        Err(error) => {
            let error: &dyn Error = &error;
            tracing::warn!(
                error,
                "cannot postpone the emails of suspended organizations"
            );
        }
    }
    jobs
}

fn leases_of(claimed: &[(ClaimedMail, Uuid)]) -> impl Iterator<Item = (MailKey, Uuid)> {
    let claimed = claimed.iter();
    claimed.map(|(mail, token)| (mail.key.clone(), *token))
}

/// The leases of every email that a worker holds, buffered or in flight. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct LeasedMessages(Arc<Mutex<HashMap<MailKey, Uuid>>>);

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
        let pairs = leases.iter();
        pairs.map(|(key, token)| (key.clone(), *token)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<MailKey, Uuid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Extends leases. If this fails, they expire unless the next heartbeat succeeds.
pub(super) async fn extend_leases(context: Arc<DeliveryContext>, leases: Arc<[(MailKey, Uuid)]>) {
    let until = context.now() + context.config.lease_duration;
    let store = &context.store;
    let extended = store.run("outbox.extend_leases", move |connection| {
        let leases = Arc::clone(&leases);
        Box::pin(async move { outbox::extend_leases(connection, &leases, until).await })
    });
    if let Err(error) = extended.await {
        let error: &dyn Error = &error;
        tracing::warn!(error, "cannot extend the leases of emails");
    }
}

/// Returns jobs to the queue, due after `pause`. If this fails, their leases expire.
pub(super) async fn release(
    context: Arc<DeliveryContext>,
    jobs: VecDeque<SendJob>,
    pause: Duration,
) {
    let now = context.now();
    let next_attempt_at = (!pause.is_zero()).then(|| now + pause);
    let released = Settlement::Released { next_attempt_at };
    let settled = jobs.iter().map(|job| job.settled(released.clone()));
    if let Err(error) = settle(&context.store, "outbox.release", settled.collect(), now).await {
        tracing::warn!(error = &error as &dyn Error, "cannot release emails");
    }
}

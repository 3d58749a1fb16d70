//! One look at the queue: calls that were left behind, and mails that are due.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::batch;
use super::mailroom::{Job, Mailroom, SUSPENDED_PAUSE};
use super::stock::Held;
use crate::entropy;
use crate::store::StoreError;
use crate::store::mail_batches::AbandonedBatch;
use crate::store::outbox::{self, ClaimedMail, Lease};
use crate::store::settlements::{self, SettledMail};
use crate::store::suspensions;

/// How often to try to read what claimed mails are written from.
const READ_TRIES_MAX: u32 = 10;
/// The pause between those tries.
const READ_PAUSE: Duration = Duration::from_secs(1);
/// Most mails of suspended organizations to put off at once, so that no lock lasts.
const PUT_OFF_MAX: i64 = 5_000;

/// What a look needs.
pub(super) struct Look {
    pub(super) mailroom: Arc<Mailroom>,
    pub(super) held: Held,
    pub(super) lease_duration: Duration,
}

/// What one look found.
pub(super) struct Found {
    /// Mails that are due, claimed.
    pub(super) jobs: Vec<Job>,
    /// Calls of lanes whose outcome nobody wrote down, claimed, with their leases.
    pub(super) left: Vec<(usize, AbandonedBatch, Uuid)>,
    /// Whether there may be more.
    pub(super) is_full: bool,
}

impl Look {
    /// Claims a left call of each of these lanes, and at most `most` mails.
    pub(super) async fn find(
        &self,
        most: usize,
        lanes: Vec<(usize, String)>,
    ) -> Result<Found, StoreError> {
        let mut left = Vec::new();
        for (index, name) in lanes {
            let lease = self.lease();
            let batch = batch::claim_left(&self.mailroom, name, lease).await?;
            left.extend(batch.map(|batch| (index, batch, lease.token)));
        }
        let claimed = self.claim(most).await?;
        self.held.add(&claimed);
        let is_full = claimed.len() >= most;
        let jobs = self.hold_back(self.read(claimed).await?).await?;
        Ok(Found {
            jobs,
            left,
            is_full,
        })
    }

    async fn claim(&self, most: usize) -> Result<Vec<(ClaimedMail, Uuid)>, StoreError> {
        let limit = i64::try_from(most).unwrap_or(i64::MAX);
        let (lease, now) = (self.lease(), self.mailroom.clock.now());
        let claimed = self
            .mailroom
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

    /// Reads what claimed mails are written from, and tries a little: giving up leaves them to their leases.
    async fn read(&self, claimed: Vec<(ClaimedMail, Uuid)>) -> Result<Vec<Job>, StoreError> {
        let mut tries = 1;
        loop {
            match self.mailroom.read(claimed.clone()).await {
                Err(_) if tries < READ_TRIES_MAX => tries += 1,
                Err(error) => {
                    for (mail, token) in claimed {
                        self.held.remove([&(mail.key, token)]);
                    }
                    return Err(error);
                }
                read => return read,
            }
            tokio::time::sleep(READ_PAUSE).await;
        }
    }

    /// Gives the mails of suspended organizations back before they take the place of others in stock, and puts off all
    /// that these organizations have due: one by one they would be in everybody's way.
    async fn hold_back(&self, jobs: Vec<Job>) -> Result<Vec<Job>, StoreError> {
        let (held_back, jobs): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(Job::is_held_back);
        if held_back.is_empty() {
            return Ok(jobs);
        }
        let mut organization_ids: Vec<String> = held_back
            .iter()
            .map(|job| job.claimed.key.organization_id.clone())
            .collect();
        organization_ids.sort_unstable();
        organization_ids.dedup();
        let settled: Vec<SettledMail> = held_back
            .iter()
            .map(|job| job.settled(self.mailroom.held_back()))
            .collect();
        self.held
            .remove(&held_back.iter().map(Job::held).collect::<Vec<_>>());
        let work: Arc<(Vec<SettledMail>, Vec<String>)> = Arc::new((settled, organization_ids));
        let now = self.mailroom.clock.now();
        let until = now + SUSPENDED_PAUSE;
        let put_off = self
            .mailroom
            .store
            .with_tx("outbox.hold_back", move |connection| {
                let work = Arc::clone(&work);
                Box::pin(async move {
                    let (settled, organization_ids) = &*work;
                    settlements::settle_many(connection, settled, now).await?;
                    suspensions::postpone_mails(
                        connection,
                        organization_ids,
                        now,
                        until,
                        PUT_OFF_MAX,
                    )
                    .await
                })
            })
            .await;
        // Where it failed, their leases run out; the others are not to blame.
        match put_off {
            Ok(count) => {
                tracing::debug!(mails.count = count, "mails of suspended organizations wait");
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn Error,
                "cannot give back the mails of suspended organizations"
            ),
        }
        Ok(jobs)
    }

    fn lease(&self) -> Lease {
        Lease {
            token: Uuid::from_bytes(entropy::random_bytes()),
            until: self.mailroom.clock.now() + self.lease_duration,
        }
    }
}

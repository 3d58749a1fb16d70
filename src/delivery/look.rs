//! One look at the queue: calls that were left behind, and mails that are due.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::batch;
use super::mailroom::{Job, Mailroom};
use super::stock::Held;
use crate::entropy;
use crate::store::StoreError;
use crate::store::mail_batches::LeftBatch;
use crate::store::outbox::{self, ClaimedMail, Lease};

/// How often to try to read what claimed mails are written from.
const READ_TRIES_MAX: u32 = 10;
/// The pause between those tries.
const READ_PAUSE: Duration = Duration::from_secs(1);

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
    pub(super) left: Vec<(usize, LeftBatch, Uuid)>,
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
        let jobs = self.read(claimed).await?;
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

    fn lease(&self) -> Lease {
        Lease {
            token: Uuid::from_bytes(entropy::random_bytes()),
            until: self.mailroom.clock.now() + self.lease_duration,
        }
    }
}

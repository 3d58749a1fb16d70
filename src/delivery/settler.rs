//! Writes settlements to the outbox, in groups.
//!
//! The sender of an email waits until its settlement is written. Settlements that arrive while a statement runs share
//! the next statement and its commit. The settler never waits for a group to fill.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::clock::Clock;
use crate::store::settlements::{self, SettledMail};
use crate::store::{Store, StoreError};

/// The most emails of one statement.
const GROUP_MAX: usize = 256;
/// The pause between attempts while the database is unavailable.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

#[derive(Debug, Clone)]
pub(super) struct Settler(mpsc::Sender<SettleRequest>);

/// An email, and the sender that waits until it is settled.
type SettleRequest = (SettledMail, oneshot::Sender<()>);

impl Settler {
    /// Returns a settler and the task that must run for it. The task ends when every clone of the settler is dropped.
    ///
    /// It retries each group for `lease_duration`: after that, another worker sends the emails again anyway.
    pub(super) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        lease_duration: Duration,
    ) -> (Self, impl Future<Output = ()>) {
        let (sender, requests) = mpsc::channel(GROUP_MAX);
        (Self(sender), run(requests, store, clock, lease_duration))
    }

    /// Settles one email. Returns when the settlement is written or given up.
    pub(super) async fn settle(&self, settled: SettledMail) {
        let (done, is_done) = oneshot::channel();
        if self.0.send((settled, done)).await.is_ok() {
            // An error means that the task ended with the process. The lease then expires.
            let _ = is_done.await;
        }
    }

    pub(super) async fn settle_all(&self, settled: Vec<SettledMail>) {
        join_all(settled.into_iter().map(|one| self.settle(one))).await;
    }
}

async fn run(
    mut requests: mpsc::Receiver<SettleRequest>,
    store: Store,
    clock: Arc<dyn Clock>,
    lease_duration: Duration,
) {
    let mut group = Vec::new();
    while requests.recv_many(&mut group, GROUP_MAX).await > 0 {
        let (settled, done): (Vec<_>, Vec<_>) = group.drain(..).unzip();
        let settled: Arc<[SettledMail]> = settled.into();
        let give_up_at = Instant::now() + lease_duration;
        let write = || settle(&store, "outbox.settle", Arc::clone(&settled), clock.now());
        match retry_until(give_up_at, write).await {
            Ok(written) => warn_of_lost_leases(&settled, &written),
            Err(error) => {
                let error: &dyn Error = &error;
                tracing::error!(error, mail.count = settled.len(), "cannot settle emails");
            }
        }
        for done in done {
            // The sender may have stopped waiting.
            let _ = done.send(());
        }
    }
}

/// Writes settlements in one transaction. Returns the emails whose lease was still held.
pub(super) async fn settle(
    store: &Store,
    name: &'static str,
    settled: Arc<[SettledMail]>,
    now: OffsetDateTime,
) -> Result<HashSet<(Uuid, i32)>, StoreError> {
    store
        .with_tx(name, move |connection| {
            let settled = Arc::clone(&settled);
            Box::pin(async move { settlements::settle_many(connection, &settled, now).await })
        })
        .await
}

/// Repeats a write while the database is unavailable, until `give_up_at`.
pub(super) async fn retry_until<T, F: Future<Output = Result<T, StoreError>>>(
    give_up_at: Instant,
    write: impl Fn() -> F,
) -> Result<T, StoreError> {
    loop {
        match write().await {
            Err(_) if Instant::now() < give_up_at => sleep(RETRY_PAUSE).await,
            outcome => return outcome,
        }
    }
}

fn warn_of_lost_leases(settled: &[SettledMail], written: &HashSet<(Uuid, i32)>) {
    for one in settled {
        if !written.contains(&one.key.id()) {
            tracing::warn!(
                invitation.id = %one.key.invitation_id,
                "the lease of an email was lost before the email was settled"
            );
        }
    }
}

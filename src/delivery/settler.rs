//! Settling in groups: what ends at about the same moment is written down together.
//!
//! Each mail is settled right after its outcome is known, and whoever sent it waits for that. Those that wait at the same
//! time share a statement and its commit; nobody waits for a group to fill.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::clock::Clock;
use crate::store::Store;
use crate::store::settlements::{self, SettledMail};

/// Most mails of one statement.
const GROUP_MAX: usize = 256;
/// The pause between tries while the database is away.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Takes settlements and writes them down. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Settler(mpsc::Sender<Request>);

#[derive(Debug)]
struct Request {
    settled: SettledMail,
    done: oneshot::Sender<()>,
}

/// The task behind a [`Settler`].
pub(super) struct SettlerTask {
    requests: mpsc::Receiver<Request>,
    store: Store,
    clock: Arc<dyn Clock>,
    /// How long to try: what was sent and not settled within its lease is sent again by somebody else.
    patience: Duration,
}

impl Settler {
    /// A settler, and the task that has to run for it.
    pub(super) fn new(
        store: Store,
        clock: Arc<dyn Clock>,
        patience: Duration,
    ) -> (Self, SettlerTask) {
        let (sender, requests) = mpsc::channel(GROUP_MAX);
        let task = SettlerTask {
            requests,
            store,
            clock,
            patience,
        };
        (Self(sender), task)
    }

    /// Settles one mail; returns once that is written down, or given up.
    pub(super) async fn settle(&self, settled: SettledMail) {
        let (done, is_done) = oneshot::channel();
        if self.0.send(Request { settled, done }).await.is_ok() {
            // An error means that the task ended with the process; then the lease decides.
            let _ = is_done.await;
        }
    }
}

impl SettlerTask {
    /// Settles until every [`Settler`] is gone.
    pub(super) async fn run(mut self) {
        let mut group = Vec::new();
        while self.requests.recv_many(&mut group, GROUP_MAX).await > 0 {
            let (settled, done): (Vec<_>, Vec<_>) = group
                .drain(..)
                .map(|request| (request.settled, request.done))
                .unzip();
            self.write(settled.into()).await;
            for done in done {
                // Whoever waited may be gone.
                let _ = done.send(());
            }
        }
    }

    async fn write(&self, settled: Arc<[SettledMail]>) {
        let give_up_at = Instant::now() + self.patience;
        loop {
            let now = self.clock.now();
            let these = Arc::clone(&settled);
            let outcome = self
                .store
                .with_tx("outbox.settle", move |connection| {
                    let these = Arc::clone(&these);
                    Box::pin(async move { settlements::settle_many(connection, &these, now).await })
                })
                .await;
            match outcome {
                Ok(written) => return warn_of_lost(&settled, &written),
                Err(error) if Instant::now() >= give_up_at => {
                    tracing::error!(
                        error = &error as &dyn Error,
                        mail.count = settled.len(),
                        "cannot settle mails"
                    );
                    return;
                }
                Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
    }
}

fn warn_of_lost(settled: &[SettledMail], written: &HashSet<(uuid::Uuid, i32)>) {
    for one in settled {
        if !written.contains(&one.key.id()) {
            tracing::warn!(
                invitation.id = %one.key.invitation_id,
                "the lease of a mail was lost before it was settled"
            );
        }
    }
}

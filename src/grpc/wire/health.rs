//! Health: readiness by the database's signs of life, and by whether it takes writes. It says nothing about liveness: a database that is away is no
//! reason to restart the fleet.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use crate::service::Service;

/// How often to look.
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// How long a sign of life may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Missed signs in a row until the service stops serving.
const MISSES_MAX: u32 = 3;
/// Signs in a row until it serves again.
const HITS_MIN: u32 = 2;
/// What stands for the server as a whole, and the services by their names.
const NAMES: [&str; 6] = [
    "",
    "invitation.v1.InvitationService",
    "invitation.v1.DirectoryService",
    "invitation.v1.MailService",
    "invitation.v1.SuppressionService",
    "invitation.v1.FeedbackService",
];

/// Tells whoever asks whether calls should come here.
#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    /// Whether the process is on its way out; then nothing says SERVING any more.
    is_draining: Arc<Mutex<bool>>,
    /// The same answer for whoever does not ask in gRPC.
    readiness: watch::Sender<bool>,
}

impl Health {
    /// Not serving yet; with the service that answers for it.
    pub(crate) async fn new() -> (Self, HealthService) {
        let reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        let health = Self {
            reporter,
            is_draining: Arc::default(),
            readiness: watch::Sender::new(false),
        };
        health.set(ServingStatus::NotServing).await;
        (health, service)
    }

    /// Whether it serves, now and whenever that changes.
    #[must_use]
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.readiness.subscribe()
    }

    /// Says that calls should go elsewhere from now on.
    pub async fn drain(&self) {
        *self.is_draining.lock().await = true;
        self.set(ServingStatus::NotServing).await;
    }

    /// Serves from now on, and for as long as the database gives signs of life.
    pub async fn watch(self, service: Service, stopping: CancellationToken) {
        self.set(ServingStatus::Serving).await;
        let (mut is_serving, mut streak) = (true, 0);
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tokio::time::sleep(PROBE_INTERVAL) => {}
            }
            let probe = tokio::time::timeout(PROBE_TIMEOUT, service.ping()).await;
            let is_alive = matches!(probe, Ok(Ok(())));
            streak = if is_alive == is_serving {
                0
            } else {
                streak + 1
            };
            let needed = if is_serving { MISSES_MAX } else { HITS_MIN };
            if streak >= needed {
                is_serving = is_alive;
                streak = 0;
                tracing::warn!(
                    health.is_serving = is_serving,
                    "the database went away or came back"
                );
                let status = if is_serving {
                    ServingStatus::Serving
                } else {
                    ServingStatus::NotServing
                };
                self.set(status).await;
            }
        }
    }

    async fn set(&self, status: ServingStatus) {
        // Held over the change, so that a drain that begins in the middle of it has the last word.
        let is_draining = self.is_draining.lock().await;
        let status = if *is_draining {
            ServingStatus::NotServing
        } else {
            status
        };
        self.readiness
            .send_replace(status == ServingStatus::Serving);
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

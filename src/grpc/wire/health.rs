//! Health: whether the database commits writes to every table, and whether the clock of the machine agrees with its clock.
//! Health is about readiness and not about liveness: a restart does not help while the database is down.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::{HealthReporter, HealthService};

use crate::service::Service;

const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// Failed probes in a row after which the service is NOT_SERVING.
const FAILURES_MAX: u32 = 3;
/// Successful probes in a row after which the service is SERVING again.
const SUCCESSES_MIN: u32 = 2;
/// The names that clients can query: the server as a whole, and each service.
const NAMES: [&str; 7] = [
    "",
    "invitation.v1.InvitationService",
    "invitation.v1.DirectoryService",
    "invitation.v1.MailService",
    "invitation.v1.SuppressionService",
    "invitation.v1.FeedbackService",
    "invitation.v1.AuditService",
];

#[derive(Clone)]
pub struct Health {
    reporter: HealthReporter,
    /// Whether the process is shutting down. Then it never reports SERVING again.
    is_draining: Arc<Mutex<bool>>,
    readiness: watch::Sender<bool>,
}

impl Health {
    /// Returns the health, which is NOT_SERVING, and the gRPC service that reports it.
    pub(crate) async fn new() -> (Self, HealthService) {
        let reporter = HealthReporter::new();
        let service = HealthService::from_health_reporter(reporter.clone());
        let health = Self {
            reporter,
            is_draining: Arc::default(),
            readiness: watch::Sender::new(false),
        };
        health.set(false).await;
        (health, service)
    }

    /// Whether the service is SERVING, for the HTTP server.
    pub fn readiness(&self) -> watch::Receiver<bool> {
        self.readiness.subscribe()
    }

    /// Reports NOT_SERVING until the process ends.
    pub async fn drain(&self) {
        *self.is_draining.lock().await = true;
        self.set(false).await;
    }

    /// Reports SERVING as long as probes of the database succeed and the clocks agree. The process has just verified the
    /// database.
    pub async fn watch(
        self,
        service: Service,
        mut clock_agreement: watch::Receiver<bool>,
        stopping: CancellationToken,
    ) {
        let (mut is_available, mut streak) = (true, 0);
        let mut reported = None;
        let mut probes = interval_at(Instant::now() + PROBE_INTERVAL, PROBE_INTERVAL);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_serving = is_available && *clock_agreement.borrow_and_update();
            if reported.replace(is_serving) != Some(is_serving) {
                self.set(is_serving).await;
            }
            tokio::select! {
                () = stopping.cancelled() => return,
                Ok(()) = clock_agreement.changed() => continue,
                _ = probes.tick() => {}
            }
            let failure = probe(&service).await;
            let is_alive = failure.is_none();
            streak = if is_alive == is_available {
                0
            } else {
                streak + 1
            };
            let needed = if is_available {
                FAILURES_MAX
            } else {
                SUCCESSES_MIN
            };
            if streak >= needed {
                is_available = is_alive;
                streak = 0;
                tracing::warn!(
                    database.is_available = is_available,
                    health.failure = failure,
                    "the database became unavailable or available"
                );
            }
        }
    }

    async fn set(&self, is_serving: bool) {
        // The lock is held during the change, so that a concurrent drain is applied last.
        let is_draining = self.is_draining.lock().await;
        let is_serving = is_serving && !*is_draining;
        let status = if is_serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        self.readiness.send_replace(is_serving);
        for name in NAMES {
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// Why the database does not commit writes, or `None` if it does.
async fn probe(service: &Service) -> Option<String> {
    match tokio::time::timeout(PROBE_TIMEOUT, service.probe()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            let cause = error.source().map(|cause| format!(": {cause}"));
            Some(format!("{error}{}", cause.unwrap_or_default()))
        }
        Err(_) => Some("the database did not commit a row in time".to_owned()),
    }
}

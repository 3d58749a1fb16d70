//! The state that all handlers share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::body_memory::BodyMemory;
use crate::clock::Clock;
use crate::service::Service;

#[derive(Clone)]
pub(super) struct HttpState {
    pub(super) service: Service,
    pub(super) clock: Arc<dyn Clock>,
    /// Whether the gRPC health is SERVING.
    pub(super) readiness: watch::Receiver<bool>,
    /// From the head of a request to the end of its body.
    pub(super) body_timeout: Duration,
    pub(super) body_memory: BodyMemory,
}

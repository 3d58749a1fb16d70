//! The state that all handlers share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::service::Service;

#[derive(Clone)]
pub(super) struct HttpState {
    pub(super) service: Service,
    pub(super) clock: Arc<dyn Clock>,
    /// Whether the gRPC health is SERVING.
    pub(super) readiness: watch::Receiver<bool>,
}

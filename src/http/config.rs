//! The configuration of the HTTP server.

use std::net::SocketAddr;
use std::time::Duration;

use super::webhooks::{PostmarkPassword, WebhookSecret};
use crate::capacity::Capacity;

#[derive(Clone)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// Whether the server has all routes, or only health checks.
    pub serves_api: bool,
    /// The signing secret of Resend. Without it there is no route for its webhook.
    pub resend: Option<WebhookSecret>,
    /// The password of Postmark. Without it there is no route for its webhook.
    pub postmark: Option<PostmarkPassword>,
    pub timeouts: HttpTimeouts,
    /// The memory of the process for messages.
    pub memory: Capacity,
    /// How long running requests may take to finish at shutdown.
    pub drain_timeout: Duration,
}

#[derive(Debug, Clone, Copy)]
pub struct HttpTimeouts {
    /// From the connection or the previous response to the whole head of a request. Closes idle connections.
    pub head: Duration,
    /// From the head of a request to the end of its body.
    pub body: Duration,
    /// From the head of a request to its response.
    pub request: Duration,
    /// For all requests of one connection, so that no peer occupies a place forever.
    pub connection: Duration,
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            body: Duration::from_secs(5),
            request: Duration::from_secs(10),
            connection: Duration::from_mins(1),
        }
    }
}

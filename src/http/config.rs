//! The configuration of the HTTP server.

use std::net::SocketAddr;
use std::time::Duration;

use super::limits::HttpTimeouts;
use super::webhooks::{PostmarkPassword, WebhookSecret};

#[derive(Debug, Clone)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    /// Whether the server has all routes, or only health checks.
    pub serves_api: bool,
    /// The signing secret of Resend. Without it there is no route for its webhook.
    pub resend: Option<WebhookSecret>,
    /// The password of Postmark. Without it there is no route for its webhook.
    pub postmark: Option<PostmarkPassword>,
    pub timeouts: HttpTimeouts,
    /// How long running requests may take to finish at shutdown.
    pub drain_timeout: Duration,
}

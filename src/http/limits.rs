//! Every limit of the HTTP port, by name and with its reason.

use std::time::Duration;

/// Largest body, in bytes: a provider's report with the server's words in it has a few thousand.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Largest head of a request, in bytes: request line and headers.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a request.
pub const HEADERS_MAX: usize = 64;
/// Most connections at once that have asked for something, and with HTTP/1 requests too; further ones wait for a place.
pub const CONNECTIONS_MAX: usize = 256;
/// Most connections beside them that have not; the oldest is closed for each further one.
pub const PENDING_CONNECTIONS_MAX: usize = 256;
/// Longest id of a report; those of providers have about 30 characters.
pub const EVENT_ID_CHARS_MAX: usize = 200;
/// How far a signature's time may be from ours, either way (Standard Webhooks).
pub const SIGNATURE_AGE_MAX: time::Duration = time::Duration::minutes(5);
/// How long whoever finds the database away is asked to wait, in seconds.
pub const RETRY_DELAY_SECONDS: u16 = 30;
/// How long a peer may take.
#[derive(Debug, Clone, Copy)]
pub struct HttpTimeouts {
    /// For the head of a request, and before its first byte: an idle connection is closed then.
    pub head: Duration,
    /// For the rest of a request, and for us to answer it.
    pub request: Duration,
    /// For everything on one connection: who always has another request makes room for others too.
    pub connection: Duration,
}

impl Default for HttpTimeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(5),
            request: Duration::from_secs(10),
            connection: Duration::from_mins(1),
        }
    }
}

//! All limits of the HTTP port, with their reasons.

use crate::connections::ConnectionLimits;

/// Largest body of a report, in bytes. A report of a provider with the reply of a mail server has a few thousand.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Largest body of a request to unsubscribe, in bytes. Mail clients send about 200.
pub const UNSUBSCRIBE_BYTES_MAX: usize = 4 * 1024;
/// Most of the memory budget that the bodies of requests to unsubscribe get, in percent. A body that finds no room is
/// answered with 503, and its sender tries again.
pub const UNSUBSCRIBE_MEMORY_PERCENT: usize = 2;
/// The same for the reports of each provider.
pub const PROVIDER_MEMORY_PERCENT: usize = 6;
/// Most of the share of a provider that one network gets for reports whose signatures are not verified yet, in percent.
/// Anyone can send such a report, because its signature covers its body.
pub const UNVERIFIED_NETWORK_PERCENT: usize = 25;
/// Largest head of a request, in bytes: the request line and the headers.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a request.
pub const HEADERS_MAX: usize = 64;
/// Most connections. For a further one the least valuable is closed (`connections/connection_table.rs`).
pub const CONNECTIONS_MAX: usize = 512;
/// Most connections that have sent a valid link, signature or password. The others are a reservation for health checks
/// and new connections.
pub const AUTHENTICATED_CONNECTIONS_MAX: usize = 256;
/// Most connections that have authenticated in one way: by a link, or as one provider.
pub const CALLER_CONNECTIONS_MAX: usize = 192;
/// Most connections that were asked to close for another one and have not closed yet.
pub const CLOSING_CONNECTIONS_MAX: usize = 128;
pub(super) const CONNECTION_LIMITS: ConnectionLimits = ConnectionLimits {
    connections_max: CONNECTIONS_MAX,
    authenticated_max: AUTHENTICATED_CONNECTIONS_MAX,
    caller_max: CALLER_CONNECTIONS_MAX,
    // No user authenticates on this port.
    user_max: CALLER_CONNECTIONS_MAX,
    closing_max: CLOSING_CONNECTIONS_MAX,
};
/// Longest id of a report, in characters. Those of providers have about 30.
pub const EVENT_ID_CHARS_MAX: usize = 200;
/// Largest difference between the time of a signature and our time (Standard Webhooks).
pub const SIGNATURE_AGE_MAX: time::Duration = time::Duration::minutes(5);
/// The delay before a retry that the server asks for while the database is unavailable.
pub const RETRY_DELAY_SECONDS: u16 = 30;

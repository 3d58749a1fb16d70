//! All limits of the HTTP port, with their reasons.

/// Largest body, in bytes. A report of a provider with the reply of a mail server has a few thousand.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Largest head of a request, in bytes: the request line and the headers.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Most headers of a request.
pub const HEADERS_MAX: usize = 64;
/// Most admitted connections, and so most concurrent requests. The first request of a further one waits for a slot.
pub const CONNECTIONS_MAX: usize = 256;
/// Most connections that have not sent the head of a request. The oldest is closed for a further one.
pub const PENDING_CONNECTIONS_MAX: usize = 256;
/// Longest id of a report, in characters. Those of providers have about 30.
pub const EVENT_ID_CHARS_MAX: usize = 200;
/// Largest difference between the time of a signature and our time (Standard Webhooks).
pub const SIGNATURE_AGE_MAX: time::Duration = time::Duration::minutes(5);
/// The delay before a retry that the server asks for while the database is unavailable.
pub const RETRY_DELAY_SECONDS: u16 = 30;

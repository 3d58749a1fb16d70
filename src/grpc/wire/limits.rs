//! All limits of the gRPC port, with their reasons.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::connections::ConnectionLimits;
use crate::domain::invitation;
use crate::domain::new_invitation::ITEMS_MAX;

// Messages.

/// Largest request, in bytes: ten thousand items with small metadata. tonic answers OUT_OF_RANGE to a larger one.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest response, in bytes: ten thousand results with links that contain long redirect URLs. Every other response is
/// smaller than the 4 MiB that gRPC clients receive by default.
pub const RESPONSE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most bytes of a page, and of a response with invitations in the view FULL. A page ends before it is larger. Invitations
/// without room are returned in the view BASIC.
pub const ROWS_BYTES_MAX: usize = 4_000_000;
/// Most bytes of metadata, redirect URLs and personal messages that one call reads and returns. Invitations without room
/// are returned without them.
pub const LARGE_FIELDS_BYTES_MAX: usize = invitation::LARGE_FIELDS_BYTES_MAX;
/// Most bytes of all errors of items in one response, which share them evenly. Ten thousand results with such errors stay
/// below the 4 MiB that gRPC clients receive by default, whatever the items contain. Violations that do not fit are only
/// counted.
pub const ITEM_ERRORS_BYTES_MAX: usize = 3_200_000;
/// Largest invitation in the view BASIC: what the error of a result leaves free for the invitation beside it.
pub const BASIC_INVITATION_BYTES_MAX: usize = 170;
/// Longest id of an invitation that the result of its item repeats, in bytes.
pub const ECHOED_ID_BYTES_MAX: usize = 64;
/// Longest address that the result of its item repeats, in bytes: the longest valid one and white space around it.
pub const ECHOED_EMAIL_BYTES_MAX: usize = 320;
/// Field violations in one status. Details are sent in a header of about 8 KiB, so further violations are only counted.
pub const VIOLATIONS_IN_STATUS_MAX: usize = 40;
/// Page size of a request that sets none.
pub const PAGE_SIZE_DEFAULT: usize = 100;
pub const PAGE_SIZE_MAX: usize = 1_000;

/// Longest pause while a message arrives. Then it is refused, so that it keeps no memory.
pub const MESSAGE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// Longest time until a client has read a response, or a message of a stream. After that the call is reset.
pub const RESPONSE_DURATION_MAX: Duration = Duration::from_mins(1);
/// Longest time from the first byte of a message to its last.
pub const MESSAGE_DURATION_MAX: Duration = Duration::from_secs(30);
/// Largest message to health checks and reflection, which need no caller.
pub const PUBLIC_REQUEST_BYTES_MAX: usize = 4 * 1024;

// Memory.

/// Memory for the messages of all calls together, in bytes; a setting. Without calls a process needs about 64 MiB.
pub const MEMORY_BUDGET_DEFAULT: usize = 128 * 1024 * 1024;
/// The smallest budget. With less, a batch of the largest size would not fit into the share of a user.
pub const MEMORY_BUDGET_MIN: usize = 64 * 1024 * 1024;
/// Most of the budget that one service gets, in percent: room for a batch of the largest size.
pub const SERVICE_MEMORY_PERCENT: usize = 75;
/// Most of the budget that one user gets, in percent: room for ten thousand items without metadata.
pub const USER_MEMORY_PERCENT: usize = 33;
/// What the two chunks take that a stream uses while its next message arrives.
pub const CHUNKS_MEMORY_BYTES: usize = 8 * 1024 * 1024;
/// What a call needs beside its messages.
pub const CALL_MEMORY_BYTES: usize = 128 * 1024;
pub const BULK_CALL_MEMORY_BYTES: usize = 512 * 1024;
/// The same for a method that returns many rows: a page of the default size with much metadata.
pub const ROWS_MEMORY_BYTES: usize = 4 * 1024 * 1024;

// Connections.

/// Most connections. For a further one the least valuable is closed (`connections/connection_table.rs`).
pub const CONNECTIONS_MAX: usize = 1_024;
/// Most connections that have authenticated. The others are a reservation for health checks and new connections.
pub const AUTHENTICATED_CONNECTIONS_MAX: usize = 512;
/// Most connections of one service that have authenticated, and of one user, so that other callers find a place.
pub const CALLER_CONNECTIONS_MAX: usize = 256;
pub const USER_CONNECTIONS_MAX: usize = 32;
/// Most connections that were asked to close for another one and have not closed yet. For a further one the oldest of
/// them is dropped.
pub const CLOSING_CONNECTIONS_MAX: usize = 256;
pub(super) const CONNECTION_LIMITS: ConnectionLimits = ConnectionLimits {
    connections_max: CONNECTIONS_MAX,
    authenticated_max: AUTHENTICATED_CONNECTIONS_MAX,
    caller_max: CALLER_CONNECTIONS_MAX,
    user_max: USER_CONNECTIONS_MAX,
    closing_max: CLOSING_CONNECTIONS_MAX,
};
/// Longest time from a connection, or its TLS handshake, to its HTTP/2 preface.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the TLS files are read. They are small, and SPIFFE certificates live for an hour.
pub const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Longest header list, in bytes, with room for a large token. A longer list is refused, and a list of four times this
/// size ends the connection with all its calls. Other servers accept 64 KiB, so the margin is wide.
pub const HEADER_LIST_BYTES_MAX: u32 = 24 * 1024;
/// Most concurrent calls on one connection. tonic sets no limit by default.
pub const CONCURRENT_STREAMS_MAX: u32 = 128;
/// Resets that errors of the peer may cause before its connection ends. tonic sets no limit (RUSTSEC-2024-0003).
pub const LOCAL_ERROR_RESETS_MAX: usize = 1_024;
/// Resets of calls that were not accepted yet before the connection ends (CVE-2023-44487).
pub const PENDING_ACCEPT_RESETS_MAX: usize = 20;
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Age at which a connection is asked to reconnect, so that load moves to new replicas. There is no grace period,
/// because with one tonic cancels running calls.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_mins(15);
/// Random part of that age. Each process draws it once, so that replicas do not reconnect together.
pub const CONNECTION_AGE_JITTER: f64 = 0.1;
/// Flow control window of a call, in bytes. A call that is read slowly must not block the other calls of its
/// connection.
pub const CALL_WINDOW_BYTES: u32 = 256 * 1024;
/// Flow control window of a connection, in bytes.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;

// Calls.

/// Most concurrent calls over all connections. A further call is refused with UNAVAILABLE.
pub const CALLS_AT_ONCE_MAX: usize = 64;
/// Most concurrent calls of one service, and of one user, so that others are answered.
pub const CALLS_OF_SERVICE_MAX: usize = 48;
pub const CALLS_OF_USER_MAX: usize = 16;
pub const BULK_CALL_DURATION_MAX: Duration = Duration::from_secs(30);
pub const CALL_DURATION_MAX: Duration = Duration::from_secs(5);
/// How long before the caller's deadline the server answers, so that the answer arrives.
pub const DEADLINE_MARGIN: Duration = Duration::from_millis(5);
/// Longest delay before a retry that the server asks for.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);
pub const RETRY_DELAY_JITTER: f64 = 0.75;
/// Recipients per second that a caller may invite or resend to, in each process: a batch of the largest size every five
/// seconds. That is about a tenth of the capacity of a small database, so that other callers have room.
pub const CALLER_RATE_DEFAULT: u32 = 2_000;
/// Recipients that a caller may send at once after a pause: two batches of the largest size.
pub const CALLER_BURST: NonZeroU32 = {
    #[expect(clippy::cast_possible_truncation, reason = "a constant of five digits")]
    let burst = 2 * ITEMS_MAX as u32;
    NonZeroU32::new(burst).expect("a batch has items")
};
/// After how many calls the rate limiters of idle callers are removed.
pub const CALLERS_SWEPT_EVERY: u32 = 1_024;
/// Failed attempts to accept for one user within [`FAILED_ACCEPTS_WINDOW`], more than a user with the wrong link or
/// account needs.
pub const FAILED_ACCEPTS_MAX: usize = 20;
pub const FAILED_ACCEPTS_WINDOW: Duration = Duration::from_mins(1);
/// Users with failed attempts that are kept in memory, about 300 bytes each.
pub const FAILED_ACCEPTS_SWEPT_AT: usize = 10_000;

// Streams of items (BulkCreateStream).

/// Most concurrent streams. Each has up to three chunks in memory, and one connection to the database in use.
pub const STREAMS_AT_ONCE_MAX: usize = 32;
/// Most concurrent streams of one service, and of one user.
pub const STREAMS_OF_SERVICE_MAX: usize = 16;
pub const STREAMS_OF_USER_MAX: usize = 4;
/// Most streams and watches whose first message was not permitted yet, which are not counted as such. A service gets half
/// of them.
pub const STREAMS_OPENING_MAX: usize = 256;
/// Longest time until the header of a stream arrives.
pub const STREAM_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a stream waits for its caller to send or to read.
pub const STREAM_IDLE_MAX: Duration = Duration::from_mins(1);
/// Longest stream: millions of items. A withdrawn permission and a new replica take effect within this time.
pub const STREAM_AGE_MAX: Duration = Duration::from_hours(1);
/// How long a stream waits until the rate of its caller allows the next chunk. After that it is refused.
pub const STREAM_RATE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Most chunks that are processed at once: half of the default pool, so that other calls get a connection.
pub const STREAM_PARTS_AT_ONCE_MAX: usize = 8;
/// Items of a chunk, which are created together.
pub const CHUNK_ITEMS: usize = 1_000;
/// Bytes of a chunk; a single item may have more. With the results it stays within the 4 MiB that most clients accept.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// A chunk is processed when no item has followed for this long.
pub const CHUNK_LINGER: Duration = Duration::from_millis(100);
/// A chunk is processed at this age in any case.
pub const CHUNK_AGE_MAX: Duration = Duration::from_secs(1);

// Watches.

/// Most concurrent watches. Each uses memory, and runs a statement whenever something happens.
pub const WATCHES_AT_ONCE_MAX: usize = 256;
/// Most concurrent watches of one service, and of one user.
pub const WATCHES_OF_SERVICE_MAX: usize = 128;
pub const WATCHES_OF_USER_MAX: usize = 16;
/// Longest time without a message on a watch. Proxies close streams that are silent for a minute.
pub const WATCH_SILENCE_MAX: Duration = Duration::from_secs(25);
/// How often it is checked that a watching user is still an admin.
pub const WATCH_PERMISSION_INTERVAL: Duration = Duration::from_mins(1);

// Health and reflection, which need no caller.

/// Most concurrent streams of reflection, and watches of health. One address gets a quarter of them. Health checks are not
/// counted, because each ends soon.
pub const REFLECTIONS_AT_ONCE_MAX: usize = 64;
pub const HEALTH_WATCHES_AT_ONCE_MAX: usize = 256;
/// Longest watch of health.
pub const HEALTH_WATCH_AGE_MAX: Duration = Duration::from_hours(1);
/// How long a stream of reflection waits for its next request.
pub const REFLECTION_IDLE_MAX: Duration = Duration::from_secs(10);
/// Longest stream of reflection. A client such as grpcurl needs less than a second.
pub const REFLECTION_AGE_MAX: Duration = Duration::from_mins(1);

//! Every limit of the server, by name and with its reason.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::domain::new_invitation::ITEMS_MAX;

/// Largest request, in bytes: ten thousand items with small metadata. tonic answers OUT_OF_RANGE beyond.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest answer, in bytes: ten thousand results, each with its invitation.
pub const RESPONSE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most connections at once that speak HTTP/2; further ones wait for a place as long as they may take to begin.
pub const CONNECTIONS_MAX: usize = 512;
/// Most connections beside them that have not begun to speak; the oldest is closed for each further one.
pub const PENDING_CONNECTIONS_MAX: usize = 512;
/// How long a new connection may take to begin speaking HTTP/2, and to find a place.
pub const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a new connection may take to shake hands, before that begins.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the files of certificates are looked at. They are small, and SPIFFE's live for an hour.
pub const CERTIFICATE_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Longest header list, in bytes: room for a large token. A call with a longer one is refused, and with one of four
/// times that its connection ends with all its calls; so there is a wide margin to the 64 KiB that other servers take.
pub const HEADER_LIST_BYTES_MAX: u32 = 24 * 1024;
/// Most calls at once on one connection; tonic sends none.
pub const CONCURRENT_STREAMS_MAX: u32 = 128;
/// Resets caused by a peer's errors before the connection ends; tonic takes any number (RUSTSEC-2024-0003).
pub const LOCAL_ERROR_RESETS_MAX: usize = 1_024;
/// Resets of streams nobody has looked at yet before the connection ends (CVE-2023-44487).
pub const PENDING_ACCEPT_RESETS_MAX: usize = 20;
/// How often a silent peer is asked for a sign of life, and how long it may take to give one.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// See [`KEEPALIVE_INTERVAL`].
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Age at which a connection is asked to come anew, so that load spreads over new replicas. With a grace period beside
/// it tonic cuts calls off instead of letting them end, so there is none.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_mins(15);
/// How far chance shortens that age, once for each process, so that replicas do not ask in step.
pub const CONNECTION_AGE_JITTER: f64 = 0.1;
/// How much of a call may wait unread, in bytes, before its sender has to wait; and of all calls of a connection. A call
/// that is read slowly must not hold up the others of its connection.
pub const CALL_WINDOW_BYTES: u32 = 256 * 1024;
/// See [`CALL_WINDOW_BYTES`].
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// Streams of items at once over all connections: each holds up to three chunks and a message, and keeps one connection to
/// the database busy.
pub const STREAMS_AT_ONCE_MAX: usize = 32;
/// How long a stream waits for its caller, to send or to read.
pub const STREAM_IDLE_MAX: Duration = Duration::from_mins(1);
/// How long a stream may last: millions of items. What is withdrawn from a caller, and what moves load to new replicas,
/// takes effect by then.
pub const STREAM_AGE_MAX: Duration = Duration::from_hours(1);
/// How long a stream waits until its caller's rate lets the next chunk through; beyond, it is refused as a call is.
pub const STREAM_RATE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Parts of streams at work at once: half of the connections that the pool has by default, so that other calls find one.
pub const STREAM_PARTS_AT_ONCE_MAX: usize = 8;
/// Items that are made together.
pub const CHUNK_ITEMS: usize = 1_000;
/// Bytes of the items that are made together; a single item may have more. With their results they stay within the 4 MiB
/// that most clients take.
pub const CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// What was sent is made once nothing followed for so long.
pub const CHUNK_LINGER: Duration = Duration::from_millis(100);
/// What was sent is made after so long, whatever follows.
pub const CHUNK_AGE_MAX: Duration = Duration::from_secs(1);
/// Longest name that a caller may give an item, in bytes.
pub const ITEM_KEY_BYTES_MAX: usize = 64;
/// Calls at work at once over all connections; what comes beyond is told to try again.
pub const CALLS_AT_ONCE_MAX: usize = 64;
/// How long a bulk call may take.
pub const BULK_CALL_DURATION_MAX: Duration = Duration::from_secs(30);
/// How long any other call may take.
pub const CALL_DURATION_MAX: Duration = Duration::from_secs(5);
/// The server answers so much before the caller's deadline, so that the answer is its own.
pub const DEADLINE_MARGIN: Duration = Duration::from_millis(5);
/// How long a caller is asked to wait before it tries again, at most.
pub const RETRY_DELAY_MAX: Duration = Duration::from_secs(2);
/// How far chance shortens that wait.
pub const RETRY_DELAY_JITTER: f64 = 0.75;
/// Field violations named in one status: details travel in a header of about 8 KiB, and the rest is counted.
pub const VIOLATIONS_IN_STATUS_MAX: usize = 40;
/// Page size where none is asked for.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// Largest page.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// Recipients a second that a caller may invite or mail again, in each process, if nobody says otherwise: a batch of the
/// largest size every five seconds, about a tenth of what a small database takes, so that one caller leaves room for
/// others.
pub const CALLER_RATE_DEFAULT: u32 = 2_000;
/// Recipients that a caller may ask for at once after a rest: two batches of the largest size.
pub const CALLER_BURST: NonZeroU32 = {
    #[expect(clippy::cast_possible_truncation, reason = "a constant of five digits")]
    let burst = 2 * ITEMS_MAX as u32;
    NonZeroU32::new(burst).expect("a batch has items")
};
/// After how many calls the buckets that are full again are forgotten.
pub const CALLERS_SWEPT_EVERY: u32 = 1_024;
/// Attempts to accept that may fail for one user of a caller within [`FAILED_ACCEPTS_WINDOW`]: more than anybody needs
/// who took the wrong link or account.
pub const FAILED_ACCEPTS_MAX: usize = 20;
/// See [`FAILED_ACCEPTS_MAX`].
pub const FAILED_ACCEPTS_WINDOW: Duration = Duration::from_mins(1);
/// Users with failed attempts that are remembered at once, of about 300 bytes each.
pub const FAILED_ACCEPTS_SWEPT_AT: usize = 10_000;
/// Watches at once over all connections; each costs a place in memory and a statement whenever something happens.
pub const WATCHES_AT_ONCE_MAX: usize = 256;
/// How long a watch says nothing at most: proxies on the way end what is silent for a minute.
pub const WATCH_SILENCE_MAX: Duration = Duration::from_secs(25);
/// How often a watching user is asked for again among the admins.
pub const WATCH_PERMISSION_INTERVAL: Duration = Duration::from_mins(1);

//! The clock of the client.

use time::OffsetDateTime;

/// The current time in UTC.
#[expect(
    clippy::disallowed_methods,
    reason = "the only function of the client that reads the clock"
)]
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

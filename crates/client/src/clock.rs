//! The time of day.

use time::OffsetDateTime;

/// The time of day, in UTC.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place of the client that reads the clock"
)]
pub fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

//! The clock of the client.

use time::OffsetDateTime;

#[expect(
    clippy::disallowed_methods,
    reason = "the only function of the client that reads the clock"
)]
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

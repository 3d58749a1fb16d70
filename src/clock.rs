//! Time as a parameter: whoever needs the time of day asks a clock, and tests move one by hand.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use time::OffsetDateTime;

/// Tells the time of day, in UTC and whole microseconds, which is what the store keeps.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Now.
    fn now(&self) -> OffsetDateTime;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the machine"
    )]
    fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000)
            .unwrap_or(now)
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct MockClock {
    unix_micros: AtomicI64,
}

impl MockClock {
    /// A clock that stands at the given time.
    #[must_use]
    pub fn new(now: OffsetDateTime) -> Self {
        let micros = i64::try_from(now.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
        Self {
            unix_micros: AtomicI64::new(micros),
        }
    }

    /// Moves the clock on.
    pub fn advance(&self, duration: time::Duration) {
        let micros = i64::try_from(duration.whole_microseconds()).unwrap_or(i64::MAX);
        self.unix_micros.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for MockClock {
    fn now(&self) -> OffsetDateTime {
        let micros = self.unix_micros.load(Ordering::SeqCst);
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}

//! Clocks. Code that needs the time asks a [`Clock`], so that tests can control the time.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};

use time::OffsetDateTime;

pub trait Clock: fmt::Debug + Send + Sync {
    /// The current time in UTC and whole microseconds, which is what the database stores.
    fn now(&self) -> OffsetDateTime;
}

#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the system clock"
    )]
    fn now(&self) -> OffsetDateTime {
        let now = OffsetDateTime::now_utc();
        now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000)
            .unwrap_or(now)
    }
}

/// A clock of tests, which changes only when it is advanced.
#[derive(Debug)]
pub struct MockClock {
    unix_micros: AtomicI64,
}

impl MockClock {
    pub fn new(now: OffsetDateTime) -> Self {
        let micros = i64::try_from(now.unix_timestamp_nanos() / 1_000).unwrap_or(i64::MAX);
        Self {
            unix_micros: AtomicI64::new(micros),
        }
    }

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

//! Clocks. Code that needs the time asks a [`Clock`], so that tests can control the time.
//!
//! The server uses one clock for all decisions: the clock of the database, see [`database_clock`](crate::database_clock).

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use time::OffsetDateTime;

pub trait Clock: fmt::Debug + Send + Sync {
    /// The current time in UTC and whole microseconds, which is what the database stores.
    fn now(&self) -> OffsetDateTime;

    /// The time since a fixed moment. It never jumps, so limits that concern only this process use it.
    fn elapsed(&self) -> Duration;

    /// How long ago [`now`](Self::now) jumped for the last time, other than by the passage of time.
    fn steady_for(&self) -> Duration {
        Duration::MAX
    }
}

/// The clock of the machine. Only TLS uses it, and the comparison with the clock of the database.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the system clock"
    )]
    fn now(&self) -> OffsetDateTime {
        whole_micros(OffsetDateTime::now_utc())
    }

    fn elapsed(&self) -> Duration {
        since_boot()
    }
}

/// Cuts off what the database does not store.
pub(crate) fn whole_micros(time: OffsetDateTime) -> OffsetDateTime {
    time.replace_nanosecond(time.nanosecond() / 1_000 * 1_000)
        .unwrap_or(time)
}

/// The time since the machine started. Unlike [`Instant`](std::time::Instant), it continues while the machine sleeps.
#[cfg(target_os = "linux")]
pub(crate) fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

/// The time since this function was first called.
#[cfg(not(target_os = "linux"))]
pub(crate) fn since_boot() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> =
        std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
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

    fn elapsed(&self) -> Duration {
        let micros = self.unix_micros.load(Ordering::SeqCst);
        Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }
}

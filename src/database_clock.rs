//! The clock of the database, as this process knows it: a clock of the machine that never jumps, plus a measured offset.
//!
//! All processes decide by this clock when invitations and leases expire, and when emails are due. So their own clocks may
//! differ. The store measures the offset on each new connection, before the connection is used, and every few seconds.
//!
//! TLS checks certificates with the clock of the machine. If that clock differs too much, the process logs the difference
//! and reports NOT_SERVING.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch;

use crate::clock::{Clock, SystemClock, since_boot, whole_micros};

/// How far the clock of the machine may differ, unless set otherwise.
const DIFFERENCE_MAX_DEFAULT: Duration = Duration::from_secs(5);
/// A change of the offset that is not drift. It shortens no lease by more than its heartbeats make up for.
const JUMP_MIN: Duration = Duration::from_secs(1);

/// One answer of the database. The clocks of this machine are times of [`Clock::elapsed`].
#[derive(Debug, Clone, Copy)]
pub struct ClockReading {
    pub asked_at: Duration,
    pub database: OffsetDateTime,
    pub answered_at: Duration,
}

#[derive(Debug)]
pub struct DatabaseClock {
    difference_max: Duration,
    state: Mutex<ClockState>,
    agreement: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct ClockState {
    /// The time of the database when [`since_boot`] was zero. `None` until it is measured.
    zero: Option<OffsetDateTime>,
    jumped_at: Option<Duration>,
    /// The difference that was logged last, while it is too large.
    logged: Option<time::Duration>,
}

impl DatabaseClock {
    /// A clock that disagrees with the clock of the machine beyond this difference.
    pub fn new(difference_max: Duration) -> Self {
        Self {
            difference_max,
            state: Mutex::default(),
            agreement: watch::Sender::new(true),
        }
    }

    /// Whether the clock of the machine agrees with this one.
    pub fn agreement(&self) -> watch::Receiver<bool> {
        self.agreement.subscribe()
    }

    /// Sets the clock by an answer of the database, and compares it with the clock of the machine.
    pub fn set(&self, reading: ClockReading, machine: OffsetDateTime) {
        let mut state = self.state();
        state.set(reading);
        // What a slow answer may explain is no difference.
        let latest = reading.database + reading.answered_at.saturating_sub(reading.asked_at);
        let difference = machine - machine.clamp(reading.database, latest);
        let agrees = difference.unsigned_abs() <= self.difference_max;
        state.log(difference, agrees, self.difference_max);
        self.agreement.send_if_modified(|agreed| {
            let is_changed = *agreed != agrees;
            *agreed = agrees;
            is_changed
        });
    }

    fn state(&self) -> MutexGuard<'_, ClockState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for DatabaseClock {
    fn default() -> Self {
        Self::new(DIFFERENCE_MAX_DEFAULT)
    }
}

impl Clock for DatabaseClock {
    /// Before the first measurement, the time of the machine. No unit of work runs before it.
    fn now(&self) -> OffsetDateTime {
        let time = self.state().time_at(since_boot());
        time.unwrap_or_else(|| SystemClock.now())
    }

    fn elapsed(&self) -> Duration {
        since_boot()
    }

    fn steady_for(&self) -> Duration {
        let jumped_at = self.state().jumped_at;
        jumped_at.map_or(Duration::MAX, |at| since_boot().saturating_sub(at))
    }
}

impl ClockState {
    fn time_at(&self, elapsed: Duration) -> Option<OffsetDateTime> {
        self.zero.map(|zero| whole_micros(zero + elapsed))
    }

    /// The database read its clock at some moment between the question and the answer. The offset changes only if it
    /// contradicts that. So a slow answer does not make the offset worse, and a fast one makes it precise.
    fn set(&mut self, reading: ClockReading) {
        let earliest = reading.database - reading.answered_at;
        let latest = reading.database - reading.asked_at;
        let Some(zero) = self.zero else {
            self.zero = Some(earliest + (latest - earliest) / 2);
            return;
        };
        let corrected = zero.clamp(earliest, latest.max(earliest));
        let change = corrected - zero;
        if change.unsigned_abs() >= JUMP_MIN {
            self.jumped_at = Some(reading.answered_at);
            tracing::warn!(
                clock.change_ms = millis(change),
                "the clock of the database jumped, or another server answers with another clock"
            );
        }
        self.zero = Some(corrected);
    }

    /// Logs a difference when it becomes too large, when it changes much, and when it is gone.
    fn log(&mut self, difference: time::Duration, agrees: bool, difference_max: Duration) {
        if agrees {
            if self.logged.take().is_some() {
                tracing::warn!(
                    "the clock of this machine agrees with the clock of the database again"
                );
            }
            return;
        }
        let is_logged =
            |logged: time::Duration| (difference - logged).unsigned_abs() <= difference_max;
        if !self.logged.is_some_and(is_logged) {
            self.logged = Some(difference);
            tracing::error!(
                clock.difference_ms = millis(difference),
                "the clock of this machine differs from the clock of the database, so health is NOT_SERVING; \
                 correct the clock that is wrong"
            );
        }
    }
}

fn millis(duration: time::Duration) -> i64 {
    i64::try_from(duration.whole_milliseconds()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;

    fn reading(asked_ms: u64, database_ms: u64, answered_ms: u64) -> ClockReading {
        ClockReading {
            asked_at: Duration::from_millis(asked_ms),
            database: T + Duration::from_millis(database_ms),
            answered_at: Duration::from_millis(answered_ms),
        }
    }

    fn time_at(clock: &DatabaseClock, elapsed_ms: u64) -> OffsetDateTime {
        clock
            .state()
            .time_at(Duration::from_millis(elapsed_ms))
            .unwrap()
    }

    #[test]
    fn the_time_is_set_by_the_middle_of_a_round_trip_and_corrected_only_if_an_answer_contradicts_it()
     {
        let clock = DatabaseClock::default();
        let set = |reading| clock.set(reading, T);
        set(reading(1_000, 50_000, 1_200));
        assert_eq!(time_at(&clock, 1_100), T + Duration::from_secs(50));
        set(reading(2_000, 52_000, 4_000));
        assert_eq!(time_at(&clock, 3_100), T + Duration::from_secs(52));
        set(reading(5_000, 53_950, 5_010));
        assert_eq!(time_at(&clock, 5_010), T + Duration::from_millis(53_950));
        assert_eq!(clock.steady_for(), Duration::MAX);
        set(reading(6_000, 4_000, 6_000));
        assert_eq!(time_at(&clock, 6_000), T + Duration::from_secs(4));
        assert!(clock.steady_for() < Duration::MAX);
    }

    #[test]
    fn a_difference_beyond_the_maximum_ends_the_agreement_until_it_is_gone() {
        let clock = DatabaseClock::default();
        let agreement = clock.agreement();
        for (machine_ms, agrees) in [
            (100_000, true),
            (105_000, true),
            (105_001, false),
            (86_400_000, false),
            (95_000, true),
            (94_999, false),
            (100_000, true),
        ] {
            clock.set(
                reading(0, 100_000, 0),
                T + Duration::from_millis(machine_ms),
            );
            assert_eq!(*agreement.borrow(), agrees, "{machine_ms}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_that_of_the_machine() {
        let difference = DatabaseClock::default().now() - SystemClock.now();
        assert!(difference.unsigned_abs() < Duration::from_mins(1));
    }
}

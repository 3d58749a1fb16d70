//! Failed attempts to accept, by caller and user. After too many, further attempts have to wait.
//!
//! Tokens cannot be guessed, and attempts to guess should cost little. Counts in this process only. A token bucket would allow
//! more than the limit in some minutes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tonic::Status;

use crate::clock::Clock;
use crate::grpc::status;
use crate::grpc::wire::limits::{
    FAILED_ACCEPTS_MAX, FAILED_ACCEPTS_SWEPT_AT, FAILED_ACCEPTS_WINDOW,
};

type FailureKey = (String, String);

/// The failures of the last minute by [`Clock::elapsed`], oldest first.
pub(crate) struct FailedAccepts {
    clock: Arc<dyn Clock>,
    failures: Mutex<HashMap<FailureKey, VecDeque<Duration>>>,
}

impl FailedAccepts {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            failures: Mutex::default(),
        }
    }

    /// Refuses an attempt after too many failures, with `RATE_LIMITED` and the time until another one is allowed.
    pub(crate) fn check(&self, caller: &str, user_id: &str) -> Result<(), Status> {
        let now = self.clock.elapsed();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (caller.to_owned(), user_id.to_owned());
        match failures.get_mut(&key) {
            Some(times) => room(times, now),
            None => Ok(()),
        }
    }

    /// Counts a failure. Fails as [`check`](Self::check) does if it is one too many of several concurrent attempts.
    pub(crate) fn count(&self, caller: &str, user_id: &str) -> Result<(), Status> {
        let now = self.clock.elapsed();
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= FAILED_ACCEPTS_SWEPT_AT {
            failures.retain(|_, times| times.back().is_some_and(|last| is_recent(*last, now)));
            if failures.len() >= FAILED_ACCEPTS_SWEPT_AT {
                // This many are not users who mistyped a link. Memory stays bounded.
                failures.clear();
            }
        }
        let key = (caller.to_owned(), user_id.to_owned());
        let times = failures.entry(key).or_default();
        room(times, now)?;
        times.push_back(now);
        Ok(())
    }
}

fn is_recent(time: Duration, now: Duration) -> bool {
    time + FAILED_ACCEPTS_WINDOW > now
}

/// Removes old failures, and refuses if there is no room for another one.
fn room(times: &mut VecDeque<Duration>, now: Duration) -> Result<(), Status> {
    while times.front().is_some_and(|first| !is_recent(*first, now)) {
        times.pop_front();
    }
    match times.front() {
        Some(first) if times.len() >= FAILED_ACCEPTS_MAX => {
            let delay = (*first + FAILED_ACCEPTS_WINDOW).saturating_sub(now);
            Err(status::rate_limited(delay))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MockClock;
    use time::OffsetDateTime;
    use tonic_types::StatusExt as _;

    #[test]
    fn so_many_fail_in_any_minute_and_not_one_more() {
        let clock = Arc::new(MockClock::new(OffsetDateTime::UNIX_EPOCH));
        let failed = FailedAccepts::new(Arc::clone(&clock) as Arc<dyn Clock>);
        for _ in 0..FAILED_ACCEPTS_MAX {
            failed.check("a", "u").unwrap();
            failed.count("a", "u").unwrap();
            clock.advance(time::Duration::seconds(1));
        }
        let refused = failed.check("a", "u").unwrap_err();
        assert!(failed.count("a", "u").is_err());
        assert!(failed.check("a", "v").is_ok() && failed.check("b", "u").is_ok());
        let delay = refused
            .get_details_retry_info()
            .unwrap()
            .retry_delay
            .unwrap();
        assert_eq!(delay, Duration::from_secs(40));
        clock.advance(time::Duration::seconds(40));
        failed.count("a", "u").unwrap();
        assert!(failed.check("a", "u").is_err());
    }

    #[test]
    fn memory_ends() {
        let clock = Arc::new(MockClock::new(OffsetDateTime::UNIX_EPOCH));
        let failed = FailedAccepts::new(clock);
        for user in 0..2 * FAILED_ACCEPTS_SWEPT_AT {
            failed.count("a", &user.to_string()).unwrap();
        }
        assert!(failed.failures.lock().unwrap().len() <= FAILED_ACCEPTS_SWEPT_AT);
    }
}

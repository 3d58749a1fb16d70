//! The rates of callers in this process: recipients per second, and failed attempts to accept.
//!
//! A caller that is too fast costs no database access. Limits over all processes are quotas, in the database.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter, clock as governor_clock};
use tonic::Status;

use crate::clock::Clock;
use crate::grpc::admission::failed_accepts::FailedAccepts;
use crate::grpc::status;
use crate::grpc::wire::limits::{CALLER_BURST, CALLERS_SWEPT_EVERY};

pub(crate) struct CallerRates {
    recipients: Option<RecipientBuckets>,
    pub(crate) failed_accepts: FailedAccepts,
}

struct RecipientBuckets {
    limiter: BucketLimiter,
    clock: BucketClock,
    spent: AtomicU32,
}

type BucketLimiter =
    RateLimiter<String, HashMapStateStore<String>, BucketClock, NoOpMiddleware<Duration>>;

/// The time of this process, whatever happens to the clock of the database.
#[derive(Clone)]
struct BucketClock(Arc<dyn Clock>);

impl governor_clock::Clock for BucketClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl CallerRates {
    /// Buckets that fill with this many recipients per second. `None` is no limit.
    pub(crate) fn new(clock: &Arc<dyn Clock>, recipients_per_second: Option<NonZeroU32>) -> Self {
        let recipients = recipients_per_second.map(|rate| {
            let clock = BucketClock(Arc::clone(clock));
            let quota = Quota::per_second(rate).allow_burst(CALLER_BURST);
            RecipientBuckets {
                limiter: RateLimiter::new(quota, HashMapStateStore::default(), clock.clone()),
                clock,
                spent: AtomicU32::new(0),
            }
        });
        Self {
            recipients,
            failed_accepts: FailedAccepts::new(Arc::clone(clock)),
        }
    }

    /// Takes recipients out of the bucket of a caller, or fails with `RATE_LIMITED` and the time until the bucket has enough.
    pub(crate) fn spend(&self, caller: &str, recipients: usize) -> Result<(), Status> {
        self.try_spend(caller, recipients)
            .map_err(status::rate_limited)
    }

    /// [`spend`](Self::spend), whose error is the time alone.
    pub(crate) fn try_spend(&self, caller: &str, recipients: usize) -> Result<(), Duration> {
        let Some(buckets) = &self.recipients else {
            return Ok(());
        };
        let count = u32::try_from(recipients).unwrap_or(u32::MAX);
        let Some(count) = NonZeroU32::new(count).map(|count| count.min(CALLER_BURST)) else {
            return Ok(());
        };
        // A full bucket is the same as none, so full buckets are removed from time to time.
        if buckets.spent.fetch_add(1, Ordering::Relaxed) % CALLERS_SWEPT_EVERY == 0 {
            buckets.limiter.retain_recent();
        }
        match buckets.limiter.check_key_n(&caller.to_owned(), count) {
            Ok(Err(not_until)) => {
                let now = governor_clock::Clock::now(&buckets.clock);
                Err(not_until.wait_time_from(now))
            }
            // The count never exceeds what a bucket can hold.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MockClock;
    use time::OffsetDateTime;
    use tonic_types::StatusExt as _;

    #[test]
    fn a_bucket_holds_its_burst_and_fills_with_time() {
        let clock = Arc::new(MockClock::new(OffsetDateTime::UNIX_EPOCH));
        let as_clock = Arc::clone(&clock) as Arc<dyn Clock>;
        let rates = CallerRates::new(&as_clock, NonZeroU32::new(1_000));
        let burst = usize::try_from(CALLER_BURST.get()).unwrap();
        assert!(rates.spend("a", burst).is_ok());
        let refused = rates.spend("a", 500).unwrap_err();
        let delay = refused.get_details_retry_info().unwrap().retry_delay;
        assert_eq!(delay, Some(Duration::from_millis(500)));
        assert!(
            rates.spend("b", 1).is_ok(),
            "another caller has its own bucket"
        );
        clock.advance(time::Duration::milliseconds(499));
        assert!(rates.spend("a", 500).is_err());
        clock.advance(time::Duration::milliseconds(1));
        assert!(rates.spend("a", 500).is_ok());
        assert!(rates.spend("a", 1).is_err());
        assert!(rates.spend("a", 0).is_ok());
        let buckets = rates.recipients.as_ref().unwrap();
        clock.advance(time::Duration::minutes(1));
        for _ in 0..CALLERS_SWEPT_EVERY {
            rates.spend("c", 1).unwrap();
        }
        assert_eq!(buckets.limiter.len(), 1, "full buckets are removed");
        let unlimited = CallerRates::new(&as_clock, None);
        assert!((0..100).all(|_| unlimited.spend("a", burst).is_ok()));
    }
}

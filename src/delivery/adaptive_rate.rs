//! A rate limiter that adapts to the relay.
//!
//! It halves the rate when the relay asks for less email, and then raises it by a tenth each minute. Before the first
//! such request only the operator's ceiling limits the rate.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The factor by which a rate grows in a minute without a complaint.
const GROWTH_PER_MINUTE: f64 = 1.1;
/// In sends per second. A lower rate would not show whether the relay has recovered.
const RATE_MIN: f64 = 0.5;
/// The first complaint halves at least this rate: the rate of a quiet hour says nothing about what the relay accepts.
const FIRST_RATE_MIN: f64 = 10.0;
/// In sends per second. A higher rate is no limit any more.
const RATE_FREE: f64 = 100_000.0;
/// Complaints about emails that were in flight together count once.
const COMPLAINT_SPAN: Duration = Duration::from_secs(2);
/// The period over which the current rate is measured.
const MEASURE_SPAN: Duration = Duration::from_secs(10);

/// A token bucket, shared by every task that sends over a lane.
#[derive(Debug)]
pub(super) struct AdaptiveRate {
    ceiling: Option<f64>,
    state: Mutex<RateState>,
}

#[derive(Debug)]
struct RateState {
    /// In sends per second; `None` without a limit.
    rate: Option<f64>,
    /// Sends that are allowed now. At most those of one second, so that idle time does not accumulate.
    tokens: f64,
    refilled_at: Instant,
    slowed_at: Option<Instant>,
    measured_since: Instant,
    measured: u32,
}

impl AdaptiveRate {
    pub(super) fn new(ceiling: Option<f64>) -> Self {
        let now = Instant::now();
        Self {
            ceiling,
            state: Mutex::new(RateState {
                rate: ceiling,
                tokens: ceiling.map_or(0.0, burst),
                refilled_at: now,
                slowed_at: None,
                measured_since: now,
                measured: 0,
            }),
        }
    }

    /// How many of `wanted` sends are allowed now.
    pub(super) fn available(&self, wanted: usize) -> usize {
        let state = self.refilled();
        state
            .rate
            .map_or(wanted, |_| wanted.min(whole(state.tokens)))
    }

    /// The most sends that are ever allowed at once.
    pub(super) fn burst(&self) -> usize {
        let rate = self.refilled().rate;
        rate.map_or(usize::MAX, |rate| whole(burst(rate)))
    }

    pub(super) fn consume(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let mut state = self.refilled();
        state.measured = state.measured.saturating_add(count);
        if state.rate.is_some() {
            state.tokens -= f64::from(count);
        }
    }

    /// The current rate in sends per second.
    pub(super) fn recent(&self) -> f64 {
        self.refilled().measure()
    }

    /// Waits until one send is allowed, and counts it.
    pub(super) async fn acquire(&self) {
        while self.available(1) == 0 {
            let next_at = self.next_at().unwrap_or_else(Instant::now);
            sleep_until(next_at).await;
        }
        self.consume(1);
    }

    /// When the next send is allowed; `None` if one is allowed now.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let state = self.refilled();
        let missing = 1.0 - state.tokens;
        let rate = state.rate.filter(|_| missing > 0.0)?;
        Some(state.refilled_at + Duration::from_secs_f64(missing / rate))
    }

    /// Halves the rate, because the relay asked for less.
    pub(super) fn slow_down(&self) {
        let mut state = self.refilled();
        let now = state.refilled_at;
        if state.slowed_at.is_some_and(|at| now - at < COMPLAINT_SPAN) {
            return;
        }
        let measured = state.measure().max(FIRST_RATE_MIN);
        let rate = state.rate.unwrap_or(f64::INFINITY).min(measured);
        state.rate = Some((rate / 2.0).max(RATE_MIN));
        state.tokens = 0.0;
        state.slowed_at = Some(now);
        tracing::warn!(
            lane.rate = state.rate,
            "the relay asks for less email; halving the rate"
        );
    }

    /// The state as of now.
    fn refilled(&self) -> MutexGuard<'_, RateState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.refill(self.ceiling, Instant::now());
        state
    }
}

impl RateState {
    /// The rate at the last refill, in sends per second.
    fn measure(&self) -> f64 {
        let span = (self.refilled_at - self.measured_since).max(Duration::from_secs(1));
        f64::from(self.measured) / span.as_secs_f64()
    }

    fn refill(&mut self, ceiling: Option<f64>, now: Instant) {
        let elapsed = now - self.refilled_at;
        self.refilled_at = now;
        if now - self.measured_since > MEASURE_SPAN {
            // Half of the period is kept, so that there is always something to measure.
            self.measured /= 2;
            self.measured_since = now - MEASURE_SPAN / 2;
        }
        let Some(rate) = self.rate else {
            return;
        };
        let grown = rate * GROWTH_PER_MINUTE.powf(elapsed.as_secs_f64() / 60.0);
        let rate = grown.min(ceiling.unwrap_or(f64::INFINITY));
        self.tokens = (self.tokens + rate * elapsed.as_secs_f64()).min(burst(rate));
        self.rate = (rate < RATE_FREE).then_some(rate);
    }
}

/// The sends of one second, and at least one.
fn burst(rate: f64) -> f64 {
    rate.max(1.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and RATE_FREE"
)]
fn whole(tokens: f64) -> usize {
    tokens.clamp(0.0, RATE_FREE) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(limiter: &AdaptiveRate, wanted: usize) -> usize {
        let room = limiter.available(wanted);
        limiter.consume(room);
        room
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn there_is_no_limit_before_the_first_complaint() {
        let limiter = AdaptiveRate::new(None);
        assert_eq!(take(&limiter, 10_000), 10_000);
        assert_eq!(limiter.next_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ceiling_is_never_exceeded() {
        let limiter = AdaptiveRate::new(Some(5.0));
        assert_eq!(take(&limiter, 100), 5);
        assert_eq!(take(&limiter, 100), 0);
        assert_eq!(
            limiter.next_at(),
            Some(Instant::now() + Duration::from_millis(200))
        );
        let mut sent = 0;
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(100)).await;
            sent += take(&limiter, 100);
        }
        assert!((49..=50).contains(&sent), "{sent} in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_complaint_halves_the_rate_and_time_raises_it_again() {
        let limiter = AdaptiveRate::new(None);
        for _ in 0..5 {
            take(&limiter, 100);
            tokio::time::advance(SECOND).await;
        }
        limiter.slow_down();
        limiter.slow_down();
        let rate = limiter.refilled().rate.unwrap();
        assert!((49.0..=51.0).contains(&rate), "{rate} of 100 a second");
        assert_eq!(take(&limiter, 100), 0, "no send is allowed at once");
        tokio::time::advance(Duration::from_mins(1)).await;
        take(&limiter, 0);
        let grown = limiter.refilled().rate.unwrap();
        assert!((grown / rate - 1.1).abs() < 0.01, "{grown} after {rate}");
        for _ in 0..100 {
            tokio::time::advance(COMPLAINT_SPAN).await;
            limiter.slow_down();
        }
        let slowest = limiter.refilled().rate.unwrap();
        assert!((slowest - RATE_MIN).abs() < 0.01, "{slowest}");
        assert!(limiter.next_at().is_some());
        tokio::time::advance(Duration::from_hours(4)).await;
        take(&limiter, 0);
        assert_eq!(limiter.refilled().rate, None, "the limit ends at last");
    }

    #[tokio::test(start_paused = true)]
    async fn growth_ends_at_the_ceiling() {
        let limiter = AdaptiveRate::new(Some(10.0));
        limiter.slow_down();
        tokio::time::advance(Duration::from_hours(4)).await;
        assert_eq!(take(&limiter, 100), 10);
    }
}

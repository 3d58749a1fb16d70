//! A rate limiter that adapts to the relay, as the rule of `slow_start` says.
//!
//! Before the relay first asks for less email, only the operator's ceiling limits the rate.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::slow_start::{RATE_FREE, SlowStart};

/// The period over which the current rate is measured.
const MEASURE_SPAN: Duration = Duration::from_secs(10);
/// The shortest period when the relay complains: the first emails after a quiet time are measured over it.
const COMPLAINT_SPAN_MIN: Duration = Duration::from_millis(100);
/// The shortest period otherwise, so that a few emails sent at once are no high rate.
const RECENT_SPAN_MIN: Duration = Duration::from_secs(1);
/// After this time without a send, measuring starts again: the rate of a quiet hour says nothing about what the relay
/// accepts.
const MEASURE_RESTART: Duration = Duration::from_secs(1);

/// A token bucket, shared by every task that sends over a lane.
#[derive(Debug)]
pub(super) struct AdaptiveRate(Mutex<RateState>);

#[derive(Debug)]
struct RateState {
    rule: SlowStart,
    /// Sends that are allowed now. At most those of one second, so that idle time does not accumulate.
    tokens: f64,
    refilled_at: Instant,
    sent_at: Instant,
    measured_since: Instant,
    measured: u32,
}

impl AdaptiveRate {
    pub(super) fn new(ceiling: Option<f64>) -> Self {
        let now = Instant::now();
        Self(Mutex::new(RateState {
            rule: SlowStart::new(ceiling),
            tokens: ceiling.map_or(0.0, burst),
            refilled_at: now,
            sent_at: now,
            measured_since: now,
            measured: 0,
        }))
    }

    /// How many of `wanted` sends are allowed now.
    pub(super) fn available(&self, wanted: usize) -> usize {
        let state = self.refilled();
        let rate = state.rule.rate();
        rate.map_or(wanted, |_| wanted.min(whole(state.tokens)))
    }

    /// The most sends that are ever allowed at once.
    pub(super) fn burst(&self) -> usize {
        let rate = self.refilled().rule.rate();
        rate.map_or(usize::MAX, |rate| whole(burst(rate)))
    }

    pub(super) fn consume(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let mut state = self.refilled();
        let now = state.refilled_at;
        if now - state.sent_at > MEASURE_RESTART {
            (state.measured, state.measured_since) = (0, now);
        }
        state.sent_at = now;
        state.measured = state.measured.saturating_add(count);
        if state.rule.rate().is_some() {
            state.tokens -= f64::from(count);
        }
    }

    /// The current rate in sends per second.
    pub(super) fn recent(&self) -> f64 {
        self.refilled().measure(RECENT_SPAN_MIN)
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
        let rate = state.rule.rate().filter(|_| missing > 0.0)?;
        Some(state.refilled_at + Duration::from_secs_f64(missing / rate))
    }

    /// Lowers the rate, because the relay asked for less.
    pub(super) fn slow_down(&self) {
        let mut state = self.refilled();
        let measured = state.measure(COMPLAINT_SPAN_MIN);
        let now = state.refilled_at;
        if state.rule.complain(measured, now) {
            state.tokens = 0.0;
            tracing::warn!(
                lane.rate = state.rule.rate(),
                "the relay asks for less email; lowering the rate"
            );
        }
    }

    /// Records that the relay closed a new connection for a reason of policy. Returns whether the relay asks for less
    /// email by that.
    pub(super) fn is_closing_repeated(&self) -> bool {
        let mut state = self.refilled();
        let now = state.refilled_at;
        state.rule.close(now)
    }

    /// Records that the relay accepted an email.
    pub(super) fn accept(&self) {
        self.refilled().rule.accept();
    }

    /// The state as of now.
    fn refilled(&self) -> MutexGuard<'_, RateState> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.refill(Instant::now());
        state
    }
}

impl RateState {
    /// The rate at the last refill, in sends per second, over a period of at least `span_min`.
    fn measure(&self, span_min: Duration) -> f64 {
        let span = (self.refilled_at - self.measured_since).max(span_min);
        f64::from(self.measured) / span.as_secs_f64()
    }

    fn refill(&mut self, now: Instant) {
        let elapsed = now - self.refilled_at;
        self.refilled_at = now;
        if now - self.measured_since > MEASURE_SPAN {
            // Half of the period is kept, so that there is always something to measure.
            self.measured /= 2;
            self.measured_since = now - MEASURE_SPAN / 2;
        }
        self.rule.grow(elapsed, now);
        if let Some(rate) = self.rule.rate() {
            self.tokens = (self.tokens + rate * elapsed.as_secs_f64()).min(burst(rate));
        }
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
    async fn a_complaint_halves_the_measured_rate_and_stops_sends_that_are_due() {
        let limiter = AdaptiveRate::new(None);
        for _ in 0..5 {
            take(&limiter, 100);
            tokio::time::advance(SECOND).await;
        }
        limiter.slow_down();
        let rate = limiter.refilled().rule.rate().unwrap();
        assert!((49.0..=51.0).contains(&rate), "{rate} of 100 a second");
        assert_eq!(take(&limiter, 100), 0, "no send is allowed at once");
        assert!(limiter.next_at().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_closed_for_policy_is_repeated_within_two_seconds() {
        let limiter = AdaptiveRate::new(None);
        assert!(!limiter.is_closing_repeated(), "the first one");
        assert!(limiter.is_closing_repeated());
        tokio::time::advance(Duration::from_millis(1_999)).await;
        assert!(limiter.is_closing_repeated());
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!limiter.is_closing_repeated(), "a first one again");
        assert_eq!(take(&limiter, 2_000), 2_000, "the rate has not changed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_hour_does_not_lower_the_measured_rate() {
        let limiter = AdaptiveRate::new(None);
        take(&limiter, 100);
        tokio::time::advance(Duration::from_hours(1)).await;
        take(&limiter, 50);
        tokio::time::advance(COMPLAINT_SPAN_MIN).await;
        limiter.slow_down();
        let rate = limiter.refilled().rule.rate().unwrap();
        assert!((rate - 250.0).abs() < 1.0, "{rate} of 500 a second");
    }
}

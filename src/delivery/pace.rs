//! How fast a lane sends: as fast as its relay likes, found out by asking.
//!
//! Additive increase and multiplicative decrease, as TCP does it: a relay that asks for less mail gets half as much, and
//! a tenth more each minute from then on. Until one asks, nothing is held back but by an operator's ceiling.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// What a rate grows by in a minute without a complaint.
const GROWTH_PER_MINUTE: f64 = 1.1;
/// Slowest rate, in mails a second: slower says nothing of whether the relay has recovered.
const RATE_MIN: f64 = 0.5;
/// What counts as fast enough to be halved: a complaint at a quiet hour says nothing of what the relay takes at others.
const FIRST_RATE_MIN: f64 = 10.0;
/// A rate above this holds nothing back any more, in mails a second.
const RATE_FREE: f64 = 100_000.0;
/// Complaints of mails that were on their way together count as one.
const COMPLAINT_SPAN: Duration = Duration::from_secs(2);
/// Over how long the rate is measured that a first complaint halves.
const MEASURE_SPAN: Duration = Duration::from_secs(10);

/// A rate that adapts, shared by everything that sends over a lane.
#[derive(Debug)]
pub(super) struct Pace {
    ceiling: Option<f64>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Mails a second; `None` holds nothing back.
    rate: Option<f64>,
    /// Mails that may go now. At most what one second gives, so that a rest is not made up for.
    tokens: f64,
    refilled_at: Instant,
    slowed_at: Option<Instant>,
    measured_since: Instant,
    measured: u32,
}

impl Pace {
    /// A pace under an operator's ceiling, in mails a second.
    pub(super) fn new(ceiling: Option<f64>) -> Self {
        let now = Instant::now();
        Self {
            ceiling,
            state: Mutex::new(State {
                rate: ceiling,
                tokens: ceiling.map_or(0.0, burst),
                refilled_at: now,
                slowed_at: None,
                measured_since: now,
                measured: 0,
            }),
        }
    }

    /// How many of `wanted` mails may go now.
    pub(super) fn room(&self, wanted: usize) -> usize {
        let mut state = self.state();
        state.refill(self.ceiling, Instant::now());
        match state.rate {
            None => wanted,
            Some(_) => wanted.min(whole(state.tokens)),
        }
    }

    /// Most mails that ever go at once.
    pub(super) fn burst(&self) -> usize {
        let mut state = self.state();
        state.refill(self.ceiling, Instant::now());
        state.rate.map_or(usize::MAX, |rate| whole(burst(rate)))
    }

    /// So many mails go now.
    pub(super) fn spend(&self, count: usize) {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let mut state = self.state();
        state.measured = state.measured.saturating_add(count);
        if state.rate.is_some() {
            state.tokens -= f64::from(count);
        }
    }

    /// Mails a second of late.
    pub(super) fn recent(&self) -> f64 {
        let mut state = self.state();
        let now = Instant::now();
        state.refill(self.ceiling, now);
        state.measure(now)
    }

    /// Waits for the turn of one, which counts as gone then.
    pub(super) async fn turn(&self) {
        while self.room(1) == 0 {
            let next_at = self.next_at().unwrap_or_else(Instant::now);
            sleep_until(next_at).await;
        }
        self.spend(1);
    }

    /// When the next mail may go; `None` if one may go now.
    pub(super) fn next_at(&self) -> Option<Instant> {
        let mut state = self.state();
        state.refill(self.ceiling, Instant::now());
        let missing = 1.0 - state.tokens;
        let rate = state.rate.filter(|_| missing > 0.0)?;
        Some(state.refilled_at + Duration::from_secs_f64(missing / rate))
    }

    /// The relay asks for less.
    pub(super) fn slow_down(&self) {
        let mut state = self.state();
        let now = Instant::now();
        if state.slowed_at.is_some_and(|at| now - at < COMPLAINT_SPAN) {
            return;
        }
        state.refill(self.ceiling, now);
        let measured = state.measure(now).max(FIRST_RATE_MIN);
        let rate = state.rate.unwrap_or(f64::INFINITY).min(measured);
        state.rate = Some((rate / 2.0).max(RATE_MIN));
        state.tokens = 0.0;
        state.slowed_at = Some(now);
        tracing::warn!(
            lane.rate = state.rate,
            "the relay asks for less mail; slowing down"
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn measure(&self, now: Instant) -> f64 {
        let span = (now - self.measured_since).max(Duration::from_secs(1));
        f64::from(self.measured) / span.as_secs_f64()
    }

    fn refill(&mut self, ceiling: Option<f64>, now: Instant) {
        let elapsed = now - self.refilled_at;
        self.refilled_at = now;
        if now - self.measured_since > MEASURE_SPAN {
            // Half of the last span stays, so that a measure right after its turn is none of nothing.
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

/// What may go at once: what one second gives, and never less than one mail.
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

    fn take(pace: &Pace, wanted: usize) -> usize {
        let room = pace.room(wanted);
        pace.spend(room);
        room
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn nothing_is_held_back_until_somebody_asks_for_it() {
        let pace = Pace::new(None);
        assert_eq!(take(&pace, 10_000), 10_000);
        assert_eq!(pace.next_at(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_ceiling_holds() {
        let pace = Pace::new(Some(5.0));
        assert_eq!(take(&pace, 100), 5);
        assert_eq!(take(&pace, 100), 0);
        assert_eq!(
            pace.next_at(),
            Some(Instant::now() + Duration::from_millis(200))
        );
        let mut sent = 0;
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(100)).await;
            sent += take(&pace, 100);
        }
        assert!((49..=50).contains(&sent), "{sent} in ten seconds");
    }

    #[tokio::test(start_paused = true)]
    async fn a_complaint_halves_the_rate_and_time_raises_it_again() {
        let pace = Pace::new(None);
        for _ in 0..5 {
            take(&pace, 100);
            tokio::time::advance(SECOND).await;
        }
        pace.slow_down();
        pace.slow_down();
        let rate = pace.state().rate.unwrap();
        assert!((49.0..=51.0).contains(&rate), "{rate} of 100 a second");
        assert_eq!(take(&pace, 100), 0, "at once nothing");
        tokio::time::advance(Duration::from_mins(1)).await;
        take(&pace, 0);
        let grown = pace.state().rate.unwrap();
        assert!((grown / rate - 1.1).abs() < 0.01, "{grown} after {rate}");
        for _ in 0..100 {
            tokio::time::advance(COMPLAINT_SPAN).await;
            pace.slow_down();
        }
        let slowest = pace.state().rate.unwrap();
        assert!((slowest - RATE_MIN).abs() < 0.01, "{slowest}");
        assert!(pace.next_at().is_some());
        tokio::time::advance(Duration::from_hours(4)).await;
        take(&pace, 0);
        assert_eq!(pace.state().rate, None, "forgotten in the end");
    }

    #[tokio::test(start_paused = true)]
    async fn growth_ends_at_the_ceiling() {
        let pace = Pace::new(Some(10.0));
        pace.slow_down();
        tokio::time::advance(Duration::from_hours(4)).await;
        assert_eq!(take(&pace, 100), 10);
    }
}

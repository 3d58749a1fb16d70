//! Whether a lane may be used: after a fault that concerns the relay and not a mail, it is left alone for a while.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_mins(10);
/// Of so many mails …
const POLICY_WINDOW: usize = 20;
/// … so many refused for policy mean that the fault is ours, and that going on would ruin our name.
const POLICY_REFUSALS_MAX: usize = 10;

/// The state of the way to a relay, shared by everything that sends over it.
#[derive(Debug)]
pub(super) struct Breaker {
    first_pause: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    closed_until: Option<Instant>,
    /// Of the last mails that were judged: whether policy refused them.
    judged: VecDeque<bool>,
}

impl Breaker {
    /// A way that may be used.
    pub(super) fn new(first_pause: Duration) -> Self {
        Self {
            first_pause,
            state: Mutex::default(),
        }
    }

    /// Until when the relay is left alone; `None` if it may be used.
    pub(super) fn closed_until(&self) -> Option<Instant> {
        let state = self.state();
        state.closed_until.filter(|until| *until > Instant::now())
    }

    /// The relay judged a mail for the mail's own sake, so it works. Returns the pause where too many of the last mails
    /// were refused for policy.
    pub(super) fn judged(&self, is_policy_refusal: bool) -> Option<Duration> {
        let mut state = self.state();
        if state.judged.len() == POLICY_WINDOW {
            state.judged.pop_front();
        }
        state.judged.push_back(is_policy_refusal);
        let refusals = state.judged.iter().filter(|refused| **refused).count();
        if refusals >= POLICY_REFUSALS_MAX {
            state.judged.clear();
            return Some(state.close(self.first_pause));
        }
        // What was in flight when the relay failed says nothing about the relay since, and a refusal for policy is no
        // sign that the next mails fare better.
        let is_open = state
            .closed_until
            .is_none_or(|until| until <= Instant::now());
        if is_open && !is_policy_refusal {
            state.failures = 0;
            state.closed_until = None;
        }
        None
    }

    /// The relay failed, and asked to be left alone for so long at least; returns how long it is left alone, if it was
    /// not left alone already. Failures of mails in flight at once count as one.
    pub(super) fn failed(&self, asked: Duration) -> Option<Duration> {
        let mut state = self.state();
        let was_open = state
            .closed_until
            .is_none_or(|until| until <= Instant::now());
        let mut pause = state.close(self.first_pause);
        if pause < asked {
            state.closed_until = Some(Instant::now() + asked);
            pause = asked;
        }
        was_open.then_some(pause)
    }

    /// The relay works, and asked to be left alone for so long: no longer, however often it asks.
    pub(super) fn rest(&self, asked: Duration) {
        let mut state = self.state();
        let until = Instant::now() + asked;
        state.closed_until = Some(state.closed_until.map_or(until, |other| other.max(until)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn close(&mut self, first_pause: Duration) -> Duration {
        let now = Instant::now();
        if let Some(until) = self.closed_until.filter(|until| *until > now) {
            return until - now;
        }
        let pause = (first_pause * 2_u32.saturating_pow(self.failures)).min(PAUSE_MAX);
        self.failures = (self.failures + 1).min(16);
        self.closed_until = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_until_the_relay_works_again() {
        let breaker = Breaker::new(Duration::from_secs(30));
        assert_eq!(breaker.closed_until(), None);
        assert_eq!(
            breaker.failed(Duration::ZERO),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            breaker.failed(Duration::ZERO),
            None,
            "another mail of the same moment"
        );
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(breaker.closed_until(), None);
        assert_eq!(breaker.failed(Duration::ZERO), Some(Duration::from_mins(1)));
        assert_eq!(breaker.judged(false), None);
        assert!(
            breaker.closed_until().is_some(),
            "a success in flight does not open it"
        );
        tokio::time::advance(Duration::from_secs(61)).await;
        breaker.judged(false);
        assert_eq!(breaker.closed_until(), None);
        assert_eq!(
            breaker.failed(Duration::ZERO),
            Some(Duration::from_secs(30))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn half_of_the_mails_refused_for_policy_close_the_lane() {
        let breaker = Breaker::new(Duration::from_secs(30));
        for _ in 0..9 {
            assert_eq!(breaker.judged(true), None);
            assert_eq!(breaker.judged(false), None);
        }
        assert_eq!(breaker.judged(false), None);
        assert_eq!(breaker.judged(true), Some(Duration::from_secs(30)));
        assert!(breaker.closed_until().is_some());
        tokio::time::advance(Duration::from_secs(31)).await;
        for _ in 0..9 {
            assert_eq!(breaker.judged(true), None, "counted from the start");
        }
        assert_eq!(
            breaker.judged(true),
            Some(Duration::from_mins(1)),
            "nothing was taken in between"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_asks_for_time_gets_it() {
        let breaker = Breaker::new(Duration::from_secs(30));
        let long = Duration::from_mins(5);
        assert_eq!(
            breaker.failed(Duration::ZERO),
            Some(Duration::from_secs(30))
        );
        assert_eq!(breaker.failed(long), None, "it was left alone already");
        assert_eq!(breaker.closed_until(), Some(Instant::now() + long));
        tokio::time::advance(long).await;
        let short = Duration::from_secs(1);
        assert_eq!(breaker.failed(short), Some(Duration::from_mins(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_relay_that_works_and_asks_for_time_gets_no_more_of_it() {
        let breaker = Breaker::new(Duration::from_secs(30));
        for _ in 0..3 {
            let second = Duration::from_secs(1);
            breaker.rest(second);
            assert_eq!(breaker.closed_until(), Some(Instant::now() + second));
            tokio::time::advance(second).await;
            assert_eq!(breaker.closed_until(), None);
        }
    }
}

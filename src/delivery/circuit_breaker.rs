//! Pauses a lane after its relay or provider failed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const PAUSE_MAX: Duration = Duration::from_mins(10);
/// Policy refusals are counted among this many of the last emails.
const POLICY_WINDOW: usize = 20;
/// This many policy refusals mean that the sender is at fault, and that more emails would harm its reputation.
const POLICY_REFUSALS_MAX: usize = 10;

/// Shared by every task that sends over a lane.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    first_pause: Duration,
    state: Mutex<BreakerState>,
}

#[derive(Debug, Default)]
struct BreakerState {
    /// Failures in a row; each doubles the next pause.
    failures: u32,
    paused_until: Option<Instant>,
    /// For each of the last judged emails: whether it was refused for policy reasons.
    judgements: VecDeque<bool>,
}

impl CircuitBreaker {
    pub(super) fn new(first_pause: Duration) -> Self {
        Self {
            first_pause,
            state: Mutex::default(),
        }
    }

    /// The end of the current pause; `None` if the lane may be used.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.state().current_pause(Instant::now())
    }

    /// Records that the relay judged an email for its own sake. Returns the pause that starts if too many of the last
    /// emails were refused for policy reasons.
    pub(super) fn record_judgement(&self, is_policy_refusal: bool) -> Option<Duration> {
        let mut state = self.state();
        if state.judgements.len() == POLICY_WINDOW {
            state.judgements.pop_front();
        }
        state.judgements.push_back(is_policy_refusal);
        let refusals = state.judgements.iter().filter(|refused| **refused).count();
        if refusals >= POLICY_REFUSALS_MAX {
            state.judgements.clear();
            return Some(state.pause(self.first_pause));
        }
        // An email that was in flight when the relay failed says nothing about the relay now. A policy refusal does not
        // show that the next emails will be accepted.
        if state.current_pause(Instant::now()).is_none() && !is_policy_refusal {
            state.failures = 0;
            state.paused_until = None;
        }
        None
    }

    /// Records that the relay failed and asked for a pause of at least `requested`. Returns the pause that starts, or
    /// `None` during a pause: failures of emails that were in flight together count once.
    pub(super) fn record_failure(&self, requested: Duration) -> Option<Duration> {
        let mut state = self.state();
        let was_paused = state.current_pause(Instant::now()).is_some();
        let mut pause = state.pause(self.first_pause);
        if pause < requested {
            state.paused_until = Some(Instant::now() + requested);
            pause = requested;
        }
        (!was_paused).then_some(pause)
    }

    /// Pauses for exactly as long as a working relay asked for. Such pauses do not grow.
    pub(super) fn pause_for(&self, requested: Duration) {
        let mut state = self.state();
        let until = Instant::now() + requested;
        state.paused_until = Some(state.paused_until.map_or(until, |other| other.max(until)));
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BreakerState {
    fn current_pause(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Starts a pause, unless there is one. Returns how long the pause still lasts.
    fn pause(&mut self, first_pause: Duration) -> Duration {
        let now = Instant::now();
        if let Some(until) = self.current_pause(now) {
            return until - now;
        }
        let pause = (first_pause * 2_u32.saturating_pow(self.failures)).min(PAUSE_MAX);
        self.failures = (self.failures + 1).min(16);
        self.paused_until = Some(now + pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_until_the_relay_works_again() {
        let breaker = CircuitBreaker::new(Duration::from_secs(30));
        assert_eq!(breaker.paused_until(), None);
        assert_eq!(
            breaker.record_failure(Duration::ZERO),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            breaker.record_failure(Duration::ZERO),
            None,
            "an email in flight at the same time"
        );
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(breaker.paused_until(), None);
        assert_eq!(
            breaker.record_failure(Duration::ZERO),
            Some(Duration::from_mins(1))
        );
        assert_eq!(breaker.record_judgement(false), None);
        assert!(
            breaker.paused_until().is_some(),
            "the success of an email in flight does not end the pause"
        );
        tokio::time::advance(Duration::from_secs(61)).await;
        breaker.record_judgement(false);
        assert_eq!(breaker.paused_until(), None);
        assert_eq!(
            breaker.record_failure(Duration::ZERO),
            Some(Duration::from_secs(30))
        );
    }

    #[tokio::test(start_paused = true)]
    async fn policy_refusals_of_half_of_the_emails_pause_the_lane() {
        let breaker = CircuitBreaker::new(Duration::from_secs(30));
        for _ in 0..9 {
            assert_eq!(breaker.record_judgement(true), None);
            assert_eq!(breaker.record_judgement(false), None);
        }
        assert_eq!(breaker.record_judgement(false), None);
        assert_eq!(
            breaker.record_judgement(true),
            Some(Duration::from_secs(30))
        );
        assert!(breaker.paused_until().is_some());
        tokio::time::advance(Duration::from_secs(31)).await;
        for _ in 0..9 {
            assert_eq!(
                breaker.record_judgement(true),
                None,
                "the count starts again after a pause"
            );
        }
        assert_eq!(
            breaker.record_judgement(true),
            Some(Duration::from_mins(1)),
            "no email was accepted since the last pause"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_requested_pause_is_kept() {
        let breaker = CircuitBreaker::new(Duration::from_secs(30));
        let long = Duration::from_mins(5);
        assert_eq!(
            breaker.record_failure(Duration::ZERO),
            Some(Duration::from_secs(30))
        );
        assert_eq!(
            breaker.record_failure(long),
            None,
            "the lane was already paused"
        );
        assert_eq!(breaker.paused_until(), Some(Instant::now() + long));
        tokio::time::advance(long).await;
        let short = Duration::from_secs(1);
        assert_eq!(breaker.record_failure(short), Some(Duration::from_mins(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_that_a_working_relay_requests_do_not_grow() {
        let breaker = CircuitBreaker::new(Duration::from_secs(30));
        for _ in 0..3 {
            let second = Duration::from_secs(1);
            breaker.pause_for(second);
            assert_eq!(breaker.paused_until(), Some(Instant::now() + second));
            tokio::time::advance(second).await;
            assert_eq!(breaker.paused_until(), None);
        }
    }
}

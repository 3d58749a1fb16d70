//! Decides when a lane may send: always while its relay or provider works, rarely while that fails.
//!
//! After too many failures in a row the lane rests: one email for each pause probes it, and the first email that the
//! relay judges ends the rest. Where only an operator can help, the lane is closed for longer and longer times instead.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::mail::send_error::Suspicion;

/// Temporary answers in a row that rest the lane if they may concern their recipients.
const TEMPORARY_ANSWERS_MAX: u32 = 20;
/// So many of these count as much as one answer that concerns the whole server.
const SERVER_WEIGHT: u32 = 4;
/// The first closing lasts this many pauses. Each further one doubles it.
const CLOSED_PAUSES: u32 = 6;
const CLOSED_MAX: Duration = Duration::from_mins(10);
/// Policy refusals are counted among this many of the last emails.
const POLICY_WINDOW: usize = 20;
/// This many policy refusals mean that the sender is at fault, and that more emails would harm its reputation.
const POLICY_REFUSALS_MAX: usize = 10;

/// Shared by every task that sends over a lane.
#[derive(Debug)]
pub(super) struct CircuitBreaker {
    /// Between two probes of a resting lane.
    pause: Duration,
    /// Failures in a row that do not rest the lane yet.
    failures_allowed: u32,
    state: Mutex<BreakerState>,
}

#[derive(Debug, Default)]
struct BreakerState {
    /// Failures since the relay last judged an email.
    failures: u32,
    /// Temporary answers since then, by their weights.
    temporary_answers: u32,
    /// While the lane rests: when the next email may probe it.
    probe_at: Option<Instant>,
    /// Until then not even a probe is sent.
    closed_until: Option<Instant>,
    /// Closings since the relay last judged an email.
    closings: u32,
    /// For each of the last judged emails: whether it was refused for policy reasons.
    judgements: VecDeque<bool>,
}

impl CircuitBreaker {
    pub(super) fn new(pause: Duration, failures_allowed: u32) -> Self {
        Self {
            pause,
            failures_allowed,
            state: Mutex::default(),
        }
    }

    /// Whether the lane neither rests nor is closed.
    pub(super) fn is_working(&self) -> bool {
        let state = self.state();
        state.probe_at.is_none() && !state.is_closed(Instant::now())
    }

    /// When the next email may be sent; `None` if it may be sent now.
    pub(super) fn available_at(&self) -> Option<Instant> {
        let state = self.state();
        let at = state.probe_at.max(state.closed_until);
        at.filter(|at| *at > Instant::now())
    }

    /// Records that a send begins. Over a resting lane, the next one may begin after the pause, even if this one is
    /// still waiting for a reply.
    pub(super) fn begin_send(&self) {
        let mut state = self.state();
        if state.probe_at.is_some() {
            state.probe_at = Some(Instant::now() + self.pause);
        }
    }

    /// Records that the relay failed before it judged the email. Returns whether a rest begins.
    pub(super) fn record_failure(&self) -> bool {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        state.failures > self.failures_allowed && state.rest(self.pause)
    }

    /// Records a temporary answer. Returns whether a rest begins.
    pub(super) fn record_temporary(&self, suspicion: Suspicion) -> bool {
        let weight = match suspicion {
            Suspicion::Server => SERVER_WEIGHT,
            Suspicion::Unclear => 1,
        };
        let mut state = self.state();
        state.temporary_answers = state.temporary_answers.saturating_add(weight);
        state.temporary_answers >= TEMPORARY_ANSWERS_MAX && state.rest(self.pause)
    }

    /// Records that the relay judged an email, which shows that the relay works. Returns whether a rest ends.
    pub(super) fn record_judgement(&self) -> bool {
        let mut state = self.state();
        // An email that was in flight when the lane was closed says nothing about the relay now.
        if state.is_closed(Instant::now()) {
            return false;
        }
        (state.failures, state.temporary_answers, state.closings) = (0, 0, 0);
        state.probe_at.take().is_some()
    }

    /// Counts a judged email. Returns for how long the lane is closed if too many of the last emails were refused for
    /// policy reasons.
    pub(super) fn count_policy_refusals(&self, is_policy_refusal: bool) -> Option<Duration> {
        let mut state = self.state();
        if state.judgements.len() == POLICY_WINDOW {
            state.judgements.pop_front();
        }
        state.judgements.push_back(is_policy_refusal);
        let refusals = state.judgements.iter().filter(|refused| **refused).count();
        if refusals < POLICY_REFUSALS_MAX {
            return None;
        }
        state.judgements.clear();
        state.close(self.pause)
    }

    /// Closes the lane for an operator to act, and probes it after that. Returns for how long, or `None` if the lane is
    /// closed already.
    pub(super) fn close(&self) -> Option<Duration> {
        self.state().close(self.pause)
    }

    /// Closes the lane for at least as long as its relay or provider asked for.
    pub(super) fn close_for(&self, requested: Duration) {
        let mut state = self.state();
        let until = Instant::now() + requested;
        state.closed_until = state.closed_until.max(Some(until));
    }

    fn state(&self) -> MutexGuard<'_, BreakerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BreakerState {
    fn is_closed(&self, now: Instant) -> bool {
        self.closed_until.is_some_and(|until| until > now)
    }

    /// Starts a rest. Returns `false` if the lane rests already.
    fn rest(&mut self, pause: Duration) -> bool {
        let begins = self.probe_at.is_none();
        self.probe_at.get_or_insert(Instant::now() + pause);
        begins
    }

    fn close(&mut self, pause: Duration) -> Option<Duration> {
        let now = Instant::now();
        if self.is_closed(now) {
            return None;
        }
        let factor = CLOSED_PAUSES.saturating_mul(2_u32.saturating_pow(self.closings));
        let closed = pause.saturating_mul(factor).min(CLOSED_MAX);
        self.closings = (self.closings + 1).min(16);
        self.closed_until = Some(now + closed);
        self.probe_at = Some(now + closed);
        Some(closed)
    }
}

#[cfg(test)]
#[path = "circuit_breaker_tests.rs"]
mod tests;

//! The rule for the rate of a lane whose relay sometimes asks for less email. As in TCP (RFC 5681): a complaint halves
//! the rate, which then doubles each second up to a threshold and grows slowly beyond it.
//!
//! The rule is pure: its callers pass the time, and count what is sent.

use std::time::Duration;

use tokio::time::Instant;

/// In sends per second. A lower rate would not show whether the relay has recovered.
const RATE_MIN: f64 = 0.5;
/// The first complaint halves at least this rate: a few emails in a quiet time do not measure the relay.
const FIRST_RATE_MIN: f64 = 10.0;
/// In sends per second. A higher rate is no limit any more.
pub(super) const RATE_FREE: f64 = 100_000.0;
/// Complaints about emails that were in flight together count once, and the rate does not grow this soon after one.
pub(super) const COMPLAINT_SPAN: Duration = Duration::from_secs(2);
/// The rate grows by the threshold in this time once it is above the threshold.
const SLOW_GROWTH_SPAN: Duration = Duration::from_secs(15);
/// After this time without a complaint the relay accepts more than before, and the threshold no longer applies. Longer
/// than slow growth needs to reach the rate of the last complaint.
const QUIET_SPAN: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub(super) struct SlowStart {
    /// The operator's limit, in sends per second.
    ceiling: f64,
    /// In sends per second; infinite without a limit.
    rate: f64,
    /// Up to this rate, the rate doubles each second.
    threshold: f64,
    /// Whether the relay has accepted an email since the rate was halved.
    has_accepted: bool,
    slowed_at: Option<Instant>,
    complained_at: Option<Instant>,
    /// When the relay last closed a new connection for a reason of policy.
    closed_at: Option<Instant>,
}

impl SlowStart {
    pub(super) fn new(ceiling: Option<f64>) -> Self {
        let ceiling = ceiling.unwrap_or(f64::INFINITY);
        Self {
            ceiling,
            rate: ceiling,
            threshold: f64::INFINITY,
            has_accepted: false,
            slowed_at: None,
            complained_at: None,
            closed_at: None,
        }
    }

    /// In sends per second; `None` without a limit.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.rate < RATE_FREE).then_some(self.rate)
    }

    /// Halves the rate, or the measured rate if that is lower. Returns whether it did: it does not if this complaint
    /// belongs to the last one.
    ///
    /// Only a relay that accepted email since the last complaint shows where its limit is. A relay that refused
    /// everything does not, so the rate returns to its former value as soon as the relay accepts email again.
    pub(super) fn complain(&mut self, measured: f64, now: Instant) -> bool {
        self.complained_at = Some(now);
        if self.slowed_at.is_some_and(|at| now - at < COMPLAINT_SPAN) {
            return false;
        }
        let half = (self.rate.min(measured.max(FIRST_RATE_MIN)) / 2.0).max(RATE_MIN);
        let is_repeated = self.slowed_at.is_some_and(|at| now - at < QUIET_SPAN);
        self.threshold = match (is_repeated, self.has_accepted) {
            (false, _) => f64::INFINITY,
            (true, true) => half,
            (true, false) => self.threshold,
        };
        self.rate = half.min(self.ceiling);
        self.has_accepted = false;
        self.slowed_at = Some(now);
        true
    }

    /// Records that the relay closed a new connection for a reason of policy. Returns whether that is a complaint: the
    /// second one within the span is.
    pub(super) fn close(&mut self, now: Instant) -> bool {
        let last = self.closed_at.replace(now);
        last.is_some_and(|last| now - last < COMPLAINT_SPAN)
    }

    /// Records that the relay accepted an email.
    pub(super) fn accept(&mut self) {
        self.has_accepted = true;
    }

    /// Raises the rate for the time that has `elapsed` until `now`, if the relay accepts email without a complaint.
    pub(super) fn grow(&mut self, elapsed: Duration, now: Instant) {
        let (Some(rate), Some(complained_at)) = (self.rate(), self.complained_at) else {
            return;
        };
        let quiet = now - complained_at;
        if !self.has_accepted || quiet < COMPLAINT_SPAN {
            return;
        }
        if quiet >= QUIET_SPAN {
            self.threshold = f64::INFINITY;
        }
        let elapsed = elapsed.min(quiet).as_secs_f64();
        let grown = if rate < self.threshold {
            (rate * elapsed.exp2()).min(self.threshold)
        } else {
            rate + self.threshold * elapsed / SLOW_GROWTH_SPAN.as_secs_f64()
        };
        self.rate = grown.min(self.ceiling);
    }
}

#[cfg(test)]
#[path = "slow_start_tests.rs"]
mod tests;

//! A lane, as shared by every task that sends over it.

use std::time::Duration;

use tokio::time::Instant;

use super::adaptive_rate::AdaptiveRate;
use super::circuit_breaker::CircuitBreaker;
use super::delivery_config::{LaneConfig, LaneTransport};
use super::domain_limit::DomainLimit;
use crate::mail::send_error::{RefusalReason, SendError};

/// A relay may refuse one connection and accept the next.
const FAILURES_ALLOWED: u32 = 1;

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: String,
    /// 0 for a spare.
    pub(super) weight: u32,
    pub(super) breaker: CircuitBreaker,
    pub(super) message_rate: AdaptiveRate,
    /// For lanes that send many emails in one call. Providers limit calls and not emails.
    pub(super) call_rate: Option<AdaptiveRate>,
    pub(super) domains: DomainLimit,
}

impl Lane {
    pub(super) fn new(config: &LaneConfig) -> Self {
        let (failures_allowed, call_rate) = match config.transport {
            LaneTransport::PerMessage { .. } => (FAILURES_ALLOWED, None),
            // The emails of a failed call may all be in doubt.
            LaneTransport::Batches { calls_rate_max, .. } => {
                (0, Some(AdaptiveRate::new(calls_rate_max)))
            }
        };
        Self {
            name: config.name.clone(),
            weight: config.weight,
            breaker: CircuitBreaker::new(config.pause, failures_allowed),
            message_rate: AdaptiveRate::new(config.rate_max),
            call_rate,
            domains: DomainLimit::new(config.domain_caps),
        }
    }

    /// Whether the lane neither rests nor is closed.
    pub(super) fn is_working(&self) -> bool {
        self.breaker.is_working()
    }

    /// Whether an email may be sent now, if only to probe a resting lane.
    pub(super) fn is_available(&self) -> bool {
        self.breaker.available_at().is_none()
    }

    /// Lowers the rate, because the relay or provider asked for that. A refused probe of a resting lane says nothing
    /// about the rate.
    pub(super) fn slow_down(&self) {
        if self.is_working() {
            let rate = self.call_rate.as_ref();
            rate.unwrap_or(&self.message_rate).slow_down();
        }
    }

    /// Records that the relay closed a new connection for a reason of policy. If that is repeated soon, the rate is
    /// lowered.
    pub(super) fn record_policy_closing(&self) {
        if self.message_rate.is_closing_repeated() {
            self.slow_down();
        }
    }

    /// When the lane can send again: when its breaker allows, or else its rates. `None` if it can send now.
    pub(super) fn available_at(&self, has_messages: bool) -> Option<Instant> {
        let rates = std::iter::once(&self.message_rate).chain(&self.call_rate);
        self.breaker.available_at().or_else(|| {
            let next_at = rates.filter_map(AdaptiveRate::next_at).max();
            next_at.filter(|_| has_messages)
        })
    }

    /// Records that the relay accepted an email.
    pub(super) fn record_acceptance(&self) {
        self.message_rate.accept();
        if let Some(rate) = &self.call_rate {
            rate.accept();
        }
        self.breaker.count_policy_refusals(false);
        self.record_judgement();
    }

    /// Records that the relay refused an email, for the email's own sake or not.
    pub(super) fn record_refusal(&self, error: &SendError) {
        if let Some(suspicion) = error.suspicion() {
            if self.breaker.record_temporary(suspicion) {
                let message = "the relay refuses every email for now; resting the lane";
                self.warn(error, message);
            }
            return;
        }
        let is_policy_refusal = error.refusal_reason == RefusalReason::Policy;
        if let Some(closed) = self.breaker.count_policy_refusals(is_policy_refusal) {
            tracing::error!(
                lane.name = self.name,
                lane.closed_ms = millis(closed),
                "the relay refuses most emails for policy reasons; closing the lane"
            );
        }
        // A policy refusal does not show that the next emails will be accepted.
        if !is_policy_refusal {
            self.record_judgement();
        }
    }

    /// Records that the relay or provider failed before it judged an email, and for how long it asked not to be used.
    pub(super) fn record_failure(&self, error: &SendError, requested: Option<Duration>) {
        if let Some(requested) = requested {
            self.breaker.close_for(requested);
        }
        let is_rest_begun = self.breaker.record_failure();
        if error.is_misconfiguration && !self.is_working() {
            if let Some(closed) = self.breaker.close() {
                tracing::error!(
                    lane.name = self.name, lane.closed_ms = millis(closed), mail.stage = ?error.stage,
                    mail.reply_code = error.reply_code, error = error.text,
                    "the relay cannot be used until an operator corrects its settings"
                );
            }
        } else if is_rest_begun {
            self.warn(error, "the relay cannot be used; resting the lane");
        }
    }

    fn record_judgement(&self) {
        if self.breaker.record_judgement() {
            tracing::info!(lane.name = self.name, "the relay works again");
        }
    }

    fn warn(&self, error: &SendError, message: &str) {
        tracing::warn!(
            lane.name = self.name, mail.stage = ?error.stage,
            mail.reply_code = error.reply_code, error = error.text,
            "{message}"
        );
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

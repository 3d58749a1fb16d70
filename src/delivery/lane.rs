//! A lane, as shared by every task that sends over it.

use std::time::Duration;

use tokio::time::Instant;

use super::adaptive_rate::AdaptiveRate;
use super::circuit_breaker::CircuitBreaker;
use super::delivery_config::{LaneConfig, LaneTransport};
use super::domain_limit::DomainLimit;
use crate::mail::send_error::{RefusalReason, SendError};

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
        Self {
            name: config.name.clone(),
            weight: config.weight,
            breaker: CircuitBreaker::new(config.pause),
            message_rate: AdaptiveRate::new(config.rate_max),
            call_rate: match config.transport {
                LaneTransport::PerMessage { .. } => None,
                LaneTransport::Batches { calls_rate_max, .. } => {
                    Some(AdaptiveRate::new(calls_rate_max))
                }
            },
            domains: DomainLimit::new(config.domain_caps),
        }
    }

    pub(super) fn is_available(&self) -> bool {
        self.breaker.paused_until().is_none()
    }

    /// Lowers the rate, because the relay or provider asked for that.
    pub(super) fn slow_down(&self) {
        let rate = self.call_rate.as_ref();
        rate.unwrap_or(&self.message_rate).slow_down();
    }

    /// When the lane can send again: after its pause, or else when its rates allow. `None` if it can send now.
    pub(super) fn available_at(&self, has_messages: bool) -> Option<Instant> {
        let rates = std::iter::once(&self.message_rate).chain(&self.call_rate);
        self.breaker.paused_until().or_else(|| {
            let next_at = rates.filter_map(AdaptiveRate::next_at).max();
            next_at.filter(|_| has_messages)
        })
    }

    /// Records that the relay accepted an email, or refused it for the email's own sake. Either proves that the relay
    /// works, unless it refuses most emails. A failure without a reply proves nothing.
    pub(super) fn record_judgement(&self, outcome: Result<(), &SendError>) {
        let is_policy_refusal = match outcome {
            Ok(()) => false,
            Err(error) if error.reply_code.is_none() => return,
            Err(error) => error.refusal_reason == RefusalReason::Policy,
        };
        if let Some(pause) = self.breaker.record_judgement(is_policy_refusal) {
            tracing::error!(
                lane.name = self.name,
                lane.pause_ms = millis(pause),
                "the relay refuses most emails for policy reasons; pausing the lane"
            );
        }
    }

    /// Pauses the lane after its relay or provider failed, for at least as long as that asked for.
    pub(super) fn record_failure(&self, error: &SendError, requested: Option<Duration>) {
        let Some(pause) = self.breaker.record_failure(requested.unwrap_or_default()) else {
            return;
        };
        let (pause_ms, reply_code) = (millis(pause), error.reply_code);
        if error.is_misconfiguration {
            tracing::error!(
                lane.name = self.name, lane.pause_ms = pause_ms, mail.stage = ?error.stage,
                mail.reply_code = reply_code, error = error.text,
                "the relay cannot be used until an operator corrects its settings"
            );
        } else {
            tracing::warn!(
                lane.name = self.name, lane.pause_ms = pause_ms, mail.stage = ?error.stage,
                mail.reply_code = reply_code, error = error.text,
                "the relay cannot be used; pausing the lane"
            );
        }
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

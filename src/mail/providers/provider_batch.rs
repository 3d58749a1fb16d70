//! The messages of one call to a provider and its results, or what is known about the messages if the call failed.
//!
//! Only a refusal, and a connection that was never opened, mean that no message was sent. Every other failure leaves
//! the outcome unknown.

use std::error::Error as StdError;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::domain::bounce_address::SentMail;
use crate::mail::message::RenderedMessage;
use crate::mail::send_error::{FailureAction, SendError, SendReceipt, SendStage};

/// A provider cannot ask for a longer wait.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// Not `Debug`, like the message.
#[derive(Clone)]
pub struct ProviderMessage {
    pub message: RenderedMessage,
    /// Identifies the email in the provider's later reports.
    pub reference: SentMail,
}

/// The result of each message of a call, in their order.
///
/// An [ambiguous](SendError::is_ambiguous) result means that the call succeeded but its response does not say which
/// message the result belongs to.
pub type BatchResults = Vec<Result<SendReceipt, SendError>>;

/// Why a whole call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{outcome:?}: {error}")]
pub struct BatchError {
    /// The failure of each message. `Retry` with `NotSent` means that the provider cannot read something in this batch:
    /// a part of it may succeed.
    pub error: SendError,
    /// How long the provider asked to wait; at most an hour.
    pub retry_after: Option<Duration>,
    pub outcome: BatchOutcome,
}

/// What is known about the messages of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchOutcome {
    /// No message was sent.
    NotSent,
    /// All messages may have been sent, or none: the provider received the call and gave no reliable answer.
    Unknown,
    /// The key was used before with other bytes. The messages of that earlier call may have been sent.
    KeyReused,
    /// The provider is still processing the same call.
    InProgress,
}

/// A provider's explanation for refusing a whole call.
#[derive(Default)]
pub(super) struct BatchRefusal {
    pub(super) text: String,
    /// Overrides what the HTTP status says about the messages.
    pub(super) outcome: Option<BatchOutcome>,
    /// Whether the provider would refuse every other message too.
    pub(super) is_misconfigured: bool,
}

impl BatchError {
    /// A call that the provider refused as a whole.
    pub(super) fn refused(
        status: StatusCode,
        retry_after: Option<Duration>,
        refusal: &BatchRefusal,
    ) -> Self {
        let outcome = refusal.outcome.unwrap_or(outcome_of(status));
        let code = status.as_u16();
        let text = match refusal.text.trim() {
            "" => format!("{code}: no reason given"),
            text => format!("{code}: {text}"),
        };
        let error = if outcome == BatchOutcome::NotSent {
            let action = if refusal.is_misconfigured || concerns_every_call(status) {
                FailureAction::PauseLane
            } else {
                FailureAction::Retry
            };
            SendError::provider(action, Some(code), &text)
        } else {
            // Without the code, which would mean that the messages were judged.
            SendError::fault(FailureAction::Retry, SendStage::FinalReply, &text)
        };
        Self {
            retry_after,
            ..Self::new(outcome, error)
        }
    }

    /// A call without a response. If no connection was opened, the provider did not receive the call.
    pub(super) fn without_response(error: &reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() {
            let text = innermost_cause(error);
            let error = SendError::fault(FailureAction::PauseLane, SendStage::Connect, &text);
            return Self::new(BatchOutcome::NotSent, error);
        }
        Self::unknown(if error.is_timeout() {
            "no answer in time"
        } else {
            "the connection broke"
        })
    }

    /// A call that was not made because it has too many messages.
    pub(super) fn too_many() -> Self {
        let text = "more emails than one call may have";
        let error = SendError::provider(FailureAction::Retry, None, text);
        Self::new(BatchOutcome::NotSent, error)
    }

    /// A call that the provider received, without a reliable response.
    pub(super) fn unknown(text: &str) -> Self {
        let error = SendError::fault(FailureAction::Retry, SendStage::FinalReply, text);
        Self::new(BatchOutcome::Unknown, error)
    }

    fn new(outcome: BatchOutcome, error: SendError) -> Self {
        Self {
            error,
            retry_after: None,
            outcome,
        }
    }
}

/// A gateway may reply 408 or 5xx although the provider sent the messages. A conflict concerns an earlier call.
fn outcome_of(status: StatusCode) -> BatchOutcome {
    match status.as_u16() {
        408 | 409 | 500.. => BatchOutcome::Unknown,
        _ => BatchOutcome::NotSent,
    }
}

/// Whether the key, the URL or the rate is wrong, so that every other call would fail too.
fn concerns_every_call(status: StatusCode) -> bool {
    let codes = [401, 402, 403, 404, 405, 407, 410, 415, 421, 429];
    status.is_redirection() || codes.contains(&status.as_u16())
}

/// The innermost cause. The outer causes do not say what happened.
fn innermost_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(StdError::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "no connection".to_owned(), ToString::to_string)
}

/// Reads `Retry-After`: seconds or a date (RFC 9110 §10.2.3). A date is compared with the provider's own clock.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let wait = if let Ok(seconds) = value.parse() {
        Duration::from_secs(seconds)
    } else {
        let date = |text| OffsetDateTime::parse(text, &Rfc2822).ok();
        let now = date(headers.get(DATE)?.to_str().ok()?)?;
        Duration::try_from(date(value)? - now).unwrap_or_default()
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
pub(super) mod tests {
    use uuid::Uuid;

    use super::*;

    /// A message that contains every field which can change its bytes.
    pub(crate) fn message() -> ProviderMessage {
        let message = RenderedMessage {
            message_id: "inv.1@acme.example".to_owned(),
            from: "Acme <invites@acme.example>".to_owned(),
            to: "alice@example.com".to_owned(),
            subject: "Join \"Nörthwind\"".to_owned(),
            text: "a\nb".to_owned(),
            html: "<p>a</p>".to_owned(),
            headers: vec![("Z-Last", "1".to_owned()), ("A-First", "2".to_owned())],
        };
        ProviderMessage {
            message,
            reference: SentMail {
                invitation_id: Uuid::from_u128(1),
                send_seq: 3,
            },
        }
    }
}

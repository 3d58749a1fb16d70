//! What a call to a provider that brought no results says of its letters.
//!
//! What is not certain is unknown: only a refusal, and a connection that was never made, mean that nobody got
//! anything. Results of single letters are judged in the provider's own file.

use std::error::Error as _;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::outcome::{Fate, SendError, Stage};

/// Longest wait a provider can ask for; it does not get to stop the mail for days.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// Why a whole call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{outcome:?}: {error}")]
pub struct BatchError {
    /// What holds for each of its letters. `Retry` with `NotTaken` means that something in this batch cannot be read:
    /// a part of it may do better.
    pub error: SendError,
    /// How long the provider wants to be left alone, if it said so; an hour at most.
    pub retry_after: Option<Duration>,
    /// What became of the letters.
    pub outcome: BatchOutcome,
}

/// What is known of the letters of a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BatchOutcome {
    /// Certainly nobody got one.
    NotTaken,
    /// Everybody may have got theirs, or nobody: the call was made and there is no answer that can be believed.
    Unknown,
    /// This key was used before, with other bytes; what was sent then may have reached its readers.
    TakenBefore,
    /// The same call is being worked on.
    InProgress,
}

/// What a provider says of a call that it refuses as a whole.
pub(super) struct Refusal {
    /// In its words.
    pub(super) text: String,
    /// What that means for the letters, where the HTTP status does not say it.
    pub(super) outcome: Option<BatchOutcome>,
    /// Whether no letter at all would be taken.
    pub(super) is_misconfigured: bool,
}

impl BatchError {
    /// A call that was refused as a whole.
    pub(super) fn refused(
        status: StatusCode,
        retry_after: Option<Duration>,
        refusal: &Refusal,
    ) -> Self {
        let outcome = refusal.outcome.unwrap_or(outcome_of(status));
        let code = status.as_u16();
        let text = match refusal.text.trim() {
            "" => format!("{code}: no reason given"),
            text => format!("{code}: {text}"),
        };
        let error = if outcome == BatchOutcome::NotTaken {
            let is_lanes = refusal.is_misconfigured || concerns_every_call(status);
            let fate = if is_lanes {
                Fate::LaneDown
            } else {
                Fate::Retry
            };
            SendError::provider(fate, Some(code), &text)
        } else {
            // Without a code, which would say that the letters were judged.
            SendError::fault(Fate::Retry, Stage::FinalReply, &text)
        };
        Self {
            error,
            retry_after,
            outcome,
        }
    }

    /// A call without an answer. Only one that never got a connection was certainly not read.
    pub(super) fn unanswered(error: &reqwest::Error) -> Self {
        if error.is_connect() || error.is_builder() {
            let error = SendError::fault(Fate::LaneDown, Stage::Connect, &cause(error));
            return Self::not_taken(error);
        }
        Self::unknown(if error.is_timeout() {
            "no answer in time"
        } else {
            "the connection broke"
        })
    }

    /// A call that was not made.
    pub(super) fn too_many() -> Self {
        let text = "more mails than one call takes";
        Self::not_taken(SendError::provider(Fate::Retry, None, text))
    }

    /// A call that was made, without an answer that could be believed.
    pub(super) fn unknown(text: &str) -> Self {
        Self {
            error: SendError::fault(Fate::Retry, Stage::FinalReply, text),
            retry_after: None,
            outcome: BatchOutcome::Unknown,
        }
    }

    fn not_taken(error: SendError) -> Self {
        Self {
            error,
            retry_after: None,
            outcome: BatchOutcome::NotTaken,
        }
    }
}

/// What a status says of the letters. A gateway's 5xx and 408 may hide a provider that did its work, and a conflict is
/// about a call that was made.
fn outcome_of(status: StatusCode) -> BatchOutcome {
    match status.as_u16() {
        408 | 409 | 500.. => BatchOutcome::Unknown,
        _ => BatchOutcome::NotTaken,
    }
}

/// Whether other letters would fare no better: the key, the place or the pace is wrong, not what was sent.
fn concerns_every_call(status: StatusCode) -> bool {
    status.is_redirection()
        || matches!(
            status.as_u16(),
            401 | 402 | 403 | 404 | 405 | 407 | 410 | 415 | 421 | 429
        )
}

/// The innermost cause, which alone says what happened.
fn cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    while let Some(inner) = cause.and_then(std::error::Error::source) {
        cause = Some(inner);
    }
    cause.map_or_else(|| "no connection".to_owned(), ToString::to_string)
}

/// Seconds, or a date (RFC 9110 §10.2.3), which is told by the provider's own clock.
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

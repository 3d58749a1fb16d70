//! Webhooks: what mail providers report of mails they took.
//!
//! One file for each provider: how it proves itself, what its reports look like and what they mean. A provider repeats
//! what is not answered with 2xx for days, so a report that is understood, or concerns somebody else's mail, is
//! answered with 204; a refusal is for what is not theirs, and 503 for what should come again.

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(super) mod postmark;
pub(super) mod resend;
mod signature;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::limits::RETRY_DELAY_SECONDS;
use super::server::Http;
use crate::domain::bounce_address::SentMail;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::reason::ErrorKind;
use crate::service::{Feedback, FeedbackKind, FeedbackSource, RecordFeedback};

pub use postmark::PostmarkPassword;
pub use signature::{WebhookSecret, WebhookSecretError};

/// The name under which a mail carries its invitation's id to a provider, and back.
const INVITATION_ID: &str = "invitation_id";
/// The name under which it carries its number.
const SEND_SEQ: &str = "send_seq";

/// A value that one provider writes as a text and another as a number.
#[derive(Deserialize)]
#[serde(untagged)]
enum TextOrNumber {
    Text(String),
    Number(i64),
    Other(serde::de::IgnoredAny),
}

impl TextOrNumber {
    fn into_text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(number) => Some(number.to_string()),
            Self::Other(_) => None,
        }
    }
}

/// What a report says, once its provider's words are understood.
struct Report {
    mail: SentMail,
    kind: FeedbackKind,
    said: String,
    event_id: String,
}

/// The mail that the provider was given these values with; `None` for mails of others.
fn sent_mail(value: impl Fn(&str) -> Option<String>) -> Option<SentMail> {
    Some(SentMail {
        invitation_id: Uuid::try_parse(&value(INVITATION_ID)?).ok()?,
        send_seq: value(SEND_SEQ)?.parse().ok()?,
    })
}

/// Writes a report down and says to the provider whether to repeat it.
async fn record(http: &Http, source: FeedbackSource, report: Report) -> Response {
    let said = Diagnostic::parse(&report.said);
    let (kind, invitation_id) = (report.kind, report.mail.invitation_id);
    let feedback = Feedback {
        mail: report.mail,
        kind: report.kind,
        text: said.text,
        reply_code: said.reply_code,
        source,
        event_id: report.event_id,
    };
    match http.service.run(RecordFeedback(feedback)).await {
        Ok(outcome) => {
            tracing::info!(
                feedback.source = ?source,
                feedback.kind = ?kind,
                feedback.outcome = ?outcome,
                invitation.id = %invitation_id,
                "a provider reported"
            );
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => {
            let status = match error.kind() {
                ErrorKind::Unavailable | ErrorKind::Aborted | ErrorKind::Deadline => {
                    StatusCode::SERVICE_UNAVAILABLE
                }
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, cause = error.source(), "cannot take a report");
            (
                status,
                [(header::RETRY_AFTER, RETRY_DELAY_SECONDS.to_string())],
            )
                .into_response()
        }
    }
}

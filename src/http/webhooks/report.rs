//! A report of any provider, and how it is recorded.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use uuid::Uuid;

use crate::domain::bounce_address::SentMail;
use crate::domain::diagnostic::Diagnostic;
use crate::domain::reason::ErrorKind;
use crate::http::limits::RETRY_DELAY_SECONDS;
use crate::http::state::HttpState;
use crate::service::{Feedback, FeedbackKind, FeedbackSource, RecordFeedback};

/// The names of the tags or metadata with which an email was given to the provider.
const INVITATION_ID: &str = "invitation_id";
const SEND_SEQ: &str = "send_seq";

/// A value that some providers send as text and others as a number.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum TextOrNumber {
    Text(String),
    Number(i64),
    Other(serde::de::IgnoredAny),
}

impl TextOrNumber {
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            Self::Other(_) => None,
        }
    }
}

pub(super) struct ProviderReport {
    pub(super) mail: SentMail,
    pub(super) kind: FeedbackKind,
    /// The reply of the mail server, or a description of the provider.
    pub(super) text: String,
    pub(super) event_id: String,
}

/// The email that a report concerns, by its tags or metadata. Returns `None` for emails of other senders.
pub(super) fn sent_mail(value: impl Fn(&str) -> Option<String>) -> Option<SentMail> {
    Some(SentMail {
        invitation_id: Uuid::try_parse(&value(INVITATION_ID)?).ok()?,
        send_seq: value(SEND_SEQ)?.parse().ok()?,
    })
}

/// Records a report if there is one. The answer tells the provider whether to repeat it.
pub(super) async fn record(
    http: &HttpState,
    source: FeedbackSource,
    report: Option<ProviderReport>,
) -> Response {
    let Some(report) = report else {
        return StatusCode::NO_CONTENT.into_response();
    };
    let diagnostic = Diagnostic::parse(&report.text);
    let (kind, invitation_id) = (report.kind, report.mail.invitation_id);
    let feedback = Feedback {
        mail: report.mail,
        kind,
        text: diagnostic.text,
        reply_code: diagnostic.reply_code,
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
                "recorded the report of a provider"
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
            tracing::error!(error, cause = error.source(), "cannot record a report");
            let retry_after = [(header::RETRY_AFTER, RETRY_DELAY_SECONDS.to_string())];
            (status, retry_after).into_response()
        }
    }
}

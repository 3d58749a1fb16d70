//! Reports of Resend. They are signed as Standard Webhooks, and an email is identified by the tags with which it was
//! sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{Response, Result};
use serde::Deserialize;

use super::report::{ProviderReport, TextOrNumber, record, sent_mail};
use super::signature::{SignedHead, WebhookSecret};
use crate::connections::TrackedConnection;
use crate::http::body_memory::BodyRoute;
use crate::http::request_body;
use crate::http::state::HttpState;
use crate::service::{FeedbackKind, FeedbackSource};

/// A report. Fields that are not needed are ignored.
#[derive(Deserialize)]
pub(super) struct ResendEvent {
    r#type: String,
    #[serde(default)]
    data: EventData,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct EventData {
    tags: EventTags,
    bounce: Option<BounceDetails>,
    failed: Option<FailureDetails>,
    suppressed: Option<BounceDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BounceDetails {
    r#type: String,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FailureDetails {
    reason: String,
}

/// The tags of an email: an object, or in some events the list as it was sent.
#[derive(Deserialize)]
#[serde(untagged)]
enum EventTags {
    Object(BTreeMap<String, TextOrNumber>),
    List(Vec<EventTag>),
    None(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct EventTag {
    name: String,
    value: TextOrNumber,
}

impl Default for EventTags {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl EventTags {
    /// The value of a tag. Of several tags with one name the last counts.
    fn get(&self, name: &str) -> Option<String> {
        match self {
            Self::Object(tags) => tags.get(name)?.text(),
            Self::List(tags) => {
                let mut named = tags.iter().rev().filter(|tag| tag.name == name);
                named.find_map(|tag| tag.value.text())
            }
            Self::None(_) => None,
        }
    }
}

pub(in crate::http) async fn receive(
    State(http): State<HttpState>,
    secret: Arc<WebhookSecret>,
    request: Request,
) -> Result<Response> {
    let headers = request.headers().clone();
    let connection = request
        .extensions()
        .get::<Arc<TrackedConnection>>()
        .cloned();
    // The headers are checked before the body is read, so that most strangers use no memory. The signature
    // covers the body.
    let head = SignedHead::parse(&headers, http.clock.now()).ok_or(StatusCode::UNAUTHORIZED)?;
    let body = request_body::of_unauthenticated(&http, request, BodyRoute::Resend);
    let mut body = body.await?;
    if !secret.signed(&head, &body.bytes) {
        return Err(StatusCode::UNAUTHORIZED.into());
    }
    body.authenticate();
    if let Some(connection) = connection {
        connection.authenticate("resend");
    }
    let event = serde_json::from_slice(&body.bytes).map_err(|_| StatusCode::BAD_REQUEST)?;
    let report = interpret(event, head.event_id);
    Ok(record(&http, FeedbackSource::Resend, report).await)
}

/// Returns `None` for events that are not about failures, and for emails of other senders.
pub(super) fn interpret(event: ResendEvent, event_id: &str) -> Option<ProviderReport> {
    let tags = event.data.tags;
    let (kind, text) = match event.r#type.as_str() {
        "email.bounced" => {
            let bounce = event.data.bounce?;
            let kind = match bounce.r#type.as_str() {
                "Permanent" => FeedbackKind::HardBounce,
                _ => FeedbackKind::Bounce,
            };
            (kind, bounce.message)
        }
        "email.failed" => {
            let reason = event.data.failed.map(|failed| failed.reason);
            let text = reason.unwrap_or_else(|| "not sent".to_owned());
            (FeedbackKind::Bounce, text)
        }
        // Resend suppresses the address itself. The reason was reported when it began to.
        "email.suppressed" => {
            let message = event.data.suppressed.map(|suppressed| suppressed.message);
            let text = message.unwrap_or_else(|| "suppressed by the provider".to_owned());
            (FeedbackKind::Bounce, text)
        }
        "email.delivery_delayed" => (FeedbackKind::Delay, "delivery delayed".to_owned()),
        "email.complained" => (FeedbackKind::Complaint, "reported as spam".to_owned()),
        _ => return None,
    };
    Some(ProviderReport {
        mail: sent_mail(|name| tags.get(name))?,
        kind,
        text,
        event_id: event_id.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "01990000-0000-7000-8000-000000000001";

    fn kind_of(kind: &str, bounce: &str, tags: &str) -> Option<(FeedbackKind, i32)> {
        let json = format!(
            r#"{{"type": "{kind}", "created_at": "2026-11-22T23:41:12.126Z",
                 "data": {{"email_id": "x", "to": ["a@b.co"], "bounce": {bounce}, "tags": {tags}}}}}"#
        );
        let event = serde_json::from_str(&json).unwrap();
        interpret(event, "msg_1").map(|report| (report.kind, report.mail.send_seq))
    }

    #[test]
    fn events_about_our_emails_are_interpreted() {
        use FeedbackKind::{Bounce, Complaint, Delay, HardBounce};
        let permanent = r#"{"message": "m", "subType": "Suppressed", "type": "Permanent"}"#;
        let transient = r#"{"message": "m", "subType": "MailboxFull", "type": "Transient"}"#;
        let undetermined = r#"{"type": "Undetermined"}"#;
        let object = format!(r#"{{"invitation_id": "{ID}", "send_seq": "2"}}"#);
        let list = format!(
            r#"[{{"name": "send_seq", "value": 2}}, {{"name": "invitation_id", "value": "{ID}"}}]"#
        );
        for tags in [object.as_str(), list.as_str()] {
            for (kind, bounce, expected) in [
                ("email.bounced", permanent, Some(HardBounce)),
                ("email.bounced", transient, Some(Bounce)),
                ("email.bounced", undetermined, Some(Bounce)),
                ("email.bounced", "null", None),
                ("email.failed", "null", Some(Bounce)),
                ("email.suppressed", "null", Some(Bounce)),
                ("email.delivery_delayed", "null", Some(Delay)),
                ("email.complained", "null", Some(Complaint)),
                ("email.delivered", "null", None),
                ("email.opened", permanent, None),
            ] {
                let expected = expected.map(|expected| (expected, 2));
                assert_eq!(
                    kind_of(kind, bounce, tags),
                    expected,
                    "{kind} {bounce} {tags}"
                );
            }
        }
        for tags in [
            "null",
            "{}",
            "[]",
            "7",
            r#"{"category": "confirm_email"}"#,
            r#"{"invitation_id": "x", "send_seq": "1"}"#,
            r#"{"invitation_id": null, "send_seq": [1]}"#,
        ] {
            assert_eq!(kind_of("email.bounced", permanent, tags), None, "{tags}");
        }
        let without_data: ResendEvent =
            serde_json::from_str(r#"{"type": "domain.created"}"#).unwrap();
        assert!(interpret(without_data, "msg_1").is_none());
    }

    #[test]
    fn the_reason_of_a_failed_email_is_kept() {
        for (kind, why, expected) in [
            (
                "email.failed",
                r#""failed": {"reason": "reached_daily_quota"}"#,
                "reached_daily_quota",
            ),
            (
                "email.suppressed",
                r#""suppressed": {"message": "on the list", "type": "OnAccountSuppressionList"}"#,
                "on the list",
            ),
            ("email.failed", r#""failed": null"#, "not sent"),
        ] {
            let json = format!(
                r#"{{"type": "{kind}", "data": {{{why}, "tags": {{"invitation_id": "{ID}", "send_seq": "1"}}}}}}"#
            );
            let report = interpret(serde_json::from_str(&json).unwrap(), "msg_1").unwrap();
            assert_eq!(report.text, expected, "{kind}");
        }
    }
}

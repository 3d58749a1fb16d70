//! Resend's reports: signed by Standard Webhooks, a mail is known by the tags it was sent with.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::signature::{SignedHead, WebhookSecret};
use super::{Report, TextOrNumber, record, sent_mail};
use crate::http::server::Http;
use crate::service::{FeedbackKind, FeedbackSource};

/// An event. What is not needed is not read.
#[derive(Deserialize)]
pub(super) struct Event {
    r#type: String,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    tags: Tags,
    #[serde(default)]
    bounce: Option<Bounce>,
    #[serde(default)]
    failed: Option<Failed>,
    #[serde(default)]
    suppressed: Option<Suppressed>,
}

#[derive(Deserialize)]
struct Bounce {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Failed {
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Suppressed {
    #[serde(default)]
    message: String,
}

/// Tags come as an object; they are sent as a list, and some events have them so.
#[derive(Deserialize)]
#[serde(untagged)]
enum Tags {
    Object(BTreeMap<String, TextOrNumber>),
    List(Vec<Tag>),
    None(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Tag {
    name: String,
    value: TextOrNumber,
}

impl Default for Tags {
    fn default() -> Self {
        Self::List(Vec::new())
    }
}

impl Tags {
    fn into_map(self) -> BTreeMap<String, String> {
        let pairs: Vec<_> = match self {
            Self::Object(tags) => tags.into_iter().collect(),
            Self::List(tags) => tags.into_iter().map(|tag| (tag.name, tag.value)).collect(),
            Self::None(_) => Vec::new(),
        };
        pairs
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.into_text()?)))
            .collect()
    }
}

/// Takes a report.
pub(in crate::http) async fn report(
    State(http): State<Http>,
    secret: Arc<WebhookSecret>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    // Whoever has no current signature to show gets no memory.
    let Some(head) = SignedHead::parse(&headers, http.clock.now()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let body = match Bytes::from_request(request, &()).await {
        Ok(body) => body,
        Err(rejection) => return rejection.into_response(),
    };
    if !secret.signed(&head, &body) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Ok(event) = serde_json::from_slice::<Event>(&body) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    match understood(event, head.event_id) {
        Some(report) => record(&http, FeedbackSource::Resend, report).await,
        None => StatusCode::NO_CONTENT.into_response(),
    }
}

/// What an event says of a mail of ours; `None` for other events and other people's mails.
pub(super) fn understood(event: Event, event_id: &str) -> Option<Report> {
    let tags = event.data.tags.into_map();
    let (kind, said) = match event.r#type.as_str() {
        "email.bounced" => {
            let bounce = event.data.bounce?;
            let kind = if bounce.r#type == "Permanent" {
                FeedbackKind::HardBounce
            } else {
                FeedbackKind::Bounce
            };
            (kind, bounce.message)
        }
        "email.failed" => {
            let reason = event.data.failed.map(|failed| failed.reason);
            let said = reason.unwrap_or_else(|| "not sent".to_owned());
            (FeedbackKind::Bounce, said)
        }
        // Its own list says so. Why it is there was reported when it came there.
        "email.suppressed" => {
            let message = event.data.suppressed.map(|suppressed| suppressed.message);
            let said = message.unwrap_or_else(|| "suppressed by the provider".to_owned());
            (FeedbackKind::Bounce, said)
        }
        "email.delivery_delayed" => (FeedbackKind::Delay, "delivery delayed".to_owned()),
        "email.complained" => (FeedbackKind::Complaint, "reported as spam".to_owned()),
        _ => return None,
    };
    Some(Report {
        mail: sent_mail(|name| tags.get(name).cloned())?,
        kind,
        said,
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
        understood(event, "msg_1").map(|report| (report.kind, report.mail.send_seq))
    }

    #[test]
    fn events_about_mails_of_ours_are_understood() {
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
        let without_data: Event = serde_json::from_str(r#"{"type": "domain.created"}"#).unwrap();
        assert!(understood(without_data, "msg_1").is_none());
    }

    #[test]
    fn what_resend_says_of_a_mail_it_gave_up_is_kept() {
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
            let report = understood(serde_json::from_str(&json).unwrap(), "msg_1").unwrap();
            assert_eq!(report.said, expected, "{kind}");
        }
    }
}

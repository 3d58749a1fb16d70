//! Reports of Postmark. It signs nothing, so it authenticates by a password (RFC 7617). An email is identified by the
//! metadata with which it was sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Response, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::report::{ProviderReport, TextOrNumber, record, sent_mail};
use crate::connections::TrackedConnection;
use crate::http::body_memory::BodyRoute;
use crate::http::request_body;
use crate::http::state::HttpState;
use crate::service::{FeedbackKind, FeedbackSource};

const USER: &str = "postmark";
/// Shortest password, in characters.
const PASSWORD_CHARS_MIN: usize = 16;

/// The SHA-256 hash of the user name and the password of the webhook.
#[derive(Clone)]
pub struct PostmarkPassword([u8; 32]);

impl PostmarkPassword {
    /// Returns `None` unless the password has at least 16 visible ASCII characters.
    pub fn parse(password: &str) -> Option<Self> {
        let is_valid = password.len() >= PASSWORD_CHARS_MIN
            && password.bytes().all(|byte| byte.is_ascii_graphic());
        is_valid.then(|| Self(Sha256::digest(format!("{USER}:{password}")).into()))
    }

    /// Whether a request contains the password. Hashes are compared in constant time, so the duration reveals nothing.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("basic"))
            .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
            .is_some_and(|given| bool::from(Sha256::digest(given).as_slice().ct_eq(&self.0)))
    }
}

/// A report. Fields that are not needed are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct PostmarkEvent {
    record_type: String,
    #[serde(rename = "ID")]
    id: Option<i64>,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    inactive: bool,
    #[serde(default)]
    description: String,
    #[serde(default)]
    details: String,
    metadata: Option<BTreeMap<String, TextOrNumber>>,
}

pub(in crate::http) async fn receive(
    State(http): State<HttpState>,
    password: Arc<PostmarkPassword>,
    request: Request,
) -> Result<Response> {
    // The password is checked before the body is read, so that strangers use no memory.
    if !password.is_in(request.headers()) {
        let challenge = HeaderValue::from_static("Basic realm=\"webhooks\"");
        let headers = [(header::WWW_AUTHENTICATE, challenge)];
        return Err((StatusCode::UNAUTHORIZED, headers).into());
    }
    if let Some(connection) = request.extensions().get::<Arc<TrackedConnection>>() {
        connection.authenticate(USER);
    }
    let body = request_body::of_authenticated(&http, request, BodyRoute::Postmark).await?;
    let event = serde_json::from_slice(&body.bytes).map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(record(&http, FeedbackSource::Postmark, interpret(event)).await)
}

/// Returns `None` for reports that are not about failures, and for emails of other senders.
pub(super) fn interpret(event: PostmarkEvent) -> Option<ProviderReport> {
    let kind = kind(&event)?;
    let metadata = event.metadata?;
    let text = match event.details.as_str() {
        "" => event.description,
        _ => event.details,
    };
    Some(ProviderReport {
        mail: sent_mail(|name| metadata.get(name)?.text())?,
        kind,
        text,
        event_id: format!("{}-{}", event.id?, event.record_type),
    })
}

fn kind(event: &PostmarkEvent) -> Option<FeedbackKind> {
    match (event.record_type.as_str(), event.r#type.as_str()) {
        ("SpamComplaint", _) | ("Bounce", "SpamComplaint") => Some(FeedbackKind::Complaint),
        ("Bounce", "HardBounce" | "BadEmailAddress") => Some(FeedbackKind::HardBounce),
        // The email was delivered, and a program answered it.
        (
            "Bounce",
            "AutoResponder"
            | "AddressChange"
            | "Subscribe"
            | "Unsubscribe"
            | "ChallengeVerification"
            | "OpenRelayTest",
        ) => None,
        // Postmark will send no more email to the address, for any reason.
        ("Bounce", _) if event.inactive => Some(FeedbackKind::HardBounce),
        // Postmark retries a transient bounce itself, and reports it after the last retry.
        ("Bounce", _) => Some(FeedbackKind::Bounce),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report_of(json: &str) -> Option<ProviderReport> {
        interpret(serde_json::from_str(json).unwrap())
    }

    fn event(record_type: &str, kind: &str, inactive: bool) -> String {
        format!(
            r#"{{"RecordType": "{record_type}", "MessageStream": "outbound", "ID": 42, "Type": "{kind}", "TypeCode": 1,
                 "MessageID": "x", "Metadata": {{"invitation_id": "01990000-0000-7000-8000-000000000001",
                 "send_seq": "3"}}, "ServerID": 1, "Description": "The server was unable to deliver",
                 "Details": "smtp;550 5.1.1 <a@b.co> unknown", "Email": "a@b.co", "Inactive": {inactive}}}"#
        )
    }

    #[test]
    fn reports_about_our_emails_are_interpreted() {
        use FeedbackKind::{Bounce, Complaint, HardBounce};
        for (record_type, kind, inactive, expected) in [
            ("Bounce", "HardBounce", true, Some(HardBounce)),
            ("Bounce", "HardBounce", false, Some(HardBounce)),
            ("Bounce", "BadEmailAddress", true, Some(HardBounce)),
            ("Bounce", "SoftBounce", false, Some(Bounce)),
            ("Bounce", "Transient", false, Some(Bounce)),
            ("Bounce", "Blocked", false, Some(Bounce)),
            ("Bounce", "ManuallyDeactivated", true, Some(HardBounce)),
            ("Bounce", "SpamComplaint", true, Some(Complaint)),
            ("SpamComplaint", "SpamComplaint", true, Some(Complaint)),
            ("Bounce", "AutoResponder", false, None),
            ("Delivery", "", false, None),
            ("Open", "", false, None),
        ] {
            let report = report_of(&event(record_type, kind, inactive));
            assert_eq!(
                report.map(|report| report.kind),
                expected,
                "{record_type} {kind}"
            );
        }
        let report = report_of(&event("Bounce", "HardBounce", true)).unwrap();
        assert_eq!(
            (report.mail.send_seq, report.event_id.as_str()),
            (3, "42-Bounce")
        );
    }

    #[test]
    fn emails_of_other_senders_are_ignored() {
        for json in [
            r#"{"RecordType": "Bounce", "ID": 1, "Type": "HardBounce"}"#,
            r#"{"RecordType": "Bounce", "ID": 1, "Type": "HardBounce", "Metadata": {}}"#,
            r#"{"RecordType": "Bounce", "ID": 1, "Type": "HardBounce", "Metadata": null}"#,
            r#"{"RecordType": "Delivery", "MessageID": "x"}"#,
        ] {
            assert!(report_of(json).is_none(), "{json}");
        }
    }

    #[test]
    fn only_the_configured_password_is_accepted() {
        let password = PostmarkPassword::parse("0123456789abcdef:").unwrap();
        let is_in = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            password.is_in(&headers)
        };
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert!(is_in(&basic("postmark:0123456789abcdef:")));
        assert!(is_in(
            &basic("postmark:0123456789abcdef:").replace("Basic", "basic")
        ));
        for pair in [
            "postmark:0123456789abcdef",
            "root:0123456789abcdef:",
            "postmark:",
            "",
        ] {
            assert!(!is_in(&basic(pair)), "{pair}");
        }
        assert!(!is_in("Bearer cG9zdG1hcms6MDEyMzQ1Njc4OWFiY2RlZjo="));
        assert!(!is_in("Basic"));
        assert!(!password.is_in(&HeaderMap::new()));
        assert!(PostmarkPassword::parse("short").is_none());
        assert!(PostmarkPassword::parse("with a space in it").is_none());
    }
}

//! Entry points for the fuzzer: the authentication and the parsing of reports. They record nothing.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use time::OffsetDateTime;

use super::postmark_webhook::{self, PostmarkPassword};
use super::resend_webhook;
use super::signature::{SignedHead, WebhookSecret};

/// Whether a request with these headers and this body has a valid signature of Resend at this Unix time.
pub fn is_signed(secret: &WebhookSecret, headers: [&[u8]; 3], body: &[u8], second: i64) -> bool {
    let names = ["svix-id", "svix-timestamp", "svix-signature"].map(HeaderName::from_static);
    let valid = |(name, value)| Some((name, HeaderValue::from_bytes(value).ok()?));
    let map: HeaderMap = names.into_iter().zip(headers).filter_map(valid).collect();
    let now = OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    SignedHead::parse(&map, now).is_some_and(|head| secret.signed(&head, body))
}

/// Whether a request with this header has the password of Postmark.
pub fn has_password(password: &PostmarkPassword, authorization: &[u8]) -> bool {
    let value = HeaderValue::from_bytes(authorization).ok();
    let headers = value.map(|value| (header::AUTHORIZATION, value));
    password.is_in(&headers.into_iter().collect())
}

/// How many providers would interpret a body as a report.
pub fn understood(body: &[u8]) -> usize {
    let resend = serde_json::from_slice(body)
        .ok()
        .and_then(|event| resend_webhook::interpret(event, "msg_1"));
    let postmark = serde_json::from_slice(body)
        .ok()
        .and_then(postmark_webhook::interpret);
    usize::from(resend.is_some()) + usize::from(postmark.is_some())
}

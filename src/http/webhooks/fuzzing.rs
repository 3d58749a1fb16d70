//! What the fuzzer may call of reports: their proofs and their reading. Nothing is written down.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use time::OffsetDateTime;

use super::signature::SignedHead;
use super::{PostmarkPassword, WebhookSecret, postmark, resend};

/// Whether a request with these headers and this body proves itself to be Resend's at this second.
#[must_use]
pub fn is_signed(secret: &WebhookSecret, headers: [&[u8]; 3], body: &[u8], second: i64) -> bool {
    let names = ["svix-id", "svix-timestamp", "svix-signature"].map(HeaderName::from_static);
    let mut map = HeaderMap::new();
    for (name, value) in names.into_iter().zip(headers) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            map.insert(name, value);
        }
    }
    let now = OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    SignedHead::parse(&map, now).is_some_and(|head| secret.signed(&head, body))
}

/// Whether a request with this header proves itself to be Postmark's.
#[must_use]
pub fn has_password(password: &PostmarkPassword, authorization: &[u8]) -> bool {
    let mut map = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(authorization) {
        map.insert(header::AUTHORIZATION, value);
    }
    password.is_in(&map)
}

/// Reads a body as either provider's report; returns how many of them understand it.
#[must_use]
pub fn understood(body: &[u8]) -> usize {
    let resend = serde_json::from_slice(body)
        .ok()
        .and_then(|event| resend::understood(event, "msg_1"));
    let postmark = serde_json::from_slice(body)
        .ok()
        .and_then(postmark::understood);
    usize::from(resend.is_some()) + usize::from(postmark.is_some())
}

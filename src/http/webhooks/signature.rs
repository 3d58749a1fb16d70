//! Signatures of Standard Webhooks: an HMAC of the id, the time and the body of a report, with a shared secret.
//!
//! The current time is a parameter. The headers may have the names of the standard (`webhook-id`) or the older ones
//! (`svix-id`).

use std::fmt;
use std::ops::RangeInclusive;

use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use time::OffsetDateTime;

use crate::http::limits::{EVENT_ID_CHARS_MAX, SIGNATURE_AGE_MAX};

const PREFIX: &str = "whsec_";
/// The prefix of a signature by HMAC-SHA256.
const VERSION: &str = "v1,";
/// Accepted lengths of a secret, in bytes. The standard requires 24 to 64.
const SECRET_BYTES: RangeInclusive<usize> = 16..=128;
/// Both spellings of the header names.
const SPELLINGS: [[&str; 3]; 2] = [
    ["svix-id", "svix-timestamp", "svix-signature"],
    ["webhook-id", "webhook-timestamp", "webhook-signature"],
];

/// The secret of a webhook. `Debug` does not print it.
#[derive(Clone)]
pub struct WebhookSecret(Vec<u8>);

/// The well-formed headers of a current report. Their signature is not verified yet.
pub(super) struct SignedHead<'a> {
    /// The provider's id of the report.
    pub(super) event_id: &'a str,
    timestamp: &'a str,
    signatures: &'a str,
}

impl WebhookSecret {
    /// Parses a secret as the provider displays it: `whsec_` and 16 to 128 bytes in base64.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = STANDARD
            .decode(text.strip_prefix(PREFIX).unwrap_or(text))
            .ok()?;
        SECRET_BYTES.contains(&bytes.len()).then_some(Self(bytes))
    }

    /// Whether the head has a signature of this body. There are several signatures while a secret is being rotated.
    pub(super) fn signed(&self, head: &SignedHead<'_>, body: &[u8]) -> bool {
        let expected = Hmac::<Sha256>::new_from_slice(&self.0)
            .expect("HMAC accepts keys of any length")
            .chain_update(head.event_id)
            .chain_update(".")
            .chain_update(head.timestamp)
            .chain_update(".")
            .chain_update(body)
            .finalize()
            .into_bytes();
        head.signatures
            .split(' ')
            .filter_map(|signature| STANDARD.decode(signature.strip_prefix(VERSION)?).ok())
            .any(|signature| bool::from(expected.as_slice().ct_eq(&signature)))
    }
}

impl<'a> SignedHead<'a> {
    /// Returns `None` if a header is missing or malformed, or the time is too far from now.
    pub(super) fn parse(headers: &'a HeaderMap, now: OffsetDateTime) -> Option<Self> {
        let [event_id, timestamp, signatures] = SPELLINGS
            .iter()
            .find(|names| headers.contains_key(names[0]))?
            .map(|name| headers.get(name).and_then(|value| value.to_str().ok()));
        let (event_id, timestamp, signatures) = (event_id?, timestamp?, signatures?);
        // With a dot in the id, one signature would be valid for several pairs of id and time.
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
        let is_plain =
            (1..=EVENT_ID_CHARS_MAX).contains(&event_id.len()) && event_id.bytes().all(is_allowed);
        let signed_at = OffsetDateTime::from_unix_timestamp(timestamp.parse().ok()?).ok()?;
        let is_current = (now - signed_at).abs() <= SIGNATURE_AGE_MAX;
        (is_plain && is_current).then_some(Self {
            event_id,
            timestamp,
            signatures,
        })
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WebhookSecret([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the official libraries.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const TIME: i64 = 1_649_367_553;
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";

    fn is_genuine(spelling: usize, id: &str, time: &str, signatures: &str, now: i64) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in SPELLINGS[spelling].iter().zip([id, time, signatures]) {
            headers.insert(*name, value.parse().unwrap());
        }
        let now = OffsetDateTime::from_unix_timestamp(now).unwrap();
        let secret = WebhookSecret::parse(SECRET).unwrap();
        SignedHead::parse(&headers, now).is_some_and(|head| secret.signed(&head, BODY))
    }

    #[test]
    fn the_example_of_the_standard_is_valid_within_five_minutes_of_its_time() {
        let time = TIME.to_string();
        for spelling in [0, 1] {
            for (seconds, expected) in [
                (0, true),
                (300, true),
                (-300, true),
                (301, false),
                (-301, false),
            ] {
                let now = TIME + seconds;
                assert_eq!(is_genuine(spelling, ID, &time, SIGNATURE, now), expected);
            }
        }
    }

    #[test]
    fn one_valid_signature_of_several_is_sufficient() {
        let time = TIME.to_string();
        let other = "v1,tFtCZ5RDCPxzWQRWXWPgrCgE2frDBe9gjpbWQxnVfsQ=";
        let several = format!("{other} v2,x {SIGNATURE} v1a,{other}");
        assert!(is_genuine(0, ID, &time, &several, TIME));
        for signatures in [
            "",
            "v1,",
            "v1",
            other,
            &SIGNATURE[..20],
            &SIGNATURE[3..],
            "v1a,tZ1I",
        ] {
            assert!(!is_genuine(0, ID, &time, signatures, TIME), "{signatures}");
        }
        let later = (TIME + 1).to_string();
        assert!(!is_genuine(0, ID, &later, SIGNATURE, TIME));
        assert!(!is_genuine(0, "msg_other", &time, SIGNATURE, TIME));
        for odd in ["", "now", "-9223372036854775808", "99999999999999999999"] {
            assert!(!is_genuine(0, ID, odd, SIGNATURE, TIME), "{odd}");
        }
        for odd in ["", "msg.1", "msg 1", &"x".repeat(EVENT_ID_CHARS_MAX + 1)] {
            assert!(!is_genuine(0, odd, &time, SIGNATURE, TIME), "{odd}");
        }
    }

    #[test]
    fn a_malformed_secret_is_refused() {
        assert!(WebhookSecret::parse(&SECRET[PREFIX.len()..]).is_some());
        for text in ["", "whsec_", "whsec_abc", "whsec_!!!!", "whsec_AAAA"] {
            assert!(WebhookSecret::parse(text).is_none(), "{text}");
        }
        let secret = WebhookSecret::parse(SECRET).unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret([redacted])");
    }
}

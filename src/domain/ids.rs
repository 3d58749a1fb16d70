//! Identifiers: those that other systems give to organizations and users, those that this service generates, and names
//! of callers, issuers and lanes.

use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use uuid::{ContextV7, Timestamp, Uuid};

const EXTERNAL_ID_BYTES_MAX: usize = 64;
const PLAIN_NAME_CHARS_MAX: usize = 64;
pub const PLAIN_NAME_RULE: &str = "must be 1 to 64 of A-Z, a-z, 0-9, \".\", \"_\" and \"-\"";

/// The identifier of an organization in the caller's system: 1 to 64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrganizationId(String);

/// The identifier of a user in the caller's system: 1 to 64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(String);

impl OrganizationId {
    pub fn parse(input: &str) -> Option<Self> {
        is_external_id(input).then(|| Self(input.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserId {
    pub fn parse(input: &str) -> Option<Self> {
        is_external_id(input).then(|| Self(input.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_external_id(input: &str) -> bool {
    (1..=EXTERNAL_ID_BYTES_MAX).contains(&input.len())
        && input.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether a name can be that of a caller, an issuer or a lane. These names appear in logs.
pub fn is_plain_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=PLAIN_NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(is_plain)
}

/// Generates `UUIDv7`s (RFC 9562 §5.7) that ascend within a process, even if many are generated in one millisecond.
///
/// Ascending ids keep the rows of a batch together in every index, and the primary key lists the newest rows first.
#[derive(Debug, Default)]
pub struct IdSource(Mutex<ContextV7>);

impl IdSource {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn next(&self, now: OffsetDateTime) -> Uuid {
        let seconds = u64::try_from(now.unix_timestamp()).unwrap_or(0);
        let context = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Uuid::new_v7(Timestamp::from_unix(&*context, seconds, now.nanosecond()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_1_to_64_visible_ascii_characters() {
        assert!(OrganizationId::parse("org_2a:7/x").is_some());
        for bad in ["", "a b", "a\n", "é", &"x".repeat(65)] {
            assert!(UserId::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn ids_generated_at_one_time_ascend() {
        let source = IdSource::new();
        let now = time::macros::datetime!(2026-11-22 18:48 UTC);
        let ids: Vec<_> = (0..10_000).map(|_| source.next(now)).collect();
        assert!(ids.is_sorted());
    }
}

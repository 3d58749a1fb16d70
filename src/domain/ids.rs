//! Identifiers: those other systems gave to organizations and users, and those this service makes.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use uuid::{ContextV7, Timestamp, Uuid};

/// Longest identifier of another system, in bytes.
pub const EXTERNAL_ID_BYTES_MAX: usize = 64;

/// An organization, as the system that owns it names it: 1 to 64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrganizationId(String);

/// A user, as the system that owns it names it: 1 to 64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(String);

impl OrganizationId {
    /// Parses an identifier; `None` if it is empty, too long or not visible ASCII.
    #[must_use]
    pub fn parse(input: &str) -> Option<Self> {
        is_external_id(input).then(|| Self(input.to_owned()))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserId {
    /// Parses an identifier; `None` if it is empty, too long or not visible ASCII.
    #[must_use]
    pub fn parse(input: &str) -> Option<Self> {
        is_external_id(input).then(|| Self(input.to_owned()))
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OrganizationId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_external_id(input: &str) -> bool {
    !input.is_empty()
        && input.len() <= EXTERNAL_ID_BYTES_MAX
        && input.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Makes `UUIDv7`s (RFC 9562 §5.7) that ascend within a process even when many are made in one millisecond.
///
/// Ascending ids keep a batch together in every index and make "newest first" a walk along the primary key.
#[derive(Debug, Default)]
pub struct IdSource(Mutex<ContextV7>);

impl IdSource {
    /// A source of its own.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(ContextV7::new()))
    }

    /// The next id at the given time.
    #[must_use]
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
    fn identifiers_are_visible_ascii_of_bounded_length() {
        assert!(OrganizationId::parse("org_2a:7/x").is_some());
        for bad in ["", "a b", "a\n", "é", &"x".repeat(65)] {
            assert!(UserId::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn ids_of_one_instant_ascend() {
        let source = IdSource::new();
        let now = time::macros::datetime!(2026-11-22 18:48 UTC);
        let ids: Vec<_> = (0..10_000).map(|_| source.next(now)).collect();
        assert!(ids.is_sorted());
    }
}

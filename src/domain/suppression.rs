//! Suppressions: why an address gets no more email, for how long, and which of two suppressions applies.
//!
//! A suppression stores an [`AddressTag`](super::address_tag::AddressTag) and never an address.

use time::{Duration, OffsetDateTime};

use super::address_tag::TAG_BYTES;
use super::named_enum::named_enum;

/// How long a hard bounce suppresses an address. Mailboxes are closed and later given to other people.
pub const HARD_BOUNCE_DURATION: Duration = Duration::days(180);

/// The organization id of a suppression that applies to all organizations.
pub const EVERY_ORGANIZATION: &str = "";

named_enum! {
    /// Why an address is suppressed, the weakest reason first: a report of a mail server, an entry of an operator, then
    /// wishes of the reader.
    ///
    /// Of two suppressions of one address the one that ends later stays. If both end together, the one with the
    /// stronger reason stays. So reports may arrive in any order.
    pub enum SuppressionReason {
        HardBounce = "hard_bounce",
        Manual = "manual",
        /// The reader declined an invitation and wants no other from this organization.
        Declined = "declined",
        /// The reader used the unsubscribe link.
        Unsubscribed = "unsubscribed",
        /// The reader reported an email as spam.
        Complaint = "complaint",
    }
}

impl SuppressionReason {
    /// When a suppression that begins now ends. Returns `None` if it stays until somebody removes it.
    pub fn ends_at(self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        (self == Self::HardBounce).then(|| now + HARD_BOUNCE_DURATION)
    }

    /// Whether the reason stops an invitation with an email (`is_mailed`) or without one. A mailbox that does not exist
    /// matters only if an email is sent. Every other reason is a wish not to be invited.
    pub const fn stops(self, is_mailed: bool) -> bool {
        is_mailed || !matches!(self, Self::HardBounce)
    }
}

/// The key of a suppression, which lists are sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppressionKey {
    /// Empty for all organizations.
    pub organization_id: String,
    pub tag: [u8; TAG_BYTES],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// Empty for all organizations.
    pub organization_id: String,
    pub tag: [u8; TAG_BYTES],
    pub reason: SuppressionReason,
    /// When the suppression was added or last confirmed.
    pub created_at: OffsetDateTime,
    /// `None` if the suppression stays until somebody removes it.
    pub expires_at: Option<OffsetDateTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_sorted_from_the_weakest_and_found_by_their_names() {
        assert!(SuppressionReason::ALL.is_sorted());
        for reason in SuppressionReason::ALL {
            assert_eq!(SuppressionReason::from_name(reason.as_str()), Some(reason));
        }
        assert_eq!(SuppressionReason::from_name("bored"), None);
    }

    #[test]
    fn only_a_hard_bounce_ends_by_itself_and_allows_invitations_without_email() {
        let now = time::macros::datetime!(2026-11-22 18:48 UTC);
        for reason in SuppressionReason::ALL {
            let is_bounce = reason == SuppressionReason::HardBounce;
            let end = is_bounce.then_some(time::macros::datetime!(2027-05-21 18:48 UTC));
            assert_eq!(reason.ends_at(now), end, "{reason:?}");
            assert!(reason.stops(true), "{reason:?}");
            assert_eq!(reason.stops(false), !is_bounce, "{reason:?}");
        }
    }
}

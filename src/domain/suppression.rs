//! Suppressions: why an address gets no more mail, for how long, and which of two reasons counts.
//!
//! Whom a suppression concerns is an [`AddressTag`](super::address_tag::AddressTag) and never an address.

use time::{Duration, OffsetDateTime};

use super::address_tag::TAG_BYTES;

/// How long an address that bounced is left alone: mailboxes are given up, and given to others.
pub const HARD_BOUNCE_DURATION: Duration = Duration::days(180);

/// The organization of suppressions that stop the invitations of all.
pub const EVERY_ORGANIZATION: &str = "";

/// Why an address is suppressed, the weakest first: what its reader said counts more than what an operator or a mail
/// server did.
///
/// Of two suppressions of one address the one that ends later is the stronger, and of two that end together the one
/// with the stronger reason. The stronger one stays, whichever came first, so that reports may come in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SuppressionReason {
    /// There is no such mailbox.
    HardBounce,
    /// Somebody put it on the list by hand.
    Manual,
    /// Its reader declined an invitation and wants no other from this organization.
    Declined,
    /// Its reader followed the link that stops mails.
    Unsubscribed,
    /// Its reader reported a mail as unwanted.
    Complaint,
}

impl SuppressionReason {
    /// Every reason, the weakest first.
    pub const ALL: [Self; 5] = [
        Self::HardBounce,
        Self::Manual,
        Self::Declined,
        Self::Unsubscribed,
        Self::Complaint,
    ];

    /// The name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HardBounce => "hard_bounce",
            Self::Manual => "manual",
            Self::Declined => "declined",
            Self::Unsubscribed => "unsubscribed",
            Self::Complaint => "complaint",
        }
    }

    /// The reason with this name in the store.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == name)
    }

    /// When a suppression that begins now ends by itself; `None` if it lasts until it is lifted.
    #[must_use]
    pub fn ends_at(self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        match self {
            Self::HardBounce => Some(now + HARD_BOUNCE_DURATION),
            Self::Manual | Self::Declined | Self::Unsubscribed | Self::Complaint => None,
        }
    }

    /// Whether it stops an invitation of this kind. A mailbox that is not there is in nobody's way where no mail is
    /// sent; every other reason is a wish not to be invited.
    #[must_use]
    pub const fn stops(self, is_mailed: bool) -> bool {
        match self {
            Self::HardBounce => is_mailed,
            Self::Manual | Self::Declined | Self::Unsubscribed | Self::Complaint => true,
        }
    }
}

/// An entry of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The organization whose invitations it stops; empty for those of all.
    pub organization_id: String,
    /// What stands for the address.
    pub tag: [u8; TAG_BYTES],
    /// Why.
    pub reason: SuppressionReason,
    /// When it was added, or last confirmed.
    pub created_at: OffsetDateTime,
    /// When it ends by itself; `None` for never.
    pub expires_at: Option<OffsetDateTime>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_listed_from_the_weakest_and_found_by_their_names() {
        assert!(SuppressionReason::ALL.is_sorted());
        for reason in SuppressionReason::ALL {
            assert_eq!(SuppressionReason::from_name(reason.as_str()), Some(reason));
        }
        assert_eq!(SuppressionReason::from_name("bored"), None);
    }

    #[test]
    fn only_a_bounce_ends_by_itself_and_lets_unmailed_invitations_pass() {
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

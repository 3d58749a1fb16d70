//! Quotas: how many people an organization may invite and how many emails an address may get.
//!
//! Quotas count recipients, not requests. The store has the counters.

use std::collections::HashSet;
use std::time::Duration;

use time::{Date, OffsetDateTime, Time};

use super::named_enum::named_enum;

/// Pending invitations of an organization: as many as one call can create. With more, the invited people do not answer.
pub const ORGANIZATION_PENDING_DEFAULT: u32 = 10_000;
/// Invitations of an organization in a day: two calls of the largest size.
pub const ORGANIZATION_DAILY_DEFAULT: u32 = 20_000;
/// Emails to an address in a day, over all organizations. Nobody is seriously invited by more.
pub const ADDRESS_DAILY_DEFAULT: u32 = 10;
/// Resends of an invitation within [`RESENDS_WINDOW`]: for a lost email, one in the spam folder, and one to spare.
pub const INVITATION_RESENDS_DEFAULT: u32 = 3;
pub const RESENDS_WINDOW: Duration = Duration::from_hours(24);
/// When to retry if an organization has too many pending invitations. Nobody can predict when people answer.
const PENDING_RETRY_HINT: Duration = Duration::from_hours(1);

/// The configured limits; `None` for no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimits {
    pub organization_pending: Option<u32>,
    /// Invitations that an organization creates or resends in a UTC day.
    pub organization_daily: Option<u32>,
    /// Emails to one address in a UTC day, over all organizations.
    pub address_daily: Option<u32>,
    pub invitation_resends: Option<u32>,
    /// Shortest time between two emails of one invitation.
    pub invitation_pause: Option<Duration>,
}

impl QuotaLimits {
    pub const OFF: Self = Self {
        organization_pending: None,
        organization_daily: None,
        address_daily: None,
        invitation_resends: None,
        invitation_pause: None,
    };

    pub const fn counts_organizations(&self) -> bool {
        self.organization_pending.is_some() || self.organization_daily.is_some()
    }

    pub const fn counts_resends(&self) -> bool {
        self.invitation_resends.is_some() || self.invitation_pause.is_some()
    }

    /// The quota that forbids a resend of an invitation now, if there is one.
    pub fn resend_obstacle(
        &self,
        sent: &RecentMails,
        now: OffsetDateTime,
    ) -> Option<ExceededQuota> {
        let wait =
            |since: OffsetDateTime, duration: Duration| (since + duration - now).unsigned_abs();
        if let (Some(pause), Some(last)) = (self.invitation_pause, sent.last_queued_at)
            && last + pause > now
        {
            return Some(ExceededQuota {
                quota: Quota::InvitationPause,
                limit: pause.as_secs(),
                retry_after: wait(last, pause),
            });
        }
        let limit = self.invitation_resends?;
        // A resend is possible once this one is older than the window.
        let index = usize::try_from(limit.checked_sub(1)?).ok()?;
        let oldest = sent.resent_at.get(index)?;
        Some(ExceededQuota {
            quota: Quota::InvitationResends,
            limit: u64::from(limit),
            retry_after: wait(*oldest, RESENDS_WINDOW),
        })
    }

    pub fn exceeded(&self, quota: Quota, now: OffsetDateTime) -> ExceededQuota {
        let limit = match quota {
            Quota::OrganizationPending => self.organization_pending,
            Quota::OrganizationDaily => self.organization_daily,
            Quota::AddressDaily => self.address_daily,
            Quota::InvitationResends => self.invitation_resends,
            Quota::InvitationPause => None,
        };
        let tomorrow = day(now).next_day().unwrap_or(Date::MAX);
        let tomorrow = tomorrow.with_time(Time::MIDNIGHT).assume_utc();
        let retry_after = match quota {
            Quota::OrganizationPending => PENDING_RETRY_HINT,
            _ => (tomorrow - now).unsigned_abs(),
        };
        ExceededQuota {
            quota,
            limit: limit.map_or(0, u64::from),
            retry_after,
        }
    }
}

/// The earlier emails of an invitation, which limit further ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecentMails {
    pub last_queued_at: Option<OffsetDateTime>,
    /// The resends within [`RESENDS_WINDOW`], newest first.
    pub resent_at: Vec<OffsetDateTime>,
}

named_enum! {
    /// The quotas, each documented at its field of [`QuotaLimits`]. The protocol and stored responses have these names.
    pub enum Quota {
        OrganizationPending = "organization_pending",
        OrganizationDaily = "organization_daily",
        AddressDaily = "address_daily",
        InvitationResends = "invitation_resends",
        InvitationPause = "invitation_pause",
    }
}

impl Quota {
    pub const fn subject(self) -> &'static str {
        match self {
            Self::OrganizationPending | Self::OrganizationDaily => "organization",
            Self::AddressDaily => "address",
            Self::InvitationResends | Self::InvitationPause => "invitation",
        }
    }

    /// A fixed sentence for a developer. It repeats nothing of the input.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::OrganizationPending => {
                "the organization has the maximum number of pending invitations"
            }
            Self::OrganizationDaily => {
                "the organization has created the maximum number of invitations of today"
            }
            Self::AddressDaily => "the address has received the maximum number of emails of today",
            Self::InvitationResends => {
                "the invitation was resent the maximum number of times within 24 hours"
            }
            Self::InvitationPause => "the latest email of the invitation was queued too recently",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExceededQuota {
    pub quota: Quota,
    /// The configured limit; for a pause, its seconds.
    pub limit: u64,
    /// After which time a retry may succeed.
    pub retry_after: Duration,
}

impl ExceededQuota {
    /// [`Self::retry_after`] in whole seconds, rounded up.
    pub fn retry_after_seconds(&self) -> u64 {
        self.retry_after.as_secs() + u64::from(self.retry_after.subsec_nanos() > 0)
    }
}

/// What one item needs of the quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaRequest {
    /// The hash of the address that gets an email. `None` if no email is sent or addresses have no limit.
    pub address: Option<i64>,
    /// Whether the item adds a pending invitation.
    pub is_new_pending: bool,
}

/// The remaining quotas of a call; `None` for no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuotaAllowance {
    /// Invitations that the organization may still create today.
    pub daily: Option<u64>,
    /// Pending invitations that the organization may still have.
    pub pending: Option<u64>,
    /// Hashes of the addresses that get no further email today.
    pub full: HashSet<i64>,
}

impl QuotaAllowance {
    /// Subtracts the needs of one item. If one of them is exceeded, subtracts nothing and returns the exceeded quota.
    pub fn reserve(&mut self, request: &QuotaRequest) -> Result<(), Quota> {
        let is_full = |address| self.full.contains(&address);
        if request.address.is_some_and(is_full) {
            return Err(Quota::AddressDaily);
        }
        if self.daily == Some(0) {
            return Err(Quota::OrganizationDaily);
        }
        if request.is_new_pending && self.pending == Some(0) {
            return Err(Quota::OrganizationPending);
        }
        self.daily = self.daily.map(|left| left - 1);
        if request.is_new_pending {
            self.pending = self.pending.map(|left| left - 1);
        }
        Ok(())
    }
}

pub fn day(now: OffsetDateTime) -> Date {
    now.to_offset(time::UtcOffset::UTC).date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::{date, datetime};

    const NOW: OffsetDateTime = datetime!(2026-11-22 18:48 UTC);
    const LIMITS: QuotaLimits = QuotaLimits {
        organization_pending: Some(5),
        organization_daily: Some(7),
        address_daily: Some(2),
        invitation_resends: Some(3),
        invitation_pause: Some(Duration::from_mins(1)),
    };

    #[test]
    fn a_day_ends_at_midnight_utc() {
        assert_eq!(day(datetime!(2026-11-23 00:30 +1)), date!(2026 - 11 - 22));
        let exceeded = LIMITS.exceeded(Quota::OrganizationDaily, NOW);
        assert_eq!(exceeded.retry_after, Duration::from_mins(5 * 60 + 12));
        assert_eq!(exceeded.limit, 7);
        let last = datetime!(2026-11-22 23:59:59.5 UTC);
        assert_eq!(
            LIMITS
                .exceeded(Quota::AddressDaily, last)
                .retry_after_seconds(),
            1
        );
    }

    #[test]
    fn an_exceeded_quota_reserves_nothing() {
        let mut left = QuotaAllowance {
            daily: Some(2),
            pending: Some(1),
            full: HashSet::from([9]),
        };
        let request = |address, is_new_pending| QuotaRequest {
            address,
            is_new_pending,
        };
        assert_eq!(
            left.reserve(&request(Some(9), true)),
            Err(Quota::AddressDaily)
        );
        assert_eq!(left.reserve(&request(Some(1), true)), Ok(()));
        assert_eq!(
            left.reserve(&request(Some(2), true)),
            Err(Quota::OrganizationPending)
        );
        assert_eq!(left.reserve(&request(Some(2), false)), Ok(()));
        assert_eq!(
            left.reserve(&request(None, false)),
            Err(Quota::OrganizationDaily)
        );
        let mut unlimited = QuotaAllowance::default();
        assert!((0..100).all(|address| unlimited.reserve(&request(Some(address), true)).is_ok()));
    }

    #[test]
    fn an_invitation_is_resent_after_a_pause_and_a_limited_number_of_times() {
        let ago = |minutes: i64| NOW - time::Duration::minutes(minutes);
        let sent = |last: i64, resent: &[i64]| RecentMails {
            last_queued_at: Some(ago(last)),
            resent_at: resent.iter().map(|minutes| ago(*minutes)).collect(),
        };
        let obstacle = |sent: &RecentMails| {
            LIMITS
                .resend_obstacle(sent, NOW)
                .map(|it| (it.quota, it.retry_after_seconds()))
        };
        assert_eq!(obstacle(&RecentMails::default()), None);
        assert_eq!(obstacle(&sent(1, &[1, 2])), None);
        assert_eq!(obstacle(&sent(0, &[])), Some((Quota::InvitationPause, 60)));
        let full = sent(10, &[10, 60, 23 * 60, 23 * 60 + 30]);
        assert_eq!(obstacle(&full), Some((Quota::InvitationResends, 3_600)));
        assert_eq!(QuotaLimits::OFF.resend_obstacle(&full, NOW), None);
    }

    #[test]
    fn every_quota_is_found_by_its_code() {
        for quota in Quota::ALL {
            assert_eq!(Quota::from_name(quota.as_str()), Some(quota));
        }
    }
}

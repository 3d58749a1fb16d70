//! Quotas: how many people may be invited and mailed, what is left of that, and what is told to whoever asks for more.
//!
//! Counting is the store's business. All of it counts recipients, never requests.

use std::collections::HashSet;
use std::time::Duration;

use time::{Date, OffsetDateTime, Time};

/// Pending invitations of one organization: as many as one call may make. An organization that waits for more people
/// than that mails people who do not come.
pub const ORGANIZATION_PENDING_DEFAULT: u32 = 10_000;
/// Invitations of one organization a day: two calls of the largest size.
pub const ORGANIZATION_DAILY_DEFAULT: u32 = 20_000;
/// Mails to one address a day, over all organizations: nobody is wanted by more in earnest.
pub const ADDRESS_DAILY_DEFAULT: u32 = 10;
/// Resends of one invitation within [`RESENDS_WINDOW`]: one for the mail that was lost, one for the one in the spam
/// folder, one for luck.
pub const INVITATION_RESENDS_DEFAULT: u32 = 3;
/// The time in which resends of one invitation are counted.
pub const RESENDS_WINDOW: Duration = Duration::from_hours(24);
/// When to look again where invitations have to be answered first: nobody knows when people answer, and a program that
/// asks every hour does no harm.
const PENDING_RETRY_HINT: Duration = Duration::from_hours(1);

/// How much may be asked for. Each is a setting; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Invitations of an organization that are pending at once.
    pub organization_pending: Option<u32>,
    /// Invitations an organization makes or mails again a day, in UTC.
    pub organization_daily: Option<u32>,
    /// Mails to one address a day, in UTC, over all organizations.
    pub address_daily: Option<u32>,
    /// Resends of one invitation within [`RESENDS_WINDOW`].
    pub invitation_resends: Option<u32>,
    /// The time between two mails of one invitation.
    pub invitation_pause: Option<Duration>,
}

impl QuotaLimits {
    /// No limit at all.
    pub const OFF: Self = Self {
        organization_pending: None,
        organization_daily: None,
        address_daily: None,
        invitation_resends: None,
        invitation_pause: None,
    };

    /// Whether an organization has a limit.
    #[must_use]
    pub const fn counts_organizations(&self) -> bool {
        self.organization_pending.is_some() || self.organization_daily.is_some()
    }

    /// Whether an invitation has a limit.
    #[must_use]
    pub const fn counts_resends(&self) -> bool {
        self.invitation_resends.is_some() || self.invitation_pause.is_some()
    }

    /// Why an invitation may not be mailed again now.
    #[must_use]
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
        let most = self.invitation_resends?;
        // The one that has to fall out of the window before there is room.
        let oldest = most
            .checked_sub(1)
            .and_then(|most| usize::try_from(most).ok())?;
        let oldest = sent.resent_at.get(oldest)?;
        Some(ExceededQuota {
            quota: Quota::InvitationResends,
            limit: u64::from(most),
            retry_after: wait(*oldest, RESENDS_WINDOW),
        })
    }

    /// What to tell where a quota is used up.
    #[must_use]
    pub fn exceeded(&self, quota: Quota, now: OffsetDateTime) -> ExceededQuota {
        let limit = match quota {
            Quota::OrganizationPending => self.organization_pending,
            Quota::OrganizationDaily => self.organization_daily,
            Quota::AddressDaily => self.address_daily,
            Quota::InvitationResends => self.invitation_resends,
            Quota::InvitationPause => None,
        };
        let retry_after = match quota {
            Quota::OrganizationPending => PENDING_RETRY_HINT,
            _ => until_tomorrow(now),
        };
        ExceededQuota {
            quota,
            limit: limit.map_or(0, u64::from),
            retry_after,
        }
    }
}

/// The mails of one invitation that count against another one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecentMails {
    /// When its latest mail was queued.
    pub last_queued_at: Option<OffsetDateTime>,
    /// When it was mailed again within [`RESENDS_WINDOW`], newest first.
    pub resent_at: Vec<OffsetDateTime>,
}

/// What can be used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Invitations of an organization that are pending at once.
    OrganizationPending,
    /// Invitations of an organization a day.
    OrganizationDaily,
    /// Mails to an address a day.
    AddressDaily,
    /// Resends of an invitation within a day.
    InvitationResends,
    /// The time between two mails of an invitation.
    InvitationPause,
}

impl Quota {
    const ALL: [Self; 5] = [
        Self::OrganizationPending,
        Self::OrganizationDaily,
        Self::AddressDaily,
        Self::InvitationResends,
        Self::InvitationPause,
    ];

    /// Its name, on the wire and in what is kept for repetitions.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::OrganizationPending => "organization_pending",
            Self::OrganizationDaily => "organization_daily",
            Self::AddressDaily => "address_daily",
            Self::InvitationResends => "invitation_resends",
            Self::InvitationPause => "invitation_pause",
        }
    }

    /// The quota of this name.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|quota| quota.code() == code)
    }

    /// Whose quota it is. Names a kind and nobody.
    #[must_use]
    pub const fn subject(self) -> &'static str {
        match self {
            Self::OrganizationPending | Self::OrganizationDaily => "organization",
            Self::AddressDaily => "address",
            Self::InvitationResends | Self::InvitationPause => "invitation",
        }
    }

    /// A fixed sentence for a developer; repeats nothing of the input.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::OrganizationPending => {
                "the organization has as many pending invitations as it may have"
            }
            Self::OrganizationDaily => {
                "the organization has made as many invitations today as it may make in a day"
            }
            Self::AddressDaily => "the address was mailed as often today as it may be in a day",
            Self::InvitationResends => {
                "the invitation was mailed again as often as it may be in 24 hours"
            }
            Self::InvitationPause => "the invitation was mailed a moment ago",
        }
    }
}

/// A quota that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExceededQuota {
    /// Which.
    pub quota: Quota,
    /// How much may be asked for; of a pause, its seconds.
    pub limit: u64,
    /// When asking again may help.
    pub retry_after: Duration,
}

impl ExceededQuota {
    /// When asking again may help, in whole seconds, never too early.
    #[must_use]
    pub const fn retry_after_seconds(&self) -> u64 {
        let seconds = self.retry_after.as_secs();
        if self.retry_after.subsec_nanos() > 0 {
            seconds + 1
        } else {
            seconds
        }
    }
}

/// What one item asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaRequest {
    /// The hash of the address it mails; `None` if it mails nobody, or where nobody counts.
    pub address: Option<i64>,
    /// Whether one more invitation is pending afterwards.
    pub is_new_pending: bool,
}

/// What is left of the quotas a call takes from; `None` is no limit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QuotaAllowance {
    /// Invitations the organization may make today.
    pub daily: Option<u64>,
    /// Invitations of it that may become pending.
    pub pending: Option<u64>,
    /// Hashes of addresses that get no further mail today.
    pub full: HashSet<i64>,
}

impl QuotaAllowance {
    /// Takes what one item asks for, all of it or nothing.
    ///
    /// # Errors
    ///
    /// The quota that is used up.
    pub fn reserve(&mut self, ask: &QuotaRequest) -> Result<(), Quota> {
        if ask
            .address
            .is_some_and(|address| self.full.contains(&address))
        {
            return Err(Quota::AddressDaily);
        }
        if self.daily == Some(0) {
            return Err(Quota::OrganizationDaily);
        }
        if ask.is_new_pending && self.pending == Some(0) {
            return Err(Quota::OrganizationPending);
        }
        self.daily = self.daily.map(|left| left - 1);
        if ask.is_new_pending {
            self.pending = self.pending.map(|left| left - 1);
        }
        Ok(())
    }
}

/// The day that a time counts for.
#[must_use]
pub fn day(now: OffsetDateTime) -> Date {
    now.to_offset(time::UtcOffset::UTC).date()
}

fn until_tomorrow(now: OffsetDateTime) -> Duration {
    let tomorrow = day(now).next_day().unwrap_or(Date::MAX);
    (tomorrow.with_time(Time::MIDNIGHT).assume_utc() - now).unsigned_abs()
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
    fn a_day_is_one_of_utc_and_ends_at_its_midnight() {
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
    fn what_does_not_fit_takes_nothing() {
        let mut left = QuotaAllowance {
            daily: Some(2),
            pending: Some(1),
            full: HashSet::from([9]),
        };
        let ask = |address, is_new_pending| QuotaRequest {
            address,
            is_new_pending,
        };
        assert_eq!(left.reserve(&ask(Some(9), true)), Err(Quota::AddressDaily));
        assert_eq!(left.reserve(&ask(Some(1), true)), Ok(()));
        assert_eq!(
            left.reserve(&ask(Some(2), true)),
            Err(Quota::OrganizationPending)
        );
        assert_eq!(left.reserve(&ask(Some(2), false)), Ok(()));
        assert_eq!(
            left.reserve(&ask(None, false)),
            Err(Quota::OrganizationDaily)
        );
        let mut unlimited = QuotaAllowance::default();
        assert!((0..100).all(|address| unlimited.reserve(&ask(Some(address), true)).is_ok()));
    }

    #[test]
    fn an_invitation_is_mailed_again_after_a_pause_and_so_often_a_day() {
        let ago = |minutes: i64| NOW - time::Duration::minutes(minutes);
        let sent = |last: i64, resent: &[i64]| RecentMails {
            last_queued_at: Some(ago(last)),
            resent_at: resent.iter().map(|minutes| ago(*minutes)).collect(),
        };
        let told = |sent: &RecentMails| {
            LIMITS
                .resend_obstacle(sent, NOW)
                .map(|it| (it.quota, it.retry_after_seconds()))
        };
        assert_eq!(told(&RecentMails::default()), None);
        assert_eq!(told(&sent(1, &[1, 2])), None);
        assert_eq!(told(&sent(0, &[])), Some((Quota::InvitationPause, 60)));
        let full = sent(10, &[10, 60, 23 * 60, 23 * 60 + 30]);
        assert_eq!(told(&full), Some((Quota::InvitationResends, 3_600)));
        assert_eq!(QuotaLimits::OFF.resend_obstacle(&full, NOW), None);
    }

    #[test]
    fn names_lead_back() {
        for quota in Quota::ALL {
            assert_eq!(Quota::from_code(quota.code()), Some(quota));
        }
    }
}

//! Expiry: when an invitation expires, between an hour and a year after it was created.

use time::{Duration, OffsetDateTime};

use super::reason::Reason;

pub const TTL_MIN: Duration = Duration::hours(1);
pub const TTL_MAX: Duration = Duration::days(365);
/// Time until an invitation expires that sets none.
pub const TTL_DEFAULT: Duration = Duration::days(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    Default,
    /// This long after now.
    Ttl(Duration),
    At(OffsetDateTime),
    /// The named field is not a valid duration or time.
    Malformed(&'static str),
}

impl Expiry {
    /// The field in which a caller sends this expiry.
    pub const fn field(self) -> &'static str {
        match self {
            Self::At(_) => "expire_time",
            Self::Default | Self::Ttl(_) => "ttl",
            Self::Malformed(field) => field,
        }
    }

    /// The time of expiry in whole microseconds, which is what the database stores.
    pub fn resolve(self, now: OffsetDateTime) -> Result<OffsetDateTime, Reason> {
        let ttl = match self {
            Self::Default => TTL_DEFAULT,
            Self::Ttl(ttl) => ttl,
            Self::At(time) => time - now,
            Self::Malformed(_) => return Err(Reason::ExpiryOutOfRange),
        };
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(Reason::ExpiryOutOfRange);
        }
        let expires_at = now + ttl;
        Ok(expires_at - Duration::nanoseconds(i64::from(expires_at.nanosecond() % 1_000)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_expires_after_an_hour_to_a_year() {
        let now = time::macros::datetime!(2026-11-22 18:48 UTC);
        assert_eq!(Expiry::Default.resolve(now), Ok(now + Duration::days(30)));
        assert_eq!(Expiry::Ttl(TTL_MIN).resolve(now), Ok(now + TTL_MIN));
        assert_eq!(Expiry::At(now + TTL_MAX).resolve(now), Ok(now + TTL_MAX));
        let refused = [
            Expiry::Ttl(Duration::ZERO),
            Expiry::Ttl(Duration::seconds(-1)),
            Expiry::Ttl(TTL_MIN - Duration::nanoseconds(1)),
            Expiry::Ttl(Duration::days(366)),
            Expiry::Ttl(Duration::MAX),
            Expiry::At(now - Duration::days(1)),
            Expiry::Malformed("ttl"),
        ];
        for expiry in refused {
            assert_eq!(
                expiry.resolve(now),
                Err(Reason::ExpiryOutOfRange),
                "{expiry:?}"
            );
        }
    }
}

//! Reminders: how long before an invitation expires its person gets a second email, and when a reminder is pointless.

use time::{Duration, OffsetDateTime};

use super::reason::Reason;

/// Shortest lead, so that the person has time to accept.
pub const LEAD_MIN: Duration = Duration::hours(1);
pub const LEAD_MAX: Duration = Duration::days(30);
/// Shortest time between an email and its reminder. An earlier reminder is not sent.
pub const PAUSE_MIN: Duration = Duration::hours(1);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReminderInput {
    #[default]
    Unset,
    Lead(Duration),
    Malformed,
}

impl ReminderInput {
    /// The lead, or `unset` if the caller sent none.
    pub fn resolve(self, unset: ReminderLead) -> Result<ReminderLead, Reason> {
        match self {
            Self::Unset => Ok(unset),
            Self::Lead(lead) => ReminderLead::parse(lead),
            Self::Malformed => Err(Reason::FieldInvalid),
        }
    }
}

/// How long before its expiry a reminder is due, in whole seconds. Zero means no reminder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReminderLead(i32);

impl ReminderLead {
    pub const NEVER: Self = Self(0);

    /// Checks a lead: zero, or from [`LEAD_MIN`] to [`LEAD_MAX`].
    pub fn parse(lead: Duration) -> Result<Self, Reason> {
        let is_allowed = lead.is_zero() || (LEAD_MIN..=LEAD_MAX).contains(&lead);
        let seconds = i32::try_from(lead.whole_seconds()).ok();
        let lead = seconds.filter(|_| is_allowed).map(Self);
        lead.ok_or(Reason::FieldInvalid)
    }

    pub const fn from_seconds(seconds: i32) -> Self {
        Self(seconds)
    }

    pub const fn seconds(self) -> i32 {
        self.0
    }

    /// When the reminder of an invitation is due whose email is sent at `mailed_at`. Returns `None` if there is no
    /// reminder. The store computes the same for invitations that are resent.
    pub fn due_at(
        self,
        expires_at: OffsetDateTime,
        mailed_at: OffsetDateTime,
    ) -> Option<OffsetDateTime> {
        let due_at = expires_at - Duration::seconds(i64::from(self.0));
        (self != Self::NEVER && due_at >= mailed_at + PAUSE_MIN).then_some(due_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);

    #[test]
    fn an_hour_to_thirty_days_or_never_is_allowed() {
        let parse = ReminderLead::parse;
        assert_eq!(parse(Duration::ZERO), Ok(ReminderLead::NEVER));
        assert_eq!(parse(LEAD_MIN), Ok(ReminderLead(3_600)));
        assert_eq!(parse(LEAD_MAX), Ok(ReminderLead(2_592_000)));
        for refused in [
            Duration::nanoseconds(1),
            -LEAD_MIN,
            LEAD_MIN - Duration::nanoseconds(1),
            LEAD_MAX + Duration::nanoseconds(1),
            Duration::MAX,
        ] {
            assert_eq!(parse(refused), Err(Reason::FieldInvalid), "{refused}");
        }
        let malformed = ReminderInput::Malformed.resolve(ReminderLead::NEVER);
        assert_eq!(malformed, Err(Reason::FieldInvalid));
    }

    #[test]
    fn a_reminder_is_due_an_hour_after_the_email_at_the_earliest() {
        let lead = ReminderLead(86_400);
        let expires_at = NOW + Duration::days(7);
        assert_eq!(lead.due_at(expires_at, NOW), Some(NOW + Duration::days(6)));
        let expires_at = NOW + Duration::hours(25);
        assert_eq!(lead.due_at(expires_at, NOW), Some(NOW + Duration::HOUR));
        assert_eq!(lead.due_at(expires_at - Duration::SECOND, NOW), None);
        assert_eq!(ReminderLead::NEVER.due_at(expires_at, NOW), None);
    }
}

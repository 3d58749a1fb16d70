//! Settings of quotas and rates.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, value_parser};
use humantime::parse_duration;

use crate::domain::quota::{
    ADDRESS_DAILY_DEFAULT, INVITATION_RESENDS_DEFAULT, ORGANIZATION_DAILY_DEFAULT,
    ORGANIZATION_PENDING_DEFAULT, QuotaLimits,
};
use crate::grpc::limits::CALLER_RATE_DEFAULT;

#[derive(Debug, Clone, Args)]
pub(super) struct QuotaArgs {
    /// Most pending invitations of an organization; 0 for no limit
    #[arg(long, env = "INVITATIONS_QUOTA_ORGANIZATION_PENDING", default_value_t = ORGANIZATION_PENDING_DEFAULT)]
    quota_organization_pending: u32,
    /// Most invitations that an organization creates or resends in a UTC day; 0 for no limit
    #[arg(long, env = "INVITATIONS_QUOTA_ORGANIZATION_DAILY", default_value_t = ORGANIZATION_DAILY_DEFAULT)]
    quota_organization_daily: u32,
    /// Most emails to one address in a UTC day, over all organizations, without reminders; 0 for no limit
    #[arg(long, env = "INVITATIONS_QUOTA_ADDRESS_DAILY", default_value_t = ADDRESS_DAILY_DEFAULT)]
    quota_address_daily: u32,
    /// Most resends of one invitation within 24 hours; 0 for no limit
    #[arg(long, env = "INVITATIONS_QUOTA_RESENDS", default_value_t = INVITATION_RESENDS_DEFAULT)]
    quota_resends: u32,
    /// Shortest time between two emails of one invitation; 0s for none
    #[arg(long, env = "INVITATIONS_QUOTA_RESEND_PAUSE", default_value = "60s", value_parser = parse_duration)]
    quota_resend_pause: Duration,
    /// Recipients per second that one caller may invite or resend to, in each process, with a burst of 20,000; 0 for no
    /// limit
    #[arg(long, env = "INVITATIONS_CALLER_RATE", default_value_t = CALLER_RATE_DEFAULT, value_parser = value_parser!(u32).range(..=1_000_000))]
    caller_rate: u32,
}

impl QuotaArgs {
    pub(super) fn limits(&self) -> QuotaLimits {
        let limit = |limit: u32| (limit > 0).then_some(limit);
        let pause = self.quota_resend_pause;
        QuotaLimits {
            organization_pending: limit(self.quota_organization_pending),
            organization_daily: limit(self.quota_organization_daily),
            address_daily: limit(self.quota_address_daily),
            invitation_resends: limit(self.quota_resends),
            invitation_pause: (!pause.is_zero()).then_some(pause),
        }
    }

    pub(super) const fn caller_rate(&self) -> Option<NonZeroU32> {
        NonZeroU32::new(self.caller_rate)
    }
}

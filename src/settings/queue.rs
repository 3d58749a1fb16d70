//! Settings of the delivery queue.

use std::time::Duration;

use clap::{Args, ValueEnum};
use humantime::parse_duration;

use crate::delivery::{AmbiguousPolicy, DeliveryConfig, LaneConfig};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MailAmbiguous {
    /// Send the email again: it is never lost, but may arrive twice
    Retry,
    /// Keep it as a dead letter until it is requeued; it may still arrive twice if a worker crashes
    Hold,
}

#[derive(Debug, Clone, Args)]
pub(super) struct QueueArgs {
    /// What to do with an email that a relay may have accepted, because its last reply is missing
    #[arg(long, env = "INVITATIONS_MAIL_AMBIGUOUS", default_value = "retry")]
    mail_ambiguous: MailAmbiguous,
    /// How long a worker owns an email that it claimed, unless it extends the lease; after a crash the email waits this
    /// long
    #[arg(long, env = "INVITATIONS_LEASE_DURATION", default_value = "120s", value_parser = parse_duration)]
    pub(super) lease_duration: Duration,
    /// How often to look for due emails; calls in the same process wake the worker at once
    #[arg(long, env = "INVITATIONS_POLL_INTERVAL", default_value = "1s", value_parser = parse_duration)]
    pub(super) poll_interval: Duration,
    /// How often to mark expired invitations, and to delete data that was kept long enough
    #[arg(long, env = "INVITATIONS_SWEEP_INTERVAL", default_value = "30s", value_parser = parse_duration)]
    pub(super) sweep_interval: Duration,
}

impl QueueArgs {
    pub(super) fn delivery(
        &self,
        lanes: Vec<LaneConfig>,
        drain_timeout: Duration,
    ) -> DeliveryConfig {
        DeliveryConfig {
            lanes,
            lease_duration: self.lease_duration,
            poll_interval: self.poll_interval,
            drain_timeout,
            ambiguous: match self.mail_ambiguous {
                MailAmbiguous::Retry => AmbiguousPolicy::Retry,
                MailAmbiguous::Hold => AmbiguousPolicy::Hold,
            },
        }
    }
}

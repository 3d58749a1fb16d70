//! Settings of data retention.

use std::time::Duration;

use clap::Args;
use humantime::parse_duration;

use crate::service::Retention;

/// Calls may be retried for this long, and the response of a retry is read from the kept rows.
const KEEP_MIN: Duration = Duration::from_hours(24);

#[expect(clippy::struct_field_names, reason = "the fields name the flags")]
#[derive(Debug, Clone, Args)]
pub(super) struct RetentionArgs {
    /// How long an ended invitation keeps its address and its other personal data; 0s to keep them forever
    // Long enough to see who was invited last month, and to resend expired invitations.
    #[arg(long, env = "INVITATIONS_KEEP_ADDRESSES", default_value = "30d", value_parser = parse_duration)]
    keep_addresses: Duration,
    /// How long ended invitations are kept; 0s to keep them forever
    // Long enough to compare a year, plus a month to do it.
    #[arg(long, env = "INVITATIONS_KEEP_INVITATIONS", default_value = "13months", value_parser = parse_duration)]
    keep_invitations: Duration,
    /// How long the queue keeps emails that were sent or canceled; 0s to keep them forever
    // Long enough to investigate an email that somebody asks about.
    #[arg(long, env = "INVITATIONS_KEEP_MAILS", default_value = "7d", value_parser = parse_duration)]
    keep_mails: Duration,
    /// How long the queue keeps dead letters, which can be requeued; 0s to keep them forever
    // Long enough to fix the problem and to requeue the emails.
    #[arg(long, env = "INVITATIONS_KEEP_DEAD_MAILS", default_value = "30d", value_parser = parse_duration)]
    keep_dead_mails: Duration,
    /// How long audit events are kept; 0s to keep them forever
    // Long enough to compare a year with the previous one, plus a month to do it.
    #[arg(long, env = "INVITATIONS_KEEP_AUDIT_EVENTS", default_value = "13months", value_parser = parse_duration)]
    keep_audit_events: Duration,
    /// How long events of invitations can be watched, equal in all processes; 0s to keep them forever
    // Long enough for a watcher to continue after a long weekend.
    #[arg(long, env = "INVITATIONS_KEEP_EVENTS", default_value = "7d", value_parser = parse_duration)]
    keep_events: Duration,
    /// How long the counts of a batch are kept; 0s to keep them forever
    // A little longer than the invitations of a batch.
    #[arg(long, env = "INVITATIONS_KEEP_BATCHES", default_value = "400d", value_parser = parse_duration)]
    keep_batches: Duration,
}

impl RetentionArgs {
    pub(super) fn retention(&self) -> Retention {
        let kept = |duration: Duration| (!duration.is_zero()).then_some(duration);
        Retention {
            addresses: kept(self.keep_addresses),
            invitations: kept(self.keep_invitations),
            mails: kept(self.keep_mails),
            dead_mails: kept(self.keep_dead_mails),
            audit_events: kept(self.keep_audit_events),
            events: kept(self.keep_events),
            batches: kept(self.keep_batches),
        }
    }

    pub(super) fn problems(&self) -> impl Iterator<Item = String> {
        [
            ("keep-addresses", self.keep_addresses),
            ("keep-invitations", self.keep_invitations),
            ("keep-mails", self.keep_mails),
            ("keep-dead-mails", self.keep_dead_mails),
            ("keep-audit-events", self.keep_audit_events),
            ("keep-events", self.keep_events),
            ("keep-batches", self.keep_batches),
        ]
        .into_iter()
        .filter(|(_, duration)| !duration.is_zero() && *duration < KEEP_MIN)
        .map(|(setting, _)| {
            format!("{setting}: must be at least 24h, because calls may be retried for that long; 0s keeps forever")
        })
    }
}

//! Settings of data retention.

use std::time::Duration;

use clap::Args;
use humantime::parse_duration;

use crate::service::Retention;

/// Long enough to see who was invited last month, and to resend expired invitations.
const KEEP_ADDRESSES: &str = "30d";
/// Long enough to compare a year, plus a month to do it.
const KEEP_INVITATIONS: &str = "13months";
/// Long enough to investigate an email that somebody asks about.
const KEEP_MAILS: &str = "7d";
/// Long enough to fix the problem and to requeue the emails.
const KEEP_DEAD_MAILS: &str = "30d";
/// Long enough to compare a year with the previous one, plus a month to do it.
const KEEP_AUDIT_EVENTS: &str = "13months";
/// Long enough for a watcher to continue after a long weekend.
const KEEP_EVENTS: &str = "7d";
/// A little longer than the invitations of a batch.
const KEEP_BATCHES: &str = "400d";
/// Calls may be retried for this long, and the response of a retry is read from the kept rows.
const KEEP_MIN: Duration = Duration::from_hours(24);

#[expect(clippy::struct_field_names, reason = "the fields name the flags")]
#[derive(Debug, Clone, Args)]
pub(super) struct RetentionArgs {
    /// How long an ended invitation keeps its address and its other personal data; 0s to keep them forever
    #[arg(long, env = "INVITATIONS_KEEP_ADDRESSES", default_value = KEEP_ADDRESSES, value_parser = parse_duration)]
    keep_addresses: Duration,
    /// How long ended invitations are kept; 0s to keep them forever
    #[arg(long, env = "INVITATIONS_KEEP_INVITATIONS", default_value = KEEP_INVITATIONS, value_parser = parse_duration)]
    keep_invitations: Duration,
    /// How long the queue keeps emails that were sent or canceled; 0s to keep them forever
    #[arg(long, env = "INVITATIONS_KEEP_MAILS", default_value = KEEP_MAILS, value_parser = parse_duration)]
    keep_mails: Duration,
    /// How long the queue keeps dead letters, which can be requeued; 0s to keep them forever
    #[arg(long, env = "INVITATIONS_KEEP_DEAD_MAILS", default_value = KEEP_DEAD_MAILS, value_parser = parse_duration)]
    keep_dead_mails: Duration,
    /// How long audit events are kept; 0s to keep them forever
    #[arg(long, env = "INVITATIONS_KEEP_AUDIT_EVENTS", default_value = KEEP_AUDIT_EVENTS, value_parser = parse_duration)]
    keep_audit_events: Duration,
    /// How long events of invitations can be watched, equal in all processes; 0s to keep them forever
    #[arg(long, env = "INVITATIONS_KEEP_EVENTS", default_value = KEEP_EVENTS, value_parser = parse_duration)]
    keep_events: Duration,
    /// How long the counts of a batch are kept; 0s to keep them forever
    #[arg(long, env = "INVITATIONS_KEEP_BATCHES", default_value = KEEP_BATCHES, value_parser = parse_duration)]
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

//! How many rows had which outcome, and how many mails are where.

use super::row::Outcome;
use crate::proto::DeliveryState;

/// How many rows had each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    /// [`Outcome::Created`].
    pub created: u64,
    /// [`Outcome::Existing`].
    pub existing: u64,
    /// [`Outcome::Resent`].
    pub resent: u64,
    /// [`Outcome::Replaced`].
    pub replaced: u64,
    /// [`Outcome::Refused`].
    pub refused: u64,
}

/// How many mails are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailCounts {
    /// Taken by the mail server.
    pub sent: u64,
    /// Will be tried again.
    pub deferred: u64,
    /// Given up, bounced, unwanted or suppressed: the person will not read it.
    pub failed: u64,
    /// Queued or on its way.
    pub waiting: u64,
    /// Not needed any more: the invitation was accepted, revoked or mailed anew in the meantime.
    pub canceled: u64,
}

impl OutcomeCounts {
    /// Counts one more.
    pub const fn add(&mut self, outcome: &Outcome) {
        *match outcome {
            Outcome::Created => &mut self.created,
            Outcome::Existing => &mut self.existing,
            Outcome::Resent => &mut self.resent,
            Outcome::Replaced => &mut self.replaced,
            Outcome::Refused { .. } => &mut self.refused,
        } += 1;
    }

    /// How many rows there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.taken() + self.refused
    }

    /// How many rows the service took.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.created + self.existing + self.resent + self.replaced
    }
}

impl MailCounts {
    /// Counts so many more in this state; what was not asked for is no mail.
    pub const fn add(&mut self, state: DeliveryState, count: u64) {
        *match state {
            DeliveryState::Sent => &mut self.sent,
            DeliveryState::Deferred => &mut self.deferred,
            DeliveryState::Bounced
            | DeliveryState::Complained
            | DeliveryState::Failed
            | DeliveryState::Suppressed => &mut self.failed,
            DeliveryState::Queued | DeliveryState::Sending | DeliveryState::Unspecified => {
                &mut self.waiting
            }
            DeliveryState::Canceled => &mut self.canceled,
            DeliveryState::NotRequested => return,
        } += count;
    }

    /// How many mails there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.sent + self.deferred + self.failed + self.waiting + self.canceled
    }

    /// How many will not change any more.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.sent + self.failed + self.canceled
    }
}

//! Counts of row outcomes and of delivery states.

use crate::proto::{Batch, DeliveryState};
use crate::report::row_result::RowOutcome;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct OutcomeCounts {
    pub(crate) created: u64,
    pub(crate) existing: u64,
    pub(crate) resent: u64,
    pub(crate) replaced: u64,
    pub(crate) refused: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeliveryCounts {
    /// Accepted by the mail server.
    pub(crate) sent: u64,
    /// The server retries later.
    pub(crate) deferred: u64,
    /// Failed, bounced, complained or suppressed.
    pub(crate) failed: u64,
    /// Queued, or being sent.
    pub(crate) waiting: u64,
    /// Not needed any more, because the invitation was accepted, revoked or sent again.
    pub(crate) canceled: u64,
}

impl OutcomeCounts {
    pub(crate) const fn add(&mut self, outcome: &RowOutcome) {
        *match outcome {
            RowOutcome::Created => &mut self.created,
            RowOutcome::Existing => &mut self.existing,
            RowOutcome::Resent => &mut self.resent,
            RowOutcome::Replaced => &mut self.replaced,
            RowOutcome::Refused { .. } => &mut self.refused,
        } += 1;
    }

    pub(crate) const fn total(&self) -> u64 {
        self.accepted() + self.refused
    }

    pub(crate) const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("created", self.created),
            ("existing", self.existing),
            ("resent", self.resent),
            ("replaced", self.replaced),
            ("refused", self.refused),
        ]
    }

    pub(crate) const fn accepted(&self) -> u64 {
        self.created + self.existing + self.resent + self.replaced
    }
}

impl DeliveryCounts {
    pub(crate) fn of(batch: &Batch) -> Self {
        let mut counts = Self::default();
        for counted in &batch.delivery_state_counts {
            let count = u64::try_from(counted.count).unwrap_or_default();
            counts.add(counted.delivery_state(), count);
        }
        counts
    }

    pub(crate) fn of_state(state: DeliveryState) -> Self {
        let mut counts = Self::default();
        counts.add(state, 1);
        counts
    }

    pub(crate) const fn add(&mut self, state: DeliveryState, count: u64) {
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

    pub(crate) const fn total(&self) -> u64 {
        self.settled() + self.deferred + self.waiting
    }

    pub(crate) const fn named(&self) -> [(&'static str, u64); 5] {
        [
            ("sent", self.sent),
            ("deferred", self.deferred),
            ("failed", self.failed),
            ("waiting", self.waiting),
            ("canceled", self.canceled),
        ]
    }

    /// Emails that the server does not send or retry any more.
    pub(crate) const fn settled(&self) -> u64 {
        self.sent + self.failed + self.canceled
    }

    pub(crate) const fn is_settled(&self) -> bool {
        self.deferred + self.waiting == 0
    }
}

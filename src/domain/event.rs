//! Events: what happened to invitations, in the order in which watchers receive it.

use std::fmt;

use time::OffsetDateTime;
use uuid::Uuid;

use super::named_enum::named_enum;

named_enum! {
    /// The protocol's `EventType` documents each type.
    pub enum EventType {
        Created = "created",
        Sent = "sent",
        Deferred = "deferred",
        Bounced = "bounced",
        Complained = "complained",
        Failed = "failed",
        Suppressed = "suppressed",
        Canceled = "canceled",
        Accepted = "accepted",
        Declined = "declined",
        Revoked = "revoked",
        Expired = "expired",
        Resent = "resent",
        Reminded = "reminded",
        Requeued = "requeued",
    }
}

/// The position of a row in the event log: first by transaction, then by sequence number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPosition {
    pub transaction_id: i64,
    pub seq: i64,
}

impl EventPosition {
    pub const START: Self = Self::of_transaction(0);

    /// Before the first event of a transaction.
    pub const fn of_transaction(transaction_id: i64) -> Self {
        Self {
            transaction_id,
            seq: 0,
        }
    }

    pub const fn next(self) -> Self {
        Self {
            transaction_id: self.transaction_id,
            seq: self.seq.saturating_add(1),
        }
    }
}

/// The id of an event. A row of the event log may concern many invitations, each of which has an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    pub position: EventPosition,
    /// The position of the invitation in the row.
    pub ordinal: usize,
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventPosition {
            transaction_id,
            seq,
        } = self.position;
        write!(formatter, "{transaction_id}-{seq}-{}", self.ordinal)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationEvent {
    pub id: EventId,
    pub event_type: EventType,
    pub invitation_id: Uuid,
    pub batch_id: Uuid,
    pub created_at: OffsetDateTime,
}

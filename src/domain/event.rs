//! Events: what happened to invitations, as whoever watches is told.

use std::fmt;

use time::OffsetDateTime;
use uuid::Uuid;

/// What can happen to an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventType {
    /// It was made.
    Created,
    /// A mail server took its mail.
    Sent,
    /// An attempt to send its mail failed and will be repeated.
    Deferred,
    /// The receiving side gave its mail back.
    Bounced,
    /// The receiver reported its mail.
    Complained,
    /// Its mail was given up.
    Failed,
    /// Its address gets no mail.
    Suppressed,
    /// Nobody wants its mail any more.
    Canceled,
    /// It became a membership.
    Accepted,
    /// Its person said no.
    Declined,
    /// It was taken back.
    Revoked,
    /// Its time ran out.
    Expired,
    /// Somebody asked for another mail.
    Resent,
    /// A reminder was queued.
    Reminded,
    /// A mail that was given up was queued again.
    Requeued,
}

impl EventType {
    /// The type that is written down under this name; `None` for one that a newer version writes.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "created" => Self::Created,
            "sent" => Self::Sent,
            "deferred" => Self::Deferred,
            "bounced" => Self::Bounced,
            "complained" => Self::Complained,
            "failed" => Self::Failed,
            "suppressed" => Self::Suppressed,
            "canceled" => Self::Canceled,
            "accepted" => Self::Accepted,
            "declined" => Self::Declined,
            "revoked" => Self::Revoked,
            "expired" => Self::Expired,
            "resent" => Self::Resent,
            "reminded" => Self::Reminded,
            "requeued" => Self::Requeued,
            _ => return None,
        })
    }
}

/// Where a row of events stands in the log: by the transaction that wrote it, then by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPosition {
    /// The transaction.
    pub transaction_id: i64,
    /// The number of the row.
    pub seq: i64,
}

impl EventPosition {
    /// Before everything.
    pub const START: Self = Self::of_transaction(0);

    /// Before everything that a transaction wrote.
    #[must_use]
    pub const fn of_transaction(transaction_id: i64) -> Self {
        Self {
            transaction_id,
            seq: 0,
        }
    }

    /// Right behind.
    #[must_use]
    pub const fn next(self) -> Self {
        Self {
            transaction_id: self.transaction_id,
            seq: self.seq.saturating_add(1),
        }
    }
}

/// The name of an event: the place of its row, and its own within that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    /// The row.
    pub position: EventPosition,
    /// Which invitation of the row.
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

/// Something that happened to one invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationEvent {
    /// Its name.
    pub id: EventId,
    /// What happened.
    pub event_type: EventType,
    /// The invitation.
    pub invitation_id: Uuid,
    /// The batch that made it.
    pub batch_id: Uuid,
    /// When.
    pub created_at: OffsetDateTime,
}

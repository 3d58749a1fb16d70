//! Events: what happened to invitations, in the order in which watchers receive it.

use std::fmt;

use time::OffsetDateTime;
use uuid::Uuid;

use super::actor::Access;
use super::named_enum::named_enum;

/// The first byte of a cursor, so that a later format can be recognized.
const CURSOR_VERSION: u8 = 2;

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
        let seq = self.seq.saturating_add(1);
        Self { seq, ..self }
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
        let (position, ordinal) = (self.position, self.ordinal);
        write!(
            formatter,
            "{}-{}-{ordinal}",
            position.transaction_id, position.seq
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationEvent {
    pub id: EventId,
    pub event_type: EventType,
    pub organization_id: String,
    pub invitation_id: Uuid,
    pub batch_id: Uuid,
    pub created_at: OffsetDateTime,
}

/// Which events a watch returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter {
    /// The events of these organizations.
    pub organizations: Access,
    /// Only events of this batch.
    pub batch_id: Option<Uuid>,
    /// Only events of these types. Empty means all types.
    pub types: Vec<EventType>,
}

impl EventFilter {
    /// Whether the log may have many rows between two that match.
    pub const fn is_selective(&self) -> bool {
        self.batch_id.is_some() || !self.types.is_empty()
    }
}

/// The position from which a watcher continues. `grpc` signs its bytes before it sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    /// The log that the position belongs to.
    pub log_id: i64,
    /// The first row that the watcher has not received completely.
    pub position: EventPosition,
    /// How many events of that row the watcher has received.
    pub ordinal: usize,
    /// The watcher has received all events before this time. The events after the cursor are hardly older.
    pub time: OffsetDateTime,
}

impl EventCursor {
    /// Encodes the cursor. Its time is rounded down to seconds.
    pub fn encode(&self) -> Vec<u8> {
        let ordinal = u32::try_from(self.ordinal).unwrap_or(u32::MAX);
        let mut bytes = vec![CURSOR_VERSION];
        bytes.extend(self.log_id.to_be_bytes());
        bytes.extend(self.position.transaction_id.to_be_bytes());
        bytes.extend(self.position.seq.to_be_bytes());
        bytes.extend(ordinal.to_be_bytes());
        bytes.extend(self.time.unix_timestamp().to_be_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, bytes) = bytes.split_first()?;
        let (log_id, bytes) = bytes.split_first_chunk()?;
        let (transaction_id, bytes) = bytes.split_first_chunk()?;
        let (seq, bytes) = bytes.split_first_chunk()?;
        let (ordinal, bytes) = bytes.split_first_chunk()?;
        let time = bytes.try_into().ok().map(i64::from_be_bytes)?;
        let cursor = Self {
            log_id: i64::from_be_bytes(*log_id),
            position: EventPosition {
                transaction_id: i64::from_be_bytes(*transaction_id),
                seq: i64::from_be_bytes(*seq),
            },
            ordinal: usize::try_from(u32::from_be_bytes(*ordinal)).ok()?,
            time: OffsetDateTime::from_unix_timestamp(time).ok()?,
        };
        (*version == CURSOR_VERSION).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_is_decoded_as_it_was_encoded(
            log_id in any::<i64>(),
            transaction_id in any::<i64>(),
            seq in any::<i64>(),
            ordinal in any::<u32>(),
            time in 0_i64..4_000_000_000,
        ) {
            let cursor = EventCursor {
                log_id,
                position: EventPosition { transaction_id, seq },
                ordinal: usize::try_from(ordinal).unwrap(),
                time: OffsetDateTime::from_unix_timestamp(time).unwrap(),
            };
            let bytes = cursor.encode();
            prop_assert_eq!(EventCursor::decode(&bytes), Some(cursor));
            prop_assert_eq!(EventCursor::decode(&bytes[1..]), None);
            prop_assert_eq!(EventCursor::decode(&[bytes.as_slice(), &[0]].concat()), None);
        }

        #[test]
        fn other_bytes_are_not_a_cursor(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(first) = bytes.first_mut() {
                *first = 1;
            }
            prop_assert_eq!(EventCursor::decode(&bytes), None);
        }
    }
}

//! Cursors into the log of events: how far somebody has come, and when that was. Pure bytes; `grpc` seals them.

use time::OffsetDateTime;

use super::event::EventPosition;

/// What the bytes begin with, so that another form can be told from this one.
const VERSION: u8 = 1;
/// Bytes of a cursor: the version, two numbers of 8, one of 4 and a time of 8.
const BYTES: usize = 1 + 8 + 8 + 4 + 8;

/// How far somebody has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
    /// The first row that they do not have whole.
    pub position: EventPosition,
    /// How many events of that row they have.
    pub ordinal: usize,
    /// What happened before this time they have; whatever follows the cursor is hardly older.
    pub time: OffsetDateTime,
}

impl EventCursor {
    /// The cursor as bytes; its time to the second, rounded down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let ordinal = u32::try_from(self.ordinal).unwrap_or(u32::MAX);
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        bytes.extend(self.position.transaction_id.to_be_bytes());
        bytes.extend(self.position.seq.to_be_bytes());
        bytes.extend(ordinal.to_be_bytes());
        bytes.extend(self.time.unix_timestamp().to_be_bytes());
        bytes
    }

    /// The cursor of bytes that [`encode`](Self::encode) made.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, bytes) = bytes.split_first()?;
        let (transaction_id, bytes) = bytes.split_first_chunk()?;
        let (seq, bytes) = bytes.split_first_chunk()?;
        let (ordinal, bytes) = bytes.split_first_chunk()?;
        let time = bytes.try_into().ok().map(i64::from_be_bytes)?;
        let cursor = Self {
            position: EventPosition {
                transaction_id: i64::from_be_bytes(*transaction_id),
                seq: i64::from_be_bytes(*seq),
            },
            ordinal: usize::try_from(u32::from_be_bytes(*ordinal)).ok()?,
            time: OffsetDateTime::from_unix_timestamp(time).ok()?,
        };
        (*version == VERSION).then_some(cursor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_was(
            transaction_id in any::<i64>(),
            seq in any::<i64>(),
            ordinal in any::<u32>(),
            time in 0_i64..4_000_000_000,
        ) {
            let cursor = EventCursor {
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
        fn bytes_of_anything_else_are_no_cursor(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(first) = bytes.first_mut() {
                *first = 2;
            }
            prop_assert_eq!(EventCursor::decode(&bytes), None);
        }
    }
}

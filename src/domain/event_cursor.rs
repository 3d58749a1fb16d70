//! Event cursors: the position from which a watcher continues, as bytes. `grpc` signs them before it sends them.

use time::OffsetDateTime;

use super::event::EventPosition;

/// The first byte of a cursor, so that a later format can be recognized.
const VERSION: u8 = 1;
/// Length of a cursor: the version, two numbers of 8 bytes, one of 4 and a time of 8.
const BYTES: usize = 1 + 8 + 8 + 4 + 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCursor {
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
        let mut bytes = Vec::with_capacity(BYTES);
        bytes.push(VERSION);
        bytes.extend(self.position.transaction_id.to_be_bytes());
        bytes.extend(self.position.seq.to_be_bytes());
        bytes.extend(ordinal.to_be_bytes());
        bytes.extend(self.time.unix_timestamp().to_be_bytes());
        bytes
    }

    /// Decodes the bytes that [`encode`](Self::encode) returned.
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
        fn a_cursor_is_decoded_as_it_was_encoded(
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
        fn other_bytes_are_not_a_cursor(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(first) = bytes.first_mut() {
                *first = 2;
            }
            prop_assert_eq!(EventCursor::decode(&bytes), None);
        }
    }
}

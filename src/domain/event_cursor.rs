//! Cursors into the log of events: how far somebody has come, and when that was. Pure octets; `grpc` seals them.

use time::OffsetDateTime;

use super::event::EventPosition;

/// What the octets begin with, so that another form can be told from this one.
const VERSION: u8 = 1;
/// Octets of a cursor: the version, two numbers of 8, one of 4 and a time of 8.
const OCTETS: usize = 1 + 8 + 8 + 4 + 8;

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
    /// The cursor as octets; its time to the second, rounded down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let ordinal = u32::try_from(self.ordinal).unwrap_or(u32::MAX);
        let mut octets = Vec::with_capacity(OCTETS);
        octets.push(VERSION);
        octets.extend(self.position.transaction_id.to_be_bytes());
        octets.extend(self.position.seq.to_be_bytes());
        octets.extend(ordinal.to_be_bytes());
        octets.extend(self.time.unix_timestamp().to_be_bytes());
        octets
    }

    /// The cursor of octets that [`encode`](Self::encode) made.
    #[must_use]
    pub fn decode(octets: &[u8]) -> Option<Self> {
        let (version, octets) = octets.split_first()?;
        let (transaction_id, octets) = octets.split_first_chunk()?;
        let (seq, octets) = octets.split_first_chunk()?;
        let (ordinal, octets) = octets.split_first_chunk()?;
        let time = octets.try_into().ok().map(i64::from_be_bytes)?;
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
            let octets = cursor.encode();
            prop_assert_eq!(EventCursor::decode(&octets), Some(cursor));
            prop_assert_eq!(EventCursor::decode(&octets[1..]), None);
            prop_assert_eq!(EventCursor::decode(&[octets.as_slice(), &[0]].concat()), None);
        }

        #[test]
        fn octets_of_anything_else_are_no_cursor(mut octets in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(first) = octets.first_mut() {
                *first = 2;
            }
            prop_assert_eq!(EventCursor::decode(&octets), None);
        }
    }
}

//! The rows that are on their way: sent and not answered, or read and not sent, in the order of the list.
//!
//! It is all that a stream that broke needs to go on, so nothing is read twice; and it is bounded, so that a list may be
//! of any length.

use std::collections::VecDeque;

use prost::Message as _;

use crate::people::{Entry, Person, Unreadable};
use crate::proto::{BulkCreateStreamItem, BulkCreateStreamResponse};
use crate::results::{Answer, row_of};
use crate::row::{Outcome, Row};

/// Most rows on their way: several chunks of the service, so that it never waits for the next one.
pub(super) const ROWS_MAX: usize = 4_000;
/// Most bytes on their way, of a list of rows that are full to the brim.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Most items in one message; the service makes chunks of some hundred.
const MESSAGE_ITEMS_MAX: usize = 500;
/// Most bytes in one message, but for a single item that is larger: the service takes up to 16 MiB.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The reason of rows that were not sent because they could not be read.
const UNREADABLE: &str = "ROW_UNREADABLE";

/// Rows on their way.
#[derive(Default)]
pub(super) struct Window {
    slots: VecDeque<Slot>,
    bytes: usize,
    /// The place of the first row that is to be answered among all that can be sent.
    first_index: i64,
    /// How many are to be answered.
    persons: usize,
}

enum Slot {
    Person(Box<Person>),
    Unreadable(Unreadable),
}

impl Window {
    /// Whether there is room for more.
    pub(super) fn has_room(&self) -> bool {
        self.slots.len() < ROWS_MAX && self.bytes < BYTES_MAX
    }

    /// The place of the first item that is not answered.
    pub(super) const fn first_index(&self) -> i64 {
        self.first_index
    }

    /// The place after the last item that was read.
    pub(super) fn end_index(&self) -> i64 {
        self.first_index + i64::try_from(self.persons).unwrap_or(i64::MAX)
    }

    /// Whether every row that was sent is answered.
    pub(super) const fn is_answered(&self) -> bool {
        self.persons == 0
    }

    /// Takes the next row of the list.
    pub(super) fn push(&mut self, entry: Entry) {
        self.slots.push_back(match entry {
            Entry::Person(person) => {
                self.persons += 1;
                self.bytes += person.item.encoded_len();
                Slot::Person(person)
            }
            Entry::Unreadable(row) => Slot::Unreadable(row),
        });
    }

    /// The items of the next message, from this place on.
    pub(super) fn message(&self, from: i64) -> Vec<BulkCreateStreamItem> {
        let passed = usize::try_from(from - self.first_index).unwrap_or_default();
        let mut items = Vec::new();
        let mut bytes = 0;
        for person in self.persons().skip(passed) {
            bytes += person.item.encoded_len();
            let is_full = items.len() == MESSAGE_ITEMS_MAX || bytes > MESSAGE_BYTES_MAX;
            if is_full && !items.is_empty() {
                break;
            }
            items.push(BulkCreateStreamItem {
                key: person.line.to_string(),
                invitation: Some(person.item.clone()),
            });
        }
        items
    }

    /// Whether the items from this place on fill a message.
    pub(super) fn fills_message(&self, from: i64) -> bool {
        self.end_index() - from >= i64::try_from(MESSAGE_ITEMS_MAX).unwrap_or(i64::MAX)
    }

    /// Takes the rows out that this response answers, and those between them that were not sent.
    ///
    /// # Errors
    ///
    /// A sentence about an answer that does not fit what was sent; `base` is the place of the stream's first item.
    pub(super) fn answer(
        &mut self,
        response: BulkCreateStreamResponse,
        base: i64,
        sent: i64,
    ) -> Result<Vec<Row>, String> {
        let first_index = self.first_index;
        let lines: Vec<u64> = self
            .persons()
            .take(response.results.len())
            .map(|person| person.line)
            .collect();
        let line_of = |index: i64| {
            let place = usize::try_from(index.checked_add(base)? - first_index).ok()?;
            lines.get(place).copied()
        };
        let mut rows = Vec::with_capacity(response.results.len());
        for result in response.results {
            rows.extend(self.take_unreadable());
            if result.index.saturating_add(base) != self.first_index || self.first_index >= sent {
                return Err(
                    "the service answered with a result for a row that was not sent".to_owned(),
                );
            }
            let Some(Slot::Person(person)) = self.slots.pop_front() else {
                return Err("the service answered with more results than rows were sent".to_owned());
            };
            self.persons -= 1;
            self.bytes -= person.item.encoded_len();
            self.first_index += 1;
            let answer = Answer {
                outcome: result.outcome(),
                invitation: result.invitation,
                error: result.error,
            };
            let batch_id = &response.batch_id;
            rows.push(row_of(
                person.line,
                &person.item.email,
                batch_id,
                answer,
                line_of,
            ));
        }
        rows.extend(self.take_unreadable());
        Ok(rows)
    }

    /// Takes out the rows that were not sent and wait for nobody before them.
    pub(super) fn take_unreadable(&mut self) -> Vec<Row> {
        let mut rows = Vec::new();
        while let Some(Slot::Unreadable(_)) = self.slots.front() {
            let Some(Slot::Unreadable(row)) = self.slots.pop_front() else {
                break;
            };
            rows.push(Row {
                line: row.line,
                email: row.email,
                outcome: Outcome::Refused {
                    reason: UNREADABLE.to_owned(),
                    sentence: row.problem,
                },
                invitation_id: String::new(),
                batch_id: String::new(),
                mail: None,
            });
        }
        rows
    }

    fn persons(&self) -> impl Iterator<Item = &Person> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Person(person) => Some(person.as_ref()),
            Slot::Unreadable(_) => None,
        })
    }
}

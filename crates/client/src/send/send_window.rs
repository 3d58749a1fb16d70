//! The rows between reading and answering: read but not sent, or sent but not answered, in the order of the list.
//!
//! A broken stream continues from this window, so no row is read twice. The window has a limit, so a list can have any
//! length.

use std::collections::VecDeque;

use prost::Message as _;

use crate::list::{Invitee, ListEntry};
use crate::proto::{BulkCreateStreamResponse, NewInvitation};
use crate::report::RowResult;

/// Most rows in the window: several chunks of the server, so that the server never waits for the next chunk.
const WINDOW_ROWS_MAX: usize = 4_000;
/// Most bytes in the window, which matters for very long rows.
const WINDOW_BYTES_MAX: usize = 32 * 1024 * 1024;
const MESSAGE_ITEMS_MAX: usize = 500;
/// Most bytes in one message, unless a single item is larger. The server accepts messages of 16 MiB.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// The reason of rows that are not sent because they cannot be read.
const UNREADABLE: &str = "ROW_UNREADABLE";

/// Items are counted from the start of the list, without its unreadable rows.
#[derive(Default)]
pub(crate) struct SendWindow {
    entries: VecDeque<ListEntry>,
    bytes: usize,
    /// Index of the first item that is not answered.
    pub(crate) first_index: i64,
    /// Number of items in `entries`.
    item_count: usize,
}

impl SendWindow {
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < WINDOW_ROWS_MAX && self.bytes < WINDOW_BYTES_MAX
    }

    pub(crate) fn end_index(&self) -> i64 {
        self.first_index + i64::try_from(self.item_count).unwrap_or(i64::MAX)
    }

    /// Whether every item that was read is answered.
    pub(crate) const fn is_answered(&self) -> bool {
        self.item_count == 0
    }

    pub(crate) fn push(&mut self, entry: ListEntry) {
        if let ListEntry::Invitee(invitee) = &entry {
            self.item_count += 1;
            self.bytes += invitee.item.encoded_len();
        }
        self.entries.push_back(entry);
    }

    /// The items of the next message, which starts with this index.
    pub(crate) fn message(&self, from: i64) -> Vec<NewInvitation> {
        let sent = usize::try_from(from - self.first_index).unwrap_or_default();
        let mut items = Vec::new();
        let mut bytes = 0;
        for invitee in self.invitees().skip(sent) {
            bytes += invitee.item.encoded_len();
            let is_full = items.len() == MESSAGE_ITEMS_MAX || bytes > MESSAGE_BYTES_MAX;
            if is_full && !items.is_empty() {
                break;
            }
            items.push(invitee.item.clone());
        }
        items
    }

    pub(crate) fn fills_message(&self, from: i64) -> bool {
        self.end_index() - from >= i64::try_from(MESSAGE_ITEMS_MAX).unwrap_or(i64::MAX)
    }

    /// Removes the rows that a response answers, and the unreadable rows among them. Fails if it does not fit the request.
    /// `base` is the index of the first item of the stream, and `sent_end` is the index after the last item that was sent.
    pub(crate) fn answer(
        &mut self,
        response: BulkCreateStreamResponse,
        base: i64,
        sent_end: i64,
    ) -> Result<Vec<RowResult>, String> {
        let first_index = self.first_index;
        let answered = self.invitees().take(response.results.len());
        let lines: Vec<u64> = answered.map(|invitee| invitee.line).collect();
        let line_of = |index: i64| {
            let place = usize::try_from(index.checked_add(base)? - first_index).ok()?;
            lines.get(place).copied()
        };
        let mut rows = Vec::with_capacity(response.results.len());
        for result in response.results {
            rows.extend(self.take_unreadable());
            let is_expected = result.index.saturating_add(base) == self.first_index;
            if !is_expected || self.first_index >= sent_end {
                return Err("the server returned a result for a row that was not sent".to_owned());
            }
            let Some(ListEntry::Invitee(invitee)) = self.entries.pop_front() else {
                return Err("the server returned more results than rows were sent".to_owned());
            };
            self.item_count -= 1;
            self.bytes -= invitee.item.encoded_len();
            self.first_index += 1;
            let row = RowResult::new(&invitee, result, &response.batch_id, line_of);
            rows.push(row);
        }
        rows.extend(self.take_unreadable());
        Ok(rows)
    }

    pub(crate) fn take_unreadable(&mut self) -> Vec<RowResult> {
        let mut rows = Vec::new();
        let is_unreadable = |entry: &mut ListEntry| matches!(entry, ListEntry::Unreadable { .. });
        while let Some(ListEntry::Unreadable {
            line,
            email,
            problem,
        }) = self.entries.pop_front_if(is_unreadable)
        {
            let reason = UNREADABLE.to_owned();
            rows.push(RowResult::refused(line, email, reason, problem));
        }
        rows
    }

    fn invitees(&self) -> impl Iterator<Item = &Invitee> {
        self.entries.iter().filter_map(|entry| match entry {
            ListEntry::Invitee(invitee) => Some(invitee.as_ref()),
            ListEntry::Unreadable { .. } => None,
        })
    }
}

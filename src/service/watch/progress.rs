//! How far one stream of events has come: what was sent, from where to read on, and what cursor says so. Pure.
//!
//! Rows below the horizon are final and the cursor moves over them. Rows above it are sent at once as well, so that a slow
//! transaction of somebody else delays nobody, but the cursor stays before them: one that began earlier may still come
//! in between. They are remembered here, so that they are not sent twice by the same stream.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::domain::event::{EventId, EventPosition, EventType, InvitationEvent};
use crate::domain::event_cursor::EventCursor;
use crate::store::invitation_events::Page;

/// Most rows above the horizon that a stream remembers. With so many it waits for the horizon.
pub(super) const REMEMBERED_ROWS_MAX: usize = 4_000;

/// A row of which events were sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    count: usize,
    created_at: OffsetDateTime,
}

/// How far a stream has come.
#[derive(Debug)]
pub(super) struct Progress {
    position: EventPosition,
    sent: BTreeMap<EventPosition, Sent>,
    time: OffsetDateTime,
    /// Where the next page begins, if the last one did not reach the end.
    ahead: Option<Ahead>,
}

/// How far a walk over several pages has come above the horizon. It ends at the end of the log, and the next one begins at
/// the position again.
#[derive(Debug, Clone, Copy)]
struct Ahead {
    position: EventPosition,
    /// The horizon when the walk began: what became final since may have appeared behind it.
    horizon: EventPosition,
}

/// What a page brought.
#[derive(Debug)]
pub(super) struct Step {
    /// The events that were not sent yet, in order.
    pub(super) events: Vec<InvitationEvent>,
    /// Whether there is more to read at once.
    pub(super) has_more: bool,
    /// Whether the cursor moved over something that was sent.
    pub(super) is_settled: bool,
}

impl Progress {
    /// At a place that nothing was sent of.
    pub(super) fn at(position: EventPosition, time: OffsetDateTime) -> Self {
        Self {
            position,
            sent: BTreeMap::new(),
            time,
            ahead: None,
        }
    }

    /// Where a cursor says.
    pub(super) fn after(cursor: &EventCursor) -> Self {
        let mut progress = Self::at(cursor.position, cursor.time);
        if cursor.ordinal > 0 {
            let sent = Sent {
                count: cursor.ordinal,
                created_at: cursor.time,
            };
            progress.sent.insert(cursor.position, sent);
        }
        progress
    }

    /// From where to read.
    pub(super) fn position(&self) -> EventPosition {
        self.ahead.map_or(self.position, |ahead| ahead.position)
    }

    /// The rows that events were sent of, by their numbers, with how many.
    pub(super) fn known(&self) -> Vec<(i64, i32)> {
        let count = |sent: &Sent| i32::try_from(sent.count).unwrap_or(i32::MAX);
        let known = self.sent.iter();
        known.map(|(at, sent)| (at.seq, count(sent))).collect()
    }

    /// Whether anything was sent that is not final.
    pub(super) fn is_ahead(&self) -> bool {
        !self.sent.is_empty()
    }

    /// What whatever follows is hardly older than.
    pub(super) const fn time(&self) -> OffsetDateTime {
        self.time
    }

    /// Where to go on after what was sent.
    pub(super) fn cursor(&self) -> EventCursor {
        EventCursor {
            position: self.position,
            ordinal: self.sent.get(&self.position).map_or(0, |sent| sent.count),
            time: self.time,
        }
    }

    /// Takes in a page that was read from [`position`](Self::position) on.
    pub(super) fn absorb(&mut self, page: Page, now: OffsetDateTime) -> Step {
        let horizon = self.ahead.map_or_else(
            || EventPosition::of_transaction(page.horizon),
            |ahead| ahead.horizon,
        );
        // Behind a walk that took a while, more may have appeared. With the same horizon nothing new is final, and another
        // walk would find what this one did.
        let newest = EventPosition::of_transaction(page.horizon);
        let is_outdated = self.ahead.is_some_and(|ahead| ahead.horizon < newest);
        // Everything before this was sent and is final.
        let mut settled_before = horizon.max(self.position);
        let (mut is_whole, mut is_full) = (true, false);
        let reached = page.cut.map(|(last, _)| last.next());
        let mut reached_at = page.cut.map(|(_, created_at)| created_at);
        if let Some(reached) = reached {
            settled_before = settled_before.min(reached).max(self.position);
        }
        let mut events = Vec::new();
        for row in page.rows {
            let is_final = row.position < horizon;
            let is_known = self.sent.contains_key(&row.position);
            if !is_final && !is_known && self.sent.len() >= REMEMBERED_ROWS_MAX {
                is_full = true;
                break;
            }
            let sent = self.sent.entry(row.position).or_insert(Sent {
                count: 0,
                created_at: row.created_at,
            });
            for invitation_id in row.invitation_ids {
                let id = EventId {
                    position: row.position,
                    ordinal: sent.count,
                };
                sent.count += 1;
                // A newer version may write what this one has no word for.
                if let Some(event_type) = EventType::from_name(&row.event_type) {
                    events.push(InvitationEvent {
                        id,
                        event_type,
                        invitation_id,
                        batch_id: row.batch_id,
                        created_at: row.created_at,
                    });
                }
            }
            if sent.count < row.size {
                is_whole = false;
                settled_before = settled_before.min(row.position);
                reached_at = Some(row.created_at);
            }
        }
        let ahead = self.sent.split_off(&settled_before);
        let is_settled = !self.sent.is_empty();
        self.sent = ahead;
        self.sent.retain(|_, sent| sent.count > 0);
        self.position = settled_before;
        let oldest_ahead = self.sent.values().map(|sent| sent.created_at);
        self.time = oldest_ahead.chain(reached_at).min().unwrap_or(now).min(now);
        if is_whole {
            self.ahead = reached
                .filter(|reached| !is_full && *reached > self.position)
                .map(|position| Ahead { position, horizon });
        }
        Step {
            events,
            has_more: !is_full && (reached.is_some() || !is_whole || is_outdated),
            is_settled,
        }
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;

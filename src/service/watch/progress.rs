//! The progress of a watch: which events were sent, where to read next, and the cursor. Pure.
//!
//! Rows below the transaction horizon are final, and the cursor advances over them. Rows above it are sent at once as well, so
//! that a slow transaction delays no watch. The cursor stays before them, because a transaction that began earlier may still
//! commit events in between. Rows that were sent are remembered here, so that one stream does not send them twice.

use std::collections::BTreeMap;

use time::OffsetDateTime;

use crate::domain::event::{EventCursor, EventId, EventPosition, EventType, InvitationEvent};
use crate::store::invitation_events::EventPage;

/// Most rows above the horizon that a watch remembers. With this many it waits for the horizon.
pub(super) const REMEMBERED_ROWS_MAX: usize = 4_000;

#[derive(Debug, Clone, Copy)]
struct SentRow {
    count: usize,
    created_at: OffsetDateTime,
}

#[derive(Debug)]
pub(super) struct WatchProgress {
    position: EventPosition,
    sent: BTreeMap<EventPosition, SentRow>,
    time: OffsetDateTime,
    /// Where the next page begins, if the last page did not reach the end of the log.
    ahead: Option<Lookahead>,
}

/// A read of several pages above the horizon. It ends at the end of the log. The next one begins at the position again.
#[derive(Debug, Clone, Copy)]
struct Lookahead {
    position: EventPosition,
    /// The horizon at the beginning. Rows that became final since may have appeared behind it.
    horizon: EventPosition,
}

#[derive(Debug)]
pub(super) struct AbsorbedPage {
    /// The events that were not sent yet, in order.
    pub(super) events: Vec<InvitationEvent>,
    /// Whether there is more to read at once.
    pub(super) has_more: bool,
    /// Whether the cursor advanced over rows that were sent.
    pub(super) is_settled: bool,
}

impl WatchProgress {
    /// At a position of which nothing was sent.
    pub(super) fn at(position: EventPosition, time: OffsetDateTime) -> Self {
        Self {
            position,
            sent: BTreeMap::new(),
            time,
            ahead: None,
        }
    }

    /// After the events that a cursor covers.
    pub(super) fn after(cursor: &EventCursor) -> Self {
        let mut progress = Self::at(cursor.position, cursor.time);
        if cursor.ordinal > 0 {
            let sent = SentRow {
                count: cursor.ordinal,
                created_at: cursor.time,
            };
            progress.sent.insert(cursor.position, sent);
        }
        progress
    }

    pub(super) fn position(&self) -> EventPosition {
        self.ahead.map_or(self.position, |ahead| ahead.position)
    }

    /// The sequence numbers of the rows whose events were sent, with how many were.
    pub(super) fn sent_rows(&self) -> Vec<(i64, i32)> {
        let count = |sent: &SentRow| i32::try_from(sent.count).unwrap_or(i32::MAX);
        let known = self.sent.iter();
        known.map(|(at, sent)| (at.seq, count(sent))).collect()
    }

    /// Whether events were sent that are not final.
    pub(super) fn is_ahead(&self) -> bool {
        !self.sent.is_empty()
    }

    /// A time that is hardly later than any event that follows.
    pub(super) const fn time(&self) -> OffsetDateTime {
        self.time
    }

    /// The cursor after the events that were sent.
    pub(super) fn cursor(&self, log_id: i64) -> EventCursor {
        EventCursor {
            log_id,
            position: self.position,
            ordinal: self.sent.get(&self.position).map_or(0, |sent| sent.count),
            time: self.time,
        }
    }

    /// Absorbs a page that was read from [`position`](Self::position).
    pub(super) fn absorb(&mut self, page: EventPage, now: OffsetDateTime) -> AbsorbedPage {
        let horizon = self.ahead.map_or_else(
            || EventPosition::of_transaction(page.horizon),
            |ahead| ahead.horizon,
        );
        // More rows may have appeared behind a long read. With the same horizon nothing new is final, and another read
        // would find the same rows.
        let newest = EventPosition::of_transaction(page.horizon);
        let is_outdated = self.ahead.is_some_and(|ahead| ahead.horizon < newest);
        // Every row before this one was sent and is final.
        let mut settled_before = horizon.max(self.position);
        let (mut is_whole, mut is_full) = (true, false);
        let reached = page.truncated_at.map(|(last, _)| last.next());
        let mut reached_at = page.truncated_at.map(|(_, created_at)| created_at);
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
            let sent = self.sent.entry(row.position).or_insert(SentRow {
                count: 0,
                created_at: row.created_at,
            });
            for invitation_id in row.invitation_ids {
                let id = EventId {
                    position: row.position,
                    ordinal: sent.count,
                };
                sent.count += 1;
                // A newer version of the program may write types that this one does not know.
                if let Some(event_type) = EventType::from_name(&row.event_type) {
                    events.push(InvitationEvent {
                        id,
                        event_type,
                        organization_id: row.organization_id.clone(),
                        invitation_id,
                        batch_id: row.batch_id,
                        created_at: row.created_at,
                    });
                }
            }
            if sent.count < row.event_count {
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
                .map(|position| Lookahead { position, horizon });
        }
        AbsorbedPage {
            events,
            has_more: !is_full && (reached.is_some() || !is_whole || is_outdated),
            is_settled,
        }
    }
}

#[cfg(test)]
#[path = "progress_tests.rs"]
mod tests;

//! A worker's view of a lane: what of it is idle, and whose turn it is.

use std::sync::Arc;

use tokio::time::Instant;

use super::lane::{Lane, Route};
use crate::mail::transport::Session;

/// Most mails in stock for a lane that is fast: reading more at once saves nothing more.
const STOCK_MAX: f64 = 256.0;

/// A lane and what of it is idle.
pub(super) struct Slot {
    pub(super) lane: Arc<Lane>,
    pub(super) route: Route,
    /// One for each connection that no attempt uses.
    pub(super) sessions: Vec<Session>,
    /// Calls that may be made beside those that are.
    pub(super) calls: usize,
    /// Mails it was given, by its weight: who has least is next.
    pub(super) given: f64,
}

impl Slot {
    pub(super) fn new(lane: Arc<Lane>, route: Route) -> Self {
        let (sessions, calls) = match &route {
            Route::Each {
                transport,
                connections,
            } => ((0..*connections).map(|_| transport.open()).collect(), 0),
            Route::Batches { calls, .. } => (Vec::new(), *calls),
        };
        Self {
            lane,
            route,
            sessions,
            calls,
            given: 0.0,
        }
    }

    /// How many of the mails in stock it may have now: one for a connection, and for a call all that fit into it. A call
    /// waits until its pace allows for a whole one: many small calls would use up what a provider allows.
    pub(super) fn room(&self, in_stock: usize) -> usize {
        let pace = &self.lane.pace;
        match &self.route {
            Route::Each { .. } if self.sessions.is_empty() => 0,
            Route::Each { .. } => pace.room(1),
            Route::Batches { provider, .. } => {
                let calls = self.lane.calls.as_ref().map_or(1, |calls| calls.room(1));
                let wanted = provider.batch_max().min(in_stock).min(pace.burst());
                if self.calls == 0 || calls == 0 || pace.room(wanted) < wanted {
                    0
                } else {
                    wanted
                }
            }
        }
    }

    /// Mails to keep in stock for it: what it can have on its way, or what it sent of late in a quarter of a second, so
    /// that a fast lane does not ask the database for each mail, and a slow one keeps nobody else from them.
    pub(super) fn stock(&self) -> usize {
        let quarter = (self.lane.pace.recent() / 4.0).min(STOCK_MAX);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and STOCK_MAX"
        )]
        let stock = self.capacity().max(quarter as usize);
        // Where domains have caps, one domain's mails must not hide all others.
        if self.lane.domains.is_capped() {
            stock * 8
        } else {
            stock
        }
    }

    /// Mails it can have on their way.
    pub(super) fn capacity(&self) -> usize {
        match &self.route {
            Route::Each { connections, .. } => *connections,
            Route::Batches {
                provider, calls, ..
            } => provider.batch_max() * calls,
        }
    }

    /// A way that comes back: the session of an attempt, or a new one for that of an attempt that panicked.
    pub(super) fn take_back(&mut self, session: Option<Session>) {
        match &self.route {
            Route::Each { transport, .. } => {
                self.sessions
                    .push(session.unwrap_or_else(|| transport.open()));
            }
            Route::Batches { .. } => self.calls += 1,
        }
    }

    /// Takes the connections out that idled so long by now, or all of them.
    pub(super) fn take_open(&mut self, idle_by: Option<Instant>) -> Vec<Session> {
        let Route::Each { transport, .. } = &self.route else {
            return Vec::new();
        };
        let is_due = |session: &Session| {
            let deadline = session.idle_deadline();
            deadline.is_some_and(|deadline| idle_by.is_none_or(|now| deadline <= now))
        };
        self.sessions
            .iter_mut()
            .filter(|session| is_due(session))
            .map(|session| std::mem::replace(session, transport.open()))
            .collect()
    }

    /// Counts mails it is given.
    pub(super) fn give(&mut self, jobs: usize) {
        self.lane.pace.spend(jobs);
        let jobs = f64::from(u32::try_from(jobs).unwrap_or(u32::MAX));
        self.given += jobs / f64::from(self.lane.weight.max(1));
    }
}

/// The lanes that mails may go to: those that are open; a spare only while every other lane is closed.
pub(super) fn in_use(slots: &[Slot]) -> impl Iterator<Item = (usize, &Slot)> {
    let is_regular = |slot: &Slot| slot.lane.weight > 0 && slot.lane.is_open();
    let needs_spare = !slots.iter().any(is_regular);
    slots
        .iter()
        .enumerate()
        .filter(move |(_, slot)| slot.lane.is_open() && (slot.lane.weight > 0 || needs_spare))
}

/// The lane that is owed the next mail, of those that have room. Who cannot take part is owed nothing for it later:
/// otherwise a lane that was closed or full would get every mail until it had caught up.
pub(super) fn next(slots: &mut [Slot], in_stock: usize, is_passed: &[bool]) -> Option<usize> {
    let mut takes_part = vec![false; slots.len()];
    for (index, slot) in in_use(slots) {
        takes_part[index] = !is_passed[index] && slot.room(in_stock) > 0;
    }
    let (next, given) = slots
        .iter()
        .map(|slot| slot.given)
        .enumerate()
        .filter(|(index, _)| takes_part[*index])
        .min_by(|(_, one), (_, other)| one.total_cmp(other))?;
    for (slot, _) in slots.iter_mut().zip(takes_part).filter(|(_, takes)| !takes) {
        slot.given = slot.given.max(given);
    }
    Some(next)
}

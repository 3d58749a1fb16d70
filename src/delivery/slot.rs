//! A worker's view of a lane: what of it is idle, and whose turn it is.

use std::sync::Arc;

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

    pub(super) fn has_room(&self) -> bool {
        !self.sessions.is_empty() || self.calls > 0
    }

    pub(super) fn mails_at_once(&self) -> usize {
        match &self.route {
            Route::Each { .. } => 1,
            Route::Batches { provider, .. } => provider.batch_max(),
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
            Route::Batches { provider, calls } => provider.batch_max() * calls,
        }
    }

    /// Counts mails it is given.
    pub(super) fn give(&mut self, jobs: usize) {
        self.lane.pace.spend(jobs);
        let jobs = f64::from(u32::try_from(jobs).unwrap_or(u32::MAX));
        self.given += jobs / f64::from(self.lane.weight.max(1));
    }
}

/// The lane that is owed the next mail, of those that have room; a spare only while every other lane is closed.
pub(super) fn next(slots: &[Slot], is_passed: &[bool]) -> Option<usize> {
    let is_regular = |slot: &Slot| slot.lane.weight > 0 && slot.lane.is_open();
    let needs_spare = !slots.iter().any(is_regular);
    slots
        .iter()
        .enumerate()
        .filter(|(index, slot)| {
            !is_passed[*index]
                && slot.lane.is_open()
                && (slot.lane.weight > 0 || needs_spare)
                && slot.has_room()
                && slot.lane.pace.room(1) > 0
        })
        .min_by(|(_, one), (_, other)| one.given.total_cmp(&other.given))
        .map(|(index, _)| index)
}

/// Keeps the lanes' counts near zero, so that one that was closed is not owed everything it missed.
pub(super) fn level(slots: &mut [Slot]) {
    let least = slots
        .iter()
        .filter(|slot| slot.lane.is_open())
        .map(|slot| slot.given)
        .fold(f64::INFINITY, f64::min);
    if least.is_finite() {
        for slot in slots {
            slot.given = (slot.given - least).max(0.0);
        }
    }
}

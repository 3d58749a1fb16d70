//! All lanes of a worker: their idle connections and calls, and which of them gets the next email.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::delivery_config::{LaneConfig, LaneTransport};
use super::lane::Lane;
use crate::mail::transport::TransportSession;

/// The most emails buffered for a fast lane. Claiming more at once saves nothing more.
const BUFFER_MAX: f64 = 256.0;

pub(super) struct LaneSet(Vec<LaneState>);

pub(super) struct LaneState {
    pub(super) lane: Arc<Lane>,
    pub(super) transport: LaneTransport,
    /// One for each connection that no task uses.
    pub(super) idle_sessions: Vec<TransportSession>,
    /// Calls to a provider that may start now.
    pub(super) idle_calls: usize,
    /// How long a connection is not used after the relay refused it twice.
    pause: Duration,
    /// When connections that the relay refused may be used again. Other connections may still work.
    refused_until: Vec<Instant>,
    /// The emails assigned so far, divided by the weight. The lane with the least gets the next email.
    assigned: f64,
}

impl LaneSet {
    pub(super) fn new(lanes: &[LaneConfig]) -> Self {
        Self(lanes.iter().map(LaneState::new).collect())
    }

    /// The lane with this index, as `choose` and `reserve_calls` return it.
    pub(super) fn get_mut(&mut self, index: usize) -> &mut LaneState {
        &mut self.0[index]
    }

    pub(super) fn is_any_available(&self) -> bool {
        self.0.iter().any(|state| state.lane.is_available())
    }

    /// The most emails to buffer for the lanes that may get emails.
    pub(super) fn buffer_size(&self) -> usize {
        self.usable().map(|(_, state)| state.buffer_size()).sum()
    }

    /// When a lane that is paused or at its rate limit can send again.
    pub(super) fn available_at(&self, has_messages: bool) -> Option<Instant> {
        let lanes = self.0.iter();
        lanes
            .filter_map(|state| state.lane.available_at(has_messages))
            .min()
    }

    /// The lane that gets the next email: the one with the smallest share, of those that have room and are not skipped.
    ///
    /// A lane that cannot take an email now does not catch up later. Otherwise a lane that was paused would get every
    /// email until its share was as large as the others'.
    pub(super) fn choose(&mut self, buffered: usize, skipped: &[usize]) -> Option<usize> {
        let candidates: Vec<usize> = self
            .usable()
            .filter(|(index, state)| !skipped.contains(index) && state.room(buffered) > 0)
            .map(|(index, _)| index)
            .collect();
        let share = |index: &usize| self.0[*index].assigned;
        let shares = candidates.iter();
        let chosen = *shares.min_by(|one, other| share(one).total_cmp(&share(other)))?;
        let smallest = share(&chosen);
        for (index, state) in self.0.iter_mut().enumerate() {
            if !candidates.contains(&index) {
                state.assigned = state.assigned.max(smallest);
            }
        }
        Some(chosen)
    }

    /// Reserves one call on each lane where a call may start, if only to probe a resting lane. Returns the indexes and
    /// names of these lanes.
    pub(super) fn reserve_calls(&mut self) -> Vec<(usize, String)> {
        let mut reserved = Vec::new();
        for (index, state) in self.0.iter_mut().enumerate() {
            if state.idle_calls > 0 && state.lane.is_available() {
                state.idle_calls -= 1;
                reserved.push((index, state.lane.name.clone()));
            }
        }
        reserved
    }

    /// Takes out the connections whose idle deadline is at `now` or before, or all of them.
    pub(super) fn take_idle_connections(&mut self, now: Option<Instant>) -> Vec<TransportSession> {
        let lanes = self.0.iter_mut();
        lanes
            .flat_map(|state| state.take_idle_connections(now))
            .collect()
    }

    /// The lanes that may get emails. A spare lane is among them only while no other lane works.
    fn usable(&self) -> impl Iterator<Item = (usize, &LaneState)> {
        let is_regular = |state: &LaneState| state.lane.weight > 0 && state.lane.is_working();
        let needs_spare = !self.0.iter().any(is_regular);
        self.0.iter().enumerate().filter(move |(_, state)| {
            state.lane.is_available() && (state.lane.weight > 0 || needs_spare)
        })
    }
}

impl LaneState {
    fn new(config: &LaneConfig) -> Self {
        let (idle_sessions, idle_calls) = match &config.transport {
            LaneTransport::PerMessage {
                transport,
                connections,
            } => ((0..*connections).map(|_| transport.open()).collect(), 0),
            LaneTransport::Batches { calls, .. } => (Vec::new(), *calls),
        };
        Self {
            lane: Arc::new(Lane::new(config)),
            transport: config.transport.clone(),
            idle_sessions,
            idle_calls,
            refused_until: Vec::new(),
            pause: config.pause,
            assigned: 0.0,
        }
    }

    /// How many of the buffered emails the lane can take now: one for a connection, or a whole call. A call waits until
    /// the rate allows all its emails, because small calls would use up the provider's limit on calls. A resting lane
    /// takes one email.
    pub(super) fn room(&self, buffered: usize) -> usize {
        let rate = &self.lane.message_rate;
        match &self.transport {
            LaneTransport::PerMessage { .. } if !self.has_usable_session() => 0,
            LaneTransport::PerMessage { .. } => rate.available(1),
            LaneTransport::Batches { provider, .. } => {
                let calls = self.lane.call_rate.as_ref();
                let is_call_allowed = calls.is_none_or(|calls| calls.available(1) > 0);
                let wanted = self.probe_size(provider.batch_max());
                let wanted = wanted.min(buffered).min(rate.burst());
                let has_room =
                    self.idle_calls > 0 && is_call_allowed && rate.available(wanted) >= wanted;
                if has_room { wanted } else { 0 }
            }
        }
    }

    /// How many emails to buffer for the lane: what it can have in flight, or what it recently sent in a quarter of a
    /// second. So a fast lane needs few claims, and a slow lane does not keep emails from other workers.
    fn buffer_size(&self) -> usize {
        let quarter = (self.lane.message_rate.recent() / 4.0).min(BUFFER_MAX);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and BUFFER_MAX"
        )]
        let quarter = quarter as usize;
        let in_flight_max = match &self.transport {
            LaneTransport::PerMessage { connections, .. } => *connections,
            LaneTransport::Batches {
                provider, calls, ..
            } => provider.batch_max() * calls,
        };
        if !self.lane.is_working() {
            return self.probe_size(in_flight_max);
        }
        // With domain caps, emails to a domain at its cap must not fill the whole buffer.
        let factor = if self.lane.domains.is_capped() { 8 } else { 1 };
        in_flight_max.max(quarter) * factor
    }

    /// The connections of the lane, idle or in use.
    fn connections(&self) -> usize {
        match &self.transport {
            LaneTransport::PerMessage { connections, .. } => *connections,
            LaneTransport::Batches { .. } => 0,
        }
    }

    /// Of `size` emails, how many the lane takes: a resting lane takes one.
    fn probe_size(&self, size: usize) -> usize {
        if self.lane.is_working() {
            size
        } else {
            size.min(1)
        }
    }

    /// Whether a connection is idle, and not one of those that the relay refused. The last connection is always used.
    fn has_usable_session(&self) -> bool {
        let now = Instant::now();
        let refused = self.refused_until.iter().filter(|until| **until > now);
        let in_flight = self.connections().saturating_sub(self.idle_sessions.len());
        let usable = self.connections().saturating_sub(refused.count()).max(1);
        !self.idle_sessions.is_empty() && (in_flight < usable || !self.lane.is_working())
    }

    /// Returns what a task used: its session, or a call. The session of a task that panicked is replaced.
    pub(super) fn release(&mut self, session: Option<TransportSession>) {
        match &self.transport {
            LaneTransport::PerMessage { transport, .. } => {
                let session = session.unwrap_or_else(|| transport.open());
                if session.is_refused() {
                    let now = Instant::now();
                    self.refused_until.retain(|until| *until > now);
                    self.refused_until.push(now + self.pause);
                }
                // Connected sessions are used first: the relay may refuse further connections while they are open.
                match session.idle_deadline() {
                    Some(_) => self.idle_sessions.push(session),
                    None => self.idle_sessions.insert(0, session),
                }
            }
            LaneTransport::Batches { .. } => self.idle_calls += 1,
        }
    }

    /// Takes out the connections whose idle deadline is at `now` or before, or all of them.
    fn take_idle_connections(&mut self, now: Option<Instant>) -> Vec<TransportSession> {
        let LaneTransport::PerMessage { transport, .. } = &self.transport else {
            return Vec::new();
        };
        let is_due = |session: &TransportSession| {
            let deadline = session.idle_deadline();
            deadline.is_some_and(|deadline| now.is_none_or(|now| deadline <= now))
        };
        self.idle_sessions
            .iter_mut()
            .filter(|session| is_due(session))
            .map(|session| std::mem::replace(session, transport.open()))
            .collect()
    }

    /// Counts emails that the lane takes.
    pub(super) fn assign(&mut self, count: usize) {
        self.lane.breaker.begin_send();
        self.lane.message_rate.consume(count);
        let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        self.assigned += count / f64::from(self.lane.weight.max(1));
    }
}

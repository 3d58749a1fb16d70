//! The connections of a port, and their order of value.
//!
//! For a new connection, the first connection in this order is closed:
//!
//! 1. one that never authenticated, before one that did;
//! 2. one without an open request, before one with an open request;
//! 3. one from the network with the most such connections;
//! 4. the one that has been idle longest. Requests without authentication are no activity.
//!
//! A new connection has [`GRACE`] for its handshake and its first request, unless its network has opened more than its
//! share of the places within that time. As many places as [`ConnectionLimits::authenticated_max`] leaves free are a
//! reservation for connections that have not authenticated, so that a new connection and a health check never wait for
//! authenticated ones.
//!
//! A connection that was asked to close has some time for its open requests. If too many connections are closing, the
//! oldest of them is dropped.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::network::Network;

/// No connection is closed before this age, which is longer than a handshake and a first request take. While all others
/// are younger, no further connection is accepted.
pub(super) const GRACE: Duration = Duration::from_millis(500);
/// The same for a network with more than its share of the connections that are younger than [`GRACE`] and have not
/// authenticated. Otherwise one address that connects fast would fill the port.
const CROWDED_GRACE: Duration = Duration::from_millis(100);
/// Part of all places that is this share.
const YOUNG_OF_NETWORK_SHARE: usize = 4;
/// Part of all places beyond which connections with open requests that never authenticated, such as watches of the
/// health, are closed before those that have not begun a request.
const STRANGERS_REQUESTING_SHARE: usize = 4;

#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Most connections.
    pub connections_max: usize,
    /// Most connections that have authenticated.
    pub authenticated_max: usize,
    /// Most connections that have authenticated as one caller who is not a user.
    pub caller_max: usize,
    /// Most connections that have authenticated as one user.
    pub user_max: usize,
    /// Most connections that were asked to close and have not closed yet. They come in addition. For a further one the
    /// oldest of them is dropped.
    pub closing_max: usize,
}

#[derive(Debug)]
pub(super) struct ConnectionTable {
    limits: ConnectionLimits,
    next_number: u64,
    by_number: BTreeMap<u64, TableEntry>,
    /// The connections that were asked to close and were not dropped, in this order.
    closing: VecDeque<u64>,
}

/// Tell a connection that it must end.
#[derive(Clone, Debug, Default)]
pub(super) struct EndTokens {
    /// Cancelled when the connection must close gracefully.
    pub(super) closing: CancellationToken,
    /// Cancelled when the connection must end at once. It was asked to close before.
    pub(super) dropped: CancellationToken,
}

#[derive(Debug)]
struct TableEntry {
    network: Network,
    accepted_at: Instant,
    /// Since when an authenticated connection has had no open request.
    idle_since: Instant,
    requests: usize,
    /// The caller who has authenticated first.
    caller: Option<Box<str>>,
    tokens: EndTokens,
}

impl TableEntry {
    const fn is_authenticated(&self) -> bool {
        self.caller.is_some()
    }
}

impl ConnectionTable {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            next_number: 0,
            by_number: BTreeMap::new(),
            closing: VecDeque::new(),
        }
    }

    /// Returns when to look again if no connection may be accepted now. If too many connections are closing, drops the
    /// oldest of them, which ends a moment later.
    pub(super) fn full_until(&mut self, now: Instant) -> Option<Instant> {
        let limits = self.limits;
        if self.by_number.len() >= limits.connections_max + limits.closing_max {
            self.drop_oldest_closing();
            return Some(now + GRACE);
        }
        if self.open().count() < limits.connections_max || self.least_valuable(now).is_some() {
            return None;
        }
        let strangers = self.open().filter(|(_, entry)| !entry.is_authenticated());
        let oldest = strangers.map(|(_, entry)| entry.accepted_at).min();
        let until = oldest.unwrap_or(now) + GRACE;
        Some(until.min(now + CROWDED_GRACE))
    }

    /// Adds a connection and closes another one if there are too many. Returns the number of the new connection, and
    /// the tokens that tell it to end.
    pub(super) fn insert(&mut self, ip: IpAddr, now: Instant) -> (u64, EndTokens) {
        if self.open().count() >= self.limits.connections_max {
            self.close_least_valuable(now);
        }
        let (number, tokens) = (self.next_number, EndTokens::default());
        self.next_number += 1;
        let entry = TableEntry {
            network: Network::of(ip),
            accepted_at: now,
            idle_since: now,
            requests: 0,
            caller: None,
            tokens: tokens.clone(),
        };
        self.by_number.insert(number, entry);
        (number, tokens)
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.by_number.remove(&number);
        self.closing.retain(|closing| *closing != number);
    }

    /// Closes the least valuable connection that never authenticated, if one may be closed.
    pub(super) fn close_least_valuable(&mut self, now: Instant) {
        if let Some(number) = self.least_valuable(now) {
            self.close(number);
        }
    }

    fn close(&mut self, number: u64) {
        if let Some(entry) = self.by_number.get(&number) {
            entry.tokens.closing.cancel();
            self.closing.push_back(number);
        }
    }

    fn drop_oldest_closing(&mut self) {
        if let Some(number) = self.closing.pop_front()
            && let Some(entry) = self.by_number.get(&number)
        {
            entry.tokens.dropped.cancel();
        }
    }

    /// Marks a connection as authenticated. If there are too many, of all callers or of this one, closes the least
    /// valuable one of them without an open request. Returns `false` if there is none.
    pub(super) fn authenticate(&mut self, number: u64, caller: &str, is_user: bool) -> bool {
        if self.is_authenticated(number) {
            return true;
        }
        let caller_max = if is_user {
            self.limits.user_max
        } else {
            self.limits.caller_max
        };
        let of_caller = |entry: &TableEntry| entry.caller.as_deref() == Some(caller);
        // Closing connections count too, because they may still have open requests.
        let entries = self.by_number.values();
        let count = entries.filter(|entry| of_caller(entry)).count();
        let has_place = if count >= caller_max {
            self.close_idle(of_caller)
        } else {
            let authenticated = self.open().filter(|(_, entry)| entry.is_authenticated());
            authenticated.count() < self.limits.authenticated_max
                || self.close_idle(TableEntry::is_authenticated)
        };
        if has_place && let Some(entry) = self.by_number.get_mut(&number) {
            entry.caller = Some(caller.into());
        }
        has_place
    }

    fn close_idle(&mut self, is_candidate: impl Fn(&TableEntry) -> bool + Clone) -> bool {
        let idle = self
            .open()
            .filter(move |(_, entry)| entry.requests == 0 && is_candidate(entry));
        let Some(number) = self.first_in_order(idle) else {
            return false;
        };
        self.close(number);
        true
    }

    pub(super) fn is_authenticated(&self, number: u64) -> bool {
        let entry = self.by_number.get(&number);
        entry.is_some_and(TableEntry::is_authenticated)
    }

    pub(super) fn begin_request(&mut self, number: u64) {
        if let Some(entry) = self.by_number.get_mut(&number) {
            entry.requests += 1;
        }
    }

    pub(super) fn end_request(&mut self, number: u64, now: Instant) {
        if let Some(entry) = self.by_number.get_mut(&number) {
            entry.requests -= 1;
            entry.idle_since = now;
        }
    }

    pub(super) fn has_request(&self, number: u64) -> bool {
        let entry = self.by_number.get(&number);
        entry.is_some_and(|entry| entry.requests > 0)
    }

    /// Whether a connection that was asked to close needs no more time. An authenticated one has time for its open
    /// requests, and then as long as `flush` to send their responses.
    pub(super) fn has_finished(&self, number: u64, flush: Duration, now: Instant) -> bool {
        let entry = self.by_number.get(&number);
        entry.is_none_or(|entry| {
            let is_idle = entry.requests == 0 && entry.idle_since + flush <= now;
            is_idle || !entry.is_authenticated()
        })
    }

    fn open(&self) -> impl Iterator<Item = (&u64, &TableEntry)> + Clone {
        let entries = self.by_number.iter();
        entries.filter(|(_, entry)| !entry.tokens.closing.is_cancelled())
    }

    fn least_valuable(&self, now: Instant) -> Option<u64> {
        let strangers = self.open().filter(|(_, entry)| !entry.is_authenticated());
        let requesting = strangers.clone().filter(|(_, entry)| entry.requests > 0);
        let is_young = |(_, entry): &(&u64, &TableEntry)| entry.accepted_at + GRACE > now;
        let mut young_of_network: HashMap<Network, usize> = HashMap::new();
        for (_, entry) in strangers.clone().filter(is_young) {
            *young_of_network.entry(entry.network).or_default() += 1;
        }
        let young_max = self.limits.connections_max / YOUNG_OF_NETWORK_SHARE;
        let may_be_closed = |(_, entry): &(&u64, &TableEntry)| {
            let young = young_of_network.get(&entry.network).copied();
            let is_crowded = young.is_some_and(|young| young > young_max);
            let grace = if is_crowded { CROWDED_GRACE } else { GRACE };
            entry.accepted_at + grace <= now
        };
        if requesting.clone().count() > self.limits.connections_max / STRANGERS_REQUESTING_SHARE
            && let Some(number) = self.first_in_order(requesting.filter(may_be_closed))
        {
            return Some(number);
        }
        self.first_in_order(strangers.filter(may_be_closed))
    }

    /// The first of connections that are all authenticated, or all not.
    fn first_in_order<'a>(
        &self,
        candidates: impl Iterator<Item = (&'a u64, &'a TableEntry)> + Clone,
    ) -> Option<u64> {
        let is_authenticated = candidates.clone().next()?.1.is_authenticated();
        let mut of_network: HashMap<Network, usize> = HashMap::new();
        let alike = self
            .open()
            .filter(|(_, entry)| entry.is_authenticated() == is_authenticated);
        for (_, entry) in alike {
            *of_network.entry(entry.network).or_default() += 1;
        }
        let first = candidates.min_by_key(|(_, entry)| {
            let since = if is_authenticated {
                entry.idle_since
            } else {
                entry.accepted_at
            };
            (
                entry.requests > 0,
                Reverse(of_network[&entry.network]),
                since,
            )
        });
        first.map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 4] = [10, 0, 0, 1];
    const B: [u8; 4] = [10, 0, 0, 2];
    const C: [u8; 4] = [10, 0, 0, 3];

    fn table(connections_max: usize, authenticated_max: usize) -> ConnectionTable {
        ConnectionTable::new(ConnectionLimits {
            connections_max,
            authenticated_max,
            caller_max: authenticated_max,
            user_max: 1,
            closing_max: 2,
        })
    }

    fn insert(table: &mut ConnectionTable, ip: [u8; 4], age: Duration) -> CancellationToken {
        let accepted_at = Instant::now().checked_sub(age).unwrap();
        table.insert(ip.into(), accepted_at).1.closing
    }

    #[tokio::test(start_paused = true)]
    async fn the_least_valuable_connection_is_closed_first() {
        let mut table = table(100, 50);
        let ages = (1..=7)
            .rev()
            .map(|seconds| Duration::from_secs(10 + seconds));
        let networks = [A, B, B, B, A, A, B];
        let tokens: Vec<_> = networks
            .into_iter()
            .zip(ages)
            .map(|(ip, age)| insert(&mut table, ip, age))
            .collect();
        // Connection 1 is used by an authenticated caller, 2 has used it, and 3 sends a request of a stranger.
        table.begin_request(1);
        assert!(table.authenticate(1, "web", false) && table.authenticate(2, "web", false));
        table.begin_request(3);
        let mut order = Vec::new();
        for _ in 0..5 {
            table.close_least_valuable(Instant::now());
            order.extend(
                (0..7)
                    .filter(|at| tokens[*at].is_cancelled() && !order.contains(at))
                    .collect::<Vec<_>>(),
            );
        }
        // A has three such connections, and then two as B has; of equals the oldest is the first.
        assert_eq!(order, [0, 4, 6, 5, 3]);
        table.close_least_valuable(Instant::now());
        assert!(!tokens[1].is_cancelled() && !tokens[2].is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_connection_has_time_for_its_first_request() {
        let mut table = table(4, 1);
        let tokens = [A, B, C, [10, 0, 0, 4]].map(|ip| insert(&mut table, ip, Duration::ZERO));
        assert_eq!(
            table.full_until(Instant::now()),
            Some(Instant::now() + CROWDED_GRACE)
        );
        tokio::time::advance(GRACE).await;
        assert_eq!(table.full_until(Instant::now()), None);
        insert(&mut table, A, Duration::ZERO);
        let closed = tokens.map(|token| token.is_cancelled());
        assert_eq!(closed, [true, false, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_that_connects_fast_does_not_fill_the_table() {
        let mut table = table(4, 1);
        let tokens = [A, A, A, B].map(|ip| insert(&mut table, ip, Duration::ZERO));
        assert!(table.full_until(Instant::now()).is_some());
        tokio::time::advance(CROWDED_GRACE).await;
        // A has more than a quarter of the places, so its new connections are closed for others and for its own.
        for ip in [C, A] {
            assert_eq!(table.full_until(Instant::now()), None);
            insert(&mut table, ip, Duration::ZERO);
        }
        let closed = tokens.map(|token| token.is_cancelled());
        assert_eq!(closed, [true, true, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_closing_connection_is_dropped_if_too_many_are_closing() {
        let mut table = table(4, 1);
        let add = |table: &mut ConnectionTable| table.insert(A.into(), Instant::now()).1;
        let mut tokens: Vec<_> = (0..4).map(|_| add(&mut table)).collect();
        tokio::time::advance(GRACE).await;
        tokens.extend((0..2).map(|_| add(&mut table)));
        // Two are closing, which is the limit, so a further connection waits until the first of them has ended.
        assert!(tokens[0].closing.is_cancelled() && tokens[1].closing.is_cancelled());
        assert!(!tokens[0].dropped.is_cancelled());
        assert!(table.full_until(Instant::now()).is_some());
        assert!(tokens[0].dropped.is_cancelled() && !tokens[1].dropped.is_cancelled());
        table.remove(0);
        assert_eq!(table.full_until(Instant::now()), None);
        add(&mut table);
        // A connection that has closed by itself is not dropped instead of another one.
        table.remove(1);
        assert!(!tokens[2].dropped.is_cancelled() && tokens[2].closing.is_cancelled());
        assert_eq!(table.closing, [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn authenticated_connections_leave_a_reservation_for_others() {
        let mut table = table(4, 2);
        let tokens: Vec<_> = (0..3).map(|_| insert(&mut table, A, GRACE)).collect();
        table.begin_request(0);
        assert!(
            table.authenticate(0, "web", false)
                && table.authenticate(1, "web", false)
                && table.authenticate(1, "web", false)
        );
        // The idle connection makes room, and one with an open request never does.
        assert!(table.authenticate(2, "web", false) && tokens[1].is_cancelled());
        table.begin_request(2);
        insert(&mut table, B, GRACE);
        assert!(!table.authenticate(3, "web", false));
        assert!(!tokens[0].is_cancelled() && !tokens[2].is_cancelled());
        table.end_request(0, Instant::now());
        assert!(table.authenticate(3, "web", false) && tokens[0].is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn one_caller_does_not_get_all_authenticated_connections() {
        let mut table = table(8, 3);
        table.limits.caller_max = 2;
        let tokens: Vec<_> = (0..5).map(|_| insert(&mut table, A, GRACE)).collect();
        table.begin_request(0);
        table.begin_request(1);
        assert!(table.authenticate(0, "web", false) && table.authenticate(1, "web", false));
        assert!(!table.authenticate(2, "web", false) && table.authenticate(3, "app", false));
        table.end_request(1, Instant::now());
        assert!(table.authenticate(2, "web", false));
        let closed: Vec<_> = tokens.iter().map(CancellationToken::is_cancelled).collect();
        assert_eq!(closed, [false, true, false, false, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_user_gets_fewer_connections_and_closing_ones_count() {
        let mut table = table(8, 4);
        for _ in 0..5 {
            insert(&mut table, A, GRACE);
        }
        table.begin_request(0);
        assert!(table.authenticate(0, "ann", true));
        assert!(!table.authenticate(1, "ann", true) && table.authenticate(1, "bob", true));
        // The idle connection makes room, and begins a request although it must close.
        assert!(table.authenticate(2, "bob", true));
        table.begin_request(1);
        table.begin_request(2);
        assert!(!table.authenticate(3, "bob", true));
        table.end_request(2, Instant::now());
        table.remove(2);
        assert!(!table.authenticate(3, "bob", true));
        table.remove(1);
        assert!(table.authenticate(3, "bob", true));
    }

    #[tokio::test(start_paused = true)]
    async fn open_requests_of_strangers_do_not_block_new_connections() {
        let mut table = table(4, 1);
        let tokens: Vec<_> = (0..4).map(|_| insert(&mut table, A, GRACE)).collect();
        table.begin_request(1);
        table.begin_request(2);
        // More than a quarter of the places: the oldest of them is closed, and not the one that has just connected.
        insert(&mut table, A, Duration::ZERO);
        let closed: Vec<_> = tokens.iter().map(CancellationToken::is_cancelled).collect();
        assert_eq!(closed, [false, true, false, false]);
    }
}

//! The bell: tells whoever waits that something was committed, in this process at once and in others soon after.
//!
//! A statement that writes events or queues mail notes so with [`note`] and its kin; what was noted is rung once its
//! transaction is committed. A ring is a hint and no more: whoever hears none looks by itself in time. How other processes
//! are told, and hear of theirs, is `listener`'s business.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};

/// Most organizations that are told apart; beyond, everybody is told.
const ORGANIZATIONS_MAX: usize = 64;

tokio::task_local! {
    /// What the unit of work that runs in this task has noted.
    static NOTED: RefCell<Ring>;
}

/// Whom to tell.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ring {
    /// Those who wait for events of these organizations.
    pub(super) organization_ids: BTreeSet<String>,
    /// Those who wait for events of any.
    pub(super) is_for_everybody: bool,
    /// Those who wait for mail to send.
    pub(super) is_for_workers: bool,
}

impl Ring {
    pub(super) fn is_empty(&self) -> bool {
        self.organization_ids.is_empty() && !self.is_for_everybody && !self.is_for_workers
    }

    fn add(&mut self, organization_id: &str) {
        if !self.is_for_everybody && !self.organization_ids.contains(organization_id) {
            self.organization_ids.insert(organization_id.to_owned());
        }
        self.bound();
    }

    fn merge(&mut self, other: Self) {
        self.organization_ids.extend(other.organization_ids);
        self.is_for_everybody |= other.is_for_everybody;
        self.is_for_workers |= other.is_for_workers;
        self.bound();
    }

    fn bound(&mut self) {
        if self.organization_ids.len() > ORGANIZATIONS_MAX {
            self.is_for_everybody = true;
        }
        if self.is_for_everybody {
            self.organization_ids.clear();
        }
    }
}

/// Notes that events of an organization were written.
pub(super) fn note(organization_id: &str) {
    note_with(|ring| ring.add(organization_id));
}

/// Notes that events of organizations were written.
pub(super) fn note_all<'a>(organization_ids: impl IntoIterator<Item = &'a str>) {
    note_with(|ring| organization_ids.into_iter().for_each(|id| ring.add(id)));
}

/// Notes that mails of an organization were queued, which is an event too.
pub(super) fn note_mail(organization_id: &str) {
    note_with(|ring| {
        ring.add(organization_id);
        ring.is_for_workers = true;
    });
}

/// Notes that mails were queued of organizations that nobody named.
pub(super) fn note_mail_of_anybody() {
    note_with(|ring| {
        ring.is_for_everybody = true;
        ring.is_for_workers = true;
        ring.bound();
    });
}

fn note_with(change: impl FnOnce(&mut Ring)) {
    // Outside of a unit of work there is nobody to ring.
    let _ = NOTED.try_with(|ring| change(&mut ring.borrow_mut()));
}

/// Does a unit of work; returns with its outcome what it noted.
pub(super) async fn noting<T>(work: impl Future<Output = T>) -> (T, Ring) {
    let scoped = async {
        let outcome = work.await;
        (outcome, NOTED.with(RefCell::take))
    };
    NOTED.scope(RefCell::default(), scoped).await
}

/// The bell of a process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Bell {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Who waits in this process, by organization.
    waiting: Mutex<HashMap<String, watch::Sender<()>>>,
    /// Whom other processes were not told of yet.
    pending: Mutex<Ring>,
    has_pending: Notify,
}

impl Bell {
    /// Waits for events of an organization from now on.
    #[must_use]
    pub fn subscribe(&self, organization_id: &str) -> Subscription {
        let mut waiting = lock(&self.shared.waiting);
        let sender = waiting.entry(organization_id.to_owned()).or_default();
        Subscription {
            receiver: Some(sender.subscribe()),
            bell: self.clone(),
            organization_id: organization_id.to_owned(),
        }
    }

    /// Whether anybody in this process waits for events.
    pub(super) fn is_awaited(&self) -> bool {
        !lock(&self.shared.waiting).is_empty()
    }

    /// Tells this process at once, and has the others told.
    pub(super) fn ring(&self, ring: Ring) {
        if ring.is_empty() {
            return;
        }
        self.ring_here(&ring);
        lock(&self.shared.pending).merge(ring);
        self.shared.has_pending.notify_one();
    }

    /// Tells those of this process who wait for events.
    pub(super) fn ring_here(&self, ring: &Ring) {
        let waiting = lock(&self.shared.waiting);
        if ring.is_for_everybody {
            waiting.values().for_each(|sender| sender.send_replace(()));
        }
        for organization_id in &ring.organization_ids {
            if let Some(sender) = waiting.get(organization_id) {
                sender.send_replace(());
            }
        }
    }

    /// Waits until there is something to tell other processes.
    pub(super) async fn pending(&self) {
        // Whoever stops waiting here may have taken the notification, so it is not all that counts.
        while lock(&self.shared.pending).is_empty() {
            self.shared.has_pending.notified().await;
        }
    }

    /// Takes what there is to tell other processes.
    pub(super) fn take_pending(&self) -> Ring {
        mem::take(&mut lock(&self.shared.pending))
    }
}

/// Somebody who waits for events of an organization.
#[derive(Debug)]
pub struct Subscription {
    /// There until it is dropped.
    receiver: Option<watch::Receiver<()>>,
    bell: Bell,
    organization_id: String,
}

impl Subscription {
    /// Waits for a ring since the last call. May ring for nothing.
    pub async fn rung(&mut self) {
        let rung = match &mut self.receiver {
            Some(receiver) => receiver.changed().await.is_ok(),
            None => false,
        };
        if !rung {
            // The bell keeps whom it is to tell for as long as they wait.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut waiting = lock(&self.bell.shared.waiting);
        // Under the lock, so that of several who leave at once one is the last.
        drop(self.receiver.take());
        let is_last = waiting
            .get(&self.organization_id)
            .is_some_and(|sender| sender.receiver_count() == 0);
        if is_last {
            waiting.remove(&self.organization_id);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nobody panics while it is held, and a hint too many does no harm.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn of(organization_ids: &[&str]) -> Ring {
        Ring {
            organization_ids: organization_ids.iter().map(ToString::to_string).collect(),
            ..Ring::default()
        }
    }

    #[tokio::test]
    async fn a_ring_is_heard_by_its_organization_and_missed_by_nobody_who_was_busy() {
        let bell = Bell::default();
        let (mut acme, mut other) = (bell.subscribe("acme"), bell.subscribe("other"));
        assert!(acme.rung().now_or_never().is_none());
        bell.ring(of(&["acme"]));
        assert!(acme.rung().now_or_never().is_some());
        assert!(acme.rung().now_or_never().is_none());
        assert!(other.rung().now_or_never().is_none());
        let everybody = Ring {
            is_for_everybody: true,
            ..Ring::default()
        };
        bell.ring(everybody.clone());
        assert!(acme.rung().now_or_never().is_some());
        assert!(other.rung().now_or_never().is_some());
        assert_eq!(bell.take_pending(), everybody);
        assert!(bell.take_pending().is_empty());
    }

    #[tokio::test]
    async fn whoever_waits_no_more_is_forgotten() {
        let bell = Bell::default();
        let (one, mut two) = (bell.subscribe("acme"), bell.subscribe("acme"));
        drop(one);
        assert!(bell.is_awaited());
        bell.ring(of(&["acme"]));
        assert!(two.rung().now_or_never().is_some());
        drop(two);
        assert!(!bell.is_awaited());
    }

    #[tokio::test]
    async fn what_is_noted_is_bounded_and_told_with_the_outcome() {
        note("outside");
        let work = async {
            note_mail("acme");
            note_all(["acme", "other"]);
            1
        };
        let (outcome, ring) = noting(work).await;
        let expected = Ring {
            is_for_workers: true,
            ..of(&["acme", "other"])
        };
        assert_eq!((outcome, ring), (1, expected));
        let many = async { (0..=ORGANIZATIONS_MAX).for_each(|id| note(&id.to_string())) };
        let ((), ring) = noting(many).await;
        assert!(ring.is_for_everybody && ring.organization_ids.is_empty());
    }
}

//! Wakes workers and watchers after a commit: those of this process at once, those of other processes soon after.
//!
//! A notification is a hint. A worker or watcher that misses one polls in time. [`Listener`](super::Listener) exchanges
//! notifications with other processes.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{Notify, watch};

use super::pending_notifications::PendingNotifications;
use crate::domain::actor::Access;

/// The notifier of a process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CommitNotifier {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Watchers in this process.
    watchers: Mutex<Watchers>,
    mail_queued: Notify,
    /// Not sent to other processes yet.
    outgoing: Mutex<PendingNotifications>,
    has_outgoing: Notify,
}

#[derive(Debug, Default)]
struct Watchers {
    by_organization: HashMap<String, watch::Sender<()>>,
    /// Those who watch all organizations.
    of_all: watch::Sender<()>,
}

impl CommitNotifier {
    /// Subscribes to events of organizations that are committed from now on.
    pub fn subscribe(&self, organizations: &Access) -> Subscription {
        let mut watchers = lock(&self.shared.watchers);
        let mut receiver_of = |id: &String| {
            let sender = watchers.by_organization.entry(id.clone()).or_default();
            (Some(id.clone()), sender.subscribe())
        };
        let receivers = match organizations {
            Access::Every => vec![(None, watchers.of_all.subscribe())],
            Access::Only(ids) => ids.iter().map(&mut receiver_of).collect(),
        };
        Subscription {
            receivers,
            notifier: self.clone(),
        }
    }

    /// Waits until mail was queued since the last call.
    pub async fn mail_queued(&self) {
        self.shared.mail_queued.notified().await;
    }

    pub(super) fn has_watchers(&self) -> bool {
        let watchers = lock(&self.shared.watchers);
        !watchers.by_organization.is_empty() || watchers.of_all.receiver_count() > 0
    }

    /// Wakes this process at once, and has other processes woken.
    pub(super) fn committed(&self, notifications: PendingNotifications) {
        if notifications.is_empty() {
            return;
        }
        self.wake(&notifications);
        lock(&self.shared.outgoing).merge(notifications);
        self.shared.has_outgoing.notify_one();
    }

    /// Wakes the worker and the watchers of this process.
    pub(super) fn wake(&self, notifications: &PendingNotifications) {
        if notifications.mail_queued {
            self.shared.mail_queued.notify_one();
        }
        let watchers = lock(&self.shared.watchers);
        let by_organization = &watchers.by_organization;
        if notifications.all_organizations {
            for sender in by_organization.values() {
                sender.send_replace(());
            }
        }
        for organization_id in &notifications.organization_ids {
            if let Some(sender) = by_organization.get(organization_id) {
                sender.send_replace(());
            }
        }
        if notifications.has_events() {
            watchers.of_all.send_replace(());
        }
    }

    /// Waits until there is something to send to other processes.
    pub(super) async fn has_outgoing(&self) {
        // A caller that was cancelled may have consumed the permit, so the list decides.
        while lock(&self.shared.outgoing).is_empty() {
            self.shared.has_outgoing.notified().await;
        }
    }

    pub(super) fn take_outgoing(&self) -> PendingNotifications {
        mem::take(&mut lock(&self.shared.outgoing))
    }
}

#[derive(Debug)]
pub struct Subscription {
    /// One for each organization. Without an id, for all organizations.
    receivers: Vec<(Option<String>, watch::Receiver<()>)>,
    notifier: CommitNotifier,
}

impl Subscription {
    /// Waits for a notification since the last call. There may be no new event.
    pub async fn notified(&mut self) {
        let receivers = self.receivers.iter_mut();
        let mut changes: FuturesUnordered<_> =
            receivers.map(|(_, receiver)| receiver.changed()).collect();
        if !matches!(changes.next().await, Some(Ok(()))) {
            // There is no organization to wait for. Never an error: the notifier keeps the sender for as long as there is a
            // subscription.
            std::future::pending::<()>().await;
        }
        drop(changes);
        // What the caller reads next includes the events of all of them.
        for (_, receiver) in &mut self.receivers {
            receiver.mark_unchanged();
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watchers = lock(&self.notifier.shared.watchers);
        for (organization_id, receiver) in self.receivers.drain(..) {
            // Under the lock, so that exactly one of several dropped at once is the last one.
            drop(receiver);
            if let Some(id) = organization_id
                && let Some(sender) = watchers.by_organization.get(&id)
                && sender.receiver_count() == 0
            {
                watchers.by_organization.remove(&id);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it is held, and a superfluous hint does no harm.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn subscribe(notifier: &CommitNotifier, organization_ids: &[&str]) -> Subscription {
        let ids = organization_ids.iter().map(|id| (*id).to_owned());
        notifier.subscribe(&Access::Only(ids.collect()))
    }

    fn events_of(organization_id: &str) -> PendingNotifications {
        let mut notifications = PendingNotifications::default();
        notifications.add_events(organization_id);
        notifications
    }

    #[tokio::test]
    async fn a_notification_reaches_its_organization_even_while_the_watcher_is_busy() {
        let notifier = CommitNotifier::default();
        let mut acme = subscribe(&notifier, &["acme"]);
        let mut other = subscribe(&notifier, &["other"]);
        assert!(acme.notified().now_or_never().is_none());
        notifier.committed(events_of("acme"));
        assert!(acme.notified().now_or_never().is_some());
        assert!(acme.notified().now_or_never().is_none());
        assert!(other.notified().now_or_never().is_none());
        let mut everything = PendingNotifications::default();
        everything.add_mail_of_any_organization();
        notifier.committed(everything.clone());
        assert!(acme.notified().now_or_never().is_some());
        assert!(other.notified().now_or_never().is_some());
        assert_eq!(notifier.take_outgoing(), everything);
        assert!(notifier.take_outgoing().is_empty());
    }

    #[tokio::test]
    async fn a_watcher_of_several_organizations_is_woken_once_and_one_of_all_by_any() {
        let notifier = CommitNotifier::default();
        let mut several = subscribe(&notifier, &["acme", "other"]);
        let mut all = notifier.subscribe(&Access::Every);
        let mut none = subscribe(&notifier, &[]);
        notifier.committed(events_of("acme"));
        notifier.committed(events_of("other"));
        for watcher in [&mut several, &mut all] {
            assert!(watcher.notified().now_or_never().is_some());
            assert!(watcher.notified().now_or_never().is_none());
        }
        notifier.committed(events_of("third"));
        assert!(several.notified().now_or_never().is_none());
        assert!(all.notified().now_or_never().is_some());
        assert!(none.notified().now_or_never().is_none());
        notifier.committed(PendingNotifications {
            mail_queued: true,
            ..PendingNotifications::default()
        });
        assert!(all.notified().now_or_never().is_none());
        drop(several);
        assert!(notifier.has_watchers());
        drop(all);
        assert!(!notifier.has_watchers());
    }

    #[tokio::test]
    async fn queued_mail_wakes_the_worker_once() {
        let notifier = CommitNotifier::default();
        notifier.committed(events_of("acme"));
        assert!(notifier.mail_queued().now_or_never().is_none());
        let mut notifications = events_of("acme");
        notifications.add_mail("acme");
        notifier.committed(notifications);
        assert!(notifier.mail_queued().now_or_never().is_some());
        assert!(notifier.mail_queued().now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_last_subscription_removes_its_organization() {
        let notifier = CommitNotifier::default();
        let (one, mut two) = (
            subscribe(&notifier, &["acme"]),
            subscribe(&notifier, &["acme"]),
        );
        drop(one);
        assert!(notifier.has_watchers());
        notifier.committed(events_of("acme"));
        assert!(two.notified().now_or_never().is_some());
        drop(two);
        assert!(!notifier.has_watchers());
    }
}

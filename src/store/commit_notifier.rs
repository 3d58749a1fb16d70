//! Wakes workers and watchers after a commit: those of this process at once, those of other processes soon after.
//!
//! A notification is a hint. A worker or watcher that misses one polls in time. [`Listener`](super::Listener) exchanges
//! notifications with other processes.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use super::pending_notifications::PendingNotifications;

/// The notifier of a process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct CommitNotifier {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Watchers in this process, by organization.
    watchers: Mutex<HashMap<String, watch::Sender<()>>>,
    mail_queued: Notify,
    /// Not sent to other processes yet.
    outgoing: Mutex<PendingNotifications>,
    has_outgoing: Notify,
}

impl CommitNotifier {
    /// Subscribes to events of an organization that are committed from now on.
    pub fn subscribe(&self, organization_id: &str) -> Subscription {
        let mut watchers = lock(&self.shared.watchers);
        let sender = watchers.entry(organization_id.to_owned()).or_default();
        Subscription {
            receiver: Some(sender.subscribe()),
            notifier: self.clone(),
            organization_id: organization_id.to_owned(),
        }
    }

    /// Waits until mail was queued since the last call.
    pub async fn mail_queued(&self) {
        self.shared.mail_queued.notified().await;
    }

    pub(super) fn has_watchers(&self) -> bool {
        !lock(&self.shared.watchers).is_empty()
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
        if notifications.all_organizations {
            watchers.values().for_each(|sender| sender.send_replace(()));
        }
        for organization_id in &notifications.organization_ids {
            if let Some(sender) = watchers.get(organization_id) {
                sender.send_replace(());
            }
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
    /// Present until the subscription is dropped.
    receiver: Option<watch::Receiver<()>>,
    notifier: CommitNotifier,
    organization_id: String,
}

impl Subscription {
    /// Waits for a notification since the last call. There may be no new event.
    pub async fn notified(&mut self) {
        if let Some(receiver) = &mut self.receiver
            && receiver.changed().await.is_ok()
        {
            return;
        }
        // Never: the notifier keeps the sender for as long as there is a subscription.
        std::future::pending::<()>().await;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut watchers = lock(&self.notifier.shared.watchers);
        // Under the lock, so that exactly one of several dropped at once is the last one.
        drop(self.receiver.take());
        let sender = watchers.get(&self.organization_id);
        if sender.is_some_and(|sender| sender.receiver_count() == 0) {
            watchers.remove(&self.organization_id);
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

    fn events_of(organization_id: &str) -> PendingNotifications {
        let mut notifications = PendingNotifications::default();
        notifications.add_events(organization_id);
        notifications
    }

    #[tokio::test]
    async fn a_notification_reaches_its_organization_even_while_the_watcher_is_busy() {
        let notifier = CommitNotifier::default();
        let (mut acme, mut other) = (notifier.subscribe("acme"), notifier.subscribe("other"));
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
        let (one, mut two) = (notifier.subscribe("acme"), notifier.subscribe("acme"));
        drop(one);
        assert!(notifier.has_watchers());
        notifier.committed(events_of("acme"));
        assert!(two.notified().now_or_never().is_some());
        drop(two);
        assert!(!notifier.has_watchers());
    }
}

//! Delivering the messages of a world, and looking at the outbox and the mailbox.

use std::collections::BTreeMap;

use invitations::delivery::Worker;

use super::World;
use crate::support::mailbox::ReceivedMail;

impl World {
    /// Delivers every message that is due. Returns the number of attempts.
    pub(crate) async fn deliver_all(&mut self) -> usize {
        let worker = self.worker.as_mut().unwrap();
        worker.deliver_all().await.unwrap()
    }

    /// The worker, for a test that runs the worker itself.
    pub(crate) fn take_worker(&mut self) -> Worker {
        self.worker.take().unwrap()
    }

    /// Requeues the messages of expired leases. Returns their number.
    pub(crate) async fn reap(&self) -> u64 {
        self.reaper.reap().await.unwrap()
    }

    /// Every message that arrived, in order of arrival.
    pub(crate) fn mailbox(&self) -> Vec<ReceivedMail> {
        self.relay
            .received()
            .iter()
            .map(ReceivedMail::parse)
            .collect()
    }

    /// The newest message to an address.
    pub(crate) fn mail_to(&self, address: &str) -> ReceivedMail {
        let mut mailbox = self.mailbox().into_iter();
        mailbox
            .rfind(|mail| mail.to == address)
            .unwrap_or_else(|| panic!("{address} got no message"))
    }

    /// The recipient of each message that arrived, sorted.
    pub(crate) fn recipients(&self) -> Vec<String> {
        let mut recipients: Vec<_> = self.mailbox().into_iter().map(|mail| mail.to).collect();
        recipients.sort_unstable();
        recipients
    }

    /// The number of messages in each state of the outbox.
    pub(crate) async fn outbox_states(&self) -> BTreeMap<String, i64> {
        let statement = "SELECT state, count(*) FROM outbox GROUP BY state";
        let rows: Vec<(String, i64)> = sqlx::query_as(statement)
            .fetch_all(&mut self.database().await)
            .await
            .unwrap();
        rows.into_iter().collect()
    }

    /// The different numbers of attempts of the messages in the outbox, in descending order.
    pub(crate) async fn outbox_attempts(&self) -> Vec<i32> {
        sqlx::query_scalar("SELECT DISTINCT attempts FROM outbox ORDER BY attempts DESC")
            .fetch_all(&mut self.database().await)
            .await
            .unwrap()
    }
}

/// A number of messages for each state, to compare with [`World::outbox_states`].
pub(crate) fn by_state<const N: usize>(counts: [(&str, i64); N]) -> BTreeMap<String, i64> {
    counts
        .map(|(state, count)| (state.to_owned(), count))
        .into()
}

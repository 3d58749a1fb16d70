//! A worker of another process, which claims and settles messages in the database.

use invitations::clock::Clock as _;
use invitations::store::Connection;
use invitations::store::outbox::{self, Lease, MailKey};
use invitations::store::settlements::{self, SettledMail, Settlement};
use sqlx::Connection as _;
use time::Duration;
use uuid::Uuid;

use crate::support::world::World;

/// A message that another worker has claimed with a lease of two minutes.
pub(crate) struct ClaimedMessage {
    key: MailKey,
    lease_token: Uuid,
}

impl ClaimedMessage {
    /// Claims the only message that is due.
    pub(crate) async fn claim(world: &World) -> Self {
        let now = world.clock.now();
        let lease = Lease {
            token: Uuid::new_v4(),
            until: now + Duration::minutes(2),
        };
        let mut database = world.database().await;
        let claimed = outbox::claim(&mut Connection::new(&mut database), 10, lease, now).await;
        let [message] = claimed.unwrap().try_into().unwrap();
        Self {
            key: message.key,
            lease_token: lease.token,
        }
    }

    /// Commits the result of the delivery. Returns `false` if the worker had lost the lease.
    pub(crate) async fn settle(&self, world: &World, settlement: Settlement) -> bool {
        let settled = SettledMail {
            key: self.key.clone(),
            lease_token: self.lease_token,
            settlement,
            suppression: None,
        };
        let now = world.clock.now();
        let mut database = world.database().await;
        let mut transaction = database.begin().await.unwrap();
        let mut connection = Connection::new(&mut transaction);
        let written = settlements::settle_many(&mut connection, &[settled], now).await;
        let is_written = !written.unwrap().is_empty();
        transaction.commit().await.unwrap();
        is_written
    }
}

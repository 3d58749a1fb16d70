//! The world of a test: the service on a real socket, a real Postgres, a real SMTP relay, and a clock that stands still
//! until the test moves it.

mod builder;
mod calls;
mod clients;
mod delivery;
mod servers;

use std::net::SocketAddr;
use std::sync::Arc;

use invitations::clock::MockClock;
use invitations::delivery::{Reaper, Worker};
use invitations::service::Service;
use invitations::store::Store;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor as _};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::support::database::{Database, block_on_thread, count};
use crate::support::relay::Relay;

pub(crate) use delivery::by_state;

/// Begins with the organizations and users of [`fixtures`](crate::support::fixtures). On drop it asserts that no
/// message waits in the outbox, unless the test called [`may_leave_mail`](Self::may_leave_mail).
pub(crate) struct World {
    pub(crate) clock: Arc<MockClock>,
    pub(crate) relay: Relay,
    pub(crate) service: Service,
    pub(crate) store: Store,
    worker: Option<Worker>,
    reaper: Reaper,
    address: SocketAddr,
    channel: Channel,
    database: Database,
    stopping: CancellationToken,
    may_leave_mail: bool,
}

impl World {
    /// Lets the test end with messages in the outbox.
    pub(crate) fn may_leave_mail(&mut self) {
        self.may_leave_mail = true;
    }

    /// Stops every server of the world, as SIGTERM does.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
    }

    /// The address of the gRPC port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// A channel without credentials.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn database_url(&self) -> String {
        self.database.url()
    }

    /// A connection to the database that bypasses the service.
    pub(crate) async fn database(&self) -> PgConnection {
        self.database.connect().await
    }

    /// The number of rows of `SELECT count(*) FROM {from}`, such as `invitations` or `outbox WHERE state = 'sent'`.
    pub(crate) async fn count(&self, from: &str) -> i64 {
        count(&mut self.database().await, from).await
    }

    /// Runs SQL statements that bypass the service.
    pub(crate) async fn execute(&self, statements: &str) {
        let statements = AssertSqlSafe(statements.to_owned());
        let mut database = self.database().await;
        database.execute(statements).await.unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stopping.cancel();
        if self.may_leave_mail || std::thread::panicking() {
            return;
        }
        let url = self.database.url();
        let left = block_on_thread(async move {
            let mut database = <PgConnection as sqlx::Connection>::connect(&url)
                .await
                .unwrap();
            count(&mut database, "outbox WHERE state IN ('queued', 'sending')").await
        });
        assert_eq!(
            left.unwrap(),
            0,
            "messages were left in the outbox; deliver them or call may_leave_mail"
        );
    }
}

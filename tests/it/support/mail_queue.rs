//! A deployment with messages in its outbox, for tests that kill the workers that deliver them.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use tokio::sync::Mutex;
use tonic::transport::Channel;

use crate::support::callers::DirectoryClient;
use crate::support::database;
use crate::support::deployment::{Deployment, client, directory_client};
use crate::support::relay::{ReceivedMessage, RelayAction, SmtpStep};
use crate::support::requests::{invite_request, numbered_emails};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;

/// The connections of a worker to the relay, unless set otherwise. As many messages may arrive twice for each crash.
pub(crate) const CONNECTIONS: usize = 4;
/// The setting of a worker whose leases must not expire before the test ends them.
pub(crate) const LONG_LEASE: (&str, &str) = ("INVITATIONS_LEASE_DURATION", "10m");

/// A deployment, and a process that only answers calls.
pub(crate) struct MailQueue {
    pub(crate) deployment: Deployment,
    pub(crate) channel: Channel,
    database: Mutex<PgConnection>,
    _api: ServerProcess,
}

impl MailQueue {
    /// Starts with this many messages of ACME in the outbox.
    pub(crate) async fn with_messages(count: usize) -> Self {
        let deployment = Deployment::create().await;
        let api_only = ("INVITATIONS_ROLE", "api");
        let (api, channel) = deployment.serve_populated(&[api_only]).await;
        let queue = Self {
            database: Mutex::new(deployment.database.connect().await),
            deployment,
            channel,
            _api: api,
        };
        queue.invite(0, count).await;
        queue
    }

    /// Invites this many more addresses, numbered from `first`.
    pub(crate) async fn invite(&self, first: usize, count: usize) {
        let request = invite_request(&numbered_emails("p", "b.co", first..first + count));
        let answer = client(&self.channel).bulk_create(request).await.unwrap();
        let created = answer.into_inner().succeeded_count;
        assert_eq!(usize::try_from(created).unwrap(), count);
    }

    pub(crate) fn directory(&self) -> DirectoryClient {
        directory_client(&self.channel)
    }

    /// Starts a process that only delivers, and does not wait until it does.
    pub(crate) fn start_worker(&self, settings: &[(&str, &str)]) -> ServerProcess {
        let worker_only = ("INVITATIONS_ROLE", "worker");
        let settings = [&[worker_only], settings].concat();
        self.deployment.start("serve", &settings)
    }

    /// Queues an action of the relay for each connection of the next worker.
    pub(crate) fn act_on_each_connection(&self, step: SmtpStep, action: &RelayAction) {
        for _ in 0..CONNECTIONS {
            self.deployment.relay.act_once(step, action.clone());
        }
    }

    /// The number of rows of `SELECT count(*) FROM {from}`.
    pub(crate) async fn count(&self, from: &str) -> usize {
        let count = database::count(&mut *self.database.lock().await, from).await;
        usize::try_from(count).unwrap()
    }

    /// How often each message was claimed, by the `RCPT TO` line of its recipient.
    pub(crate) async fn attempts(&self) -> BTreeMap<String, usize> {
        let rows: Vec<(String, i32)> = sqlx::query_as(
            "SELECT i.email, o.attempts FROM outbox o JOIN invitations i ON i.id = o.invitation_id",
        )
        .fetch_all(&mut *self.database.lock().await)
        .await
        .unwrap();
        let attempts = rows.into_iter().map(|(email, attempts)| {
            let rcpt = format!("RCPT TO:<{email}>");
            (rcpt, usize::try_from(attempts).unwrap())
        });
        attempts.collect()
    }

    pub(crate) async fn execute(&self, statement: &str) {
        let statement = AssertSqlSafe(statement.to_owned());
        let mut database = self.database.lock().await;
        database.execute(statement).await.unwrap();
    }

    /// Connects to the database again after an outage.
    pub(crate) async fn reconnect(&self) {
        *self.database.lock().await = self.deployment.database.connect().await;
    }

    /// Waits until the relay has received this many messages.
    pub(crate) async fn wait_until_received(&self, count: usize) {
        wait_until("the relay to receive the messages", async || {
            self.deployment.relay.received_count() >= count
        })
        .await;
    }

    pub(crate) async fn wait_until_all_sent(&self) {
        wait_until("every message to be sent", async || {
            self.count("outbox WHERE state <> 'sent'").await == 0
        })
        .await;
    }

    /// Ends the leases of killed workers.
    pub(crate) async fn end_leases(&self) {
        // A claim of a killed worker may still run in the database. It would take a lease of its full duration.
        self.execute(
            "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name = 'invitations'",
        )
        .await;
        self.execute(
            "UPDATE outbox SET lease_until = now() WHERE state = 'sending' AND batch_id IS NULL",
        )
        .await;
        self.execute("UPDATE mail_batches SET lease_until = now()")
            .await;
    }

    /// How often each of this many messages arrived. Fails if one did not, or if its copies differ.
    pub(crate) fn arrivals(&self, messages: usize) -> Arrivals {
        let arrivals = Arrivals::of(&self.deployment.relay.received());
        assert_eq!(arrivals.0.len(), messages, "a message was lost");
        arrivals
    }
}

/// How often a message arrived for each recipient.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrivals(pub(crate) BTreeMap<String, usize>);

impl Arrivals {
    /// Counts messages. Fails if one recipient got two messages that differ, or two recipients got one message id.
    pub(crate) fn of(received: &[ReceivedMessage]) -> Self {
        let mut messages: BTreeMap<&str, (&[u8], usize)> = BTreeMap::new();
        for message in received {
            let (wire, count) = messages.entry(&message.rcpt).or_insert((&message.wire, 0));
            assert!(
                *wire == message.wire,
                "{} got two messages that differ",
                message.rcpt
            );
            *count += 1;
        }
        let ids: BTreeSet<String> = messages
            .values()
            .map(|(wire, _)| message_id(wire))
            .collect();
        assert_eq!(ids.len(), messages.len(), "a message id is used twice");
        let counts = messages
            .into_iter()
            .map(|(rcpt, (_, count))| (rcpt.to_owned(), count));
        Self(counts.collect())
    }

    /// The recipients whose message arrived this often.
    pub(crate) fn recipients_with(&self, times: usize) -> BTreeSet<String> {
        let these = self.0.iter().filter(|(_, count)| **count == times);
        these.map(|(rcpt, _)| rcpt.clone()).collect()
    }

    /// How many messages arrived beyond the first one of each recipient.
    pub(crate) fn duplicates(&self) -> usize {
        self.0.values().map(|count| count - 1).sum()
    }
}

/// The line of the header Message-ID.
pub(crate) fn message_id(wire: &[u8]) -> String {
    let text = String::from_utf8_lossy(wire);
    let line = text.lines().find(|line| line.starts_with("Message-ID: "));
    line.unwrap().to_owned()
}

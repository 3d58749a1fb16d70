//! A queue of mails beside processes that die: filled by one that only answers calls, and looked at past all of them.

use std::collections::{BTreeMap, BTreeSet};

use invitations::proto::directory_service_client::DirectoryServiceClient;
use sqlx::PgConnection;
use tokio::sync::Mutex;
use tonic::transport::Channel;

use crate::support::database::Database;
use crate::support::harness::{Directory, bearer, invite_request};
use crate::support::relay::{Act, On, Taken};
use crate::support::site::{Running, Site, TOKEN, client, until};

/// Mails sent at once, unless set otherwise: so many may arrive twice for each crash.
pub(crate) const CONNECTIONS: usize = 4;
/// For processes whose mails nobody else may have before the test says so.
pub(crate) const LONG_LEASE: (&str, &str) = ("INVITATIONS_LEASE_DURATION", "10m");

/// A site, its queue and a process that answers calls.
pub(crate) struct Queue {
    pub(crate) site: Site,
    pub(crate) channel: Channel,
    database: Mutex<PgConnection>,
    _api: Running,
}

impl Queue {
    /// A queue with so many mails of ACME in it.
    pub(crate) async fn of(mails: usize) -> Self {
        let site = Site::new(Database::create().await).await;
        let (api, channel) = site.serve_populated(&[("INVITATIONS_ROLE", "api")]).await;
        let queue = Self {
            database: Mutex::new(site.database.connect().await),
            site,
            channel,
            _api: api,
        };
        queue.invite(0, mails).await;
        queue
    }

    /// Invites so many people more, counted from a number that is new.
    pub(crate) async fn invite(&self, from: usize, mails: usize) {
        let emails: Vec<String> = (from..from + mails)
            .map(|number| format!("p{number}@b.co"))
            .collect();
        let emails: Vec<&str> = emails.iter().map(String::as_str).collect();
        let mut client = client(&self.channel);
        let answer = client.bulk_create(invite_request(&emails)).await.unwrap();
        let created = answer.into_inner().created_count;
        assert_eq!(usize::try_from(created).unwrap(), mails);
    }

    pub(crate) fn directory(&self) -> Directory {
        DirectoryServiceClient::with_interceptor(self.channel.clone(), bearer(TOKEN))
    }

    /// A process that only delivers. Does not wait until it does.
    pub(crate) fn worker(&self, settings: &[(&str, &str)]) -> Running {
        let settings: Vec<_> = [("INVITATIONS_ROLE", "worker")]
            .into_iter()
            .chain(settings.iter().copied())
            .collect();
        self.site.start("serve", &settings)
    }

    /// Has the relay do the same at every connection of the next process.
    pub(crate) fn next(&self, on: On, act: &Act) {
        for _ in 0..CONNECTIONS {
            self.site.relay.next(on, act.clone());
        }
    }

    /// How many rows of its tables meet this.
    pub(crate) async fn count(&self, from_where: &'static str) -> usize {
        let statement = format!("SELECT count(*) FROM {from_where}");
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
            .fetch_one(&mut *self.database.lock().await)
            .await
            .unwrap();
        usize::try_from(count).unwrap()
    }

    /// How often each mail was claimed, by how the relay names its reader.
    pub(crate) async fn attempts(&self) -> BTreeMap<String, usize> {
        let rows: Vec<(String, i32)> = sqlx::query_as(
            "SELECT i.email, o.attempts FROM outbox o JOIN invitations i ON i.id = o.invitation_id",
        )
        .fetch_all(&mut *self.database.lock().await)
        .await
        .unwrap();
        rows.into_iter()
            .map(|(email, attempts)| {
                (
                    format!("RCPT TO:<{email}>"),
                    usize::try_from(attempts).unwrap(),
                )
            })
            .collect()
    }

    /// Does this to its tables.
    pub(crate) async fn execute(&self, statement: &'static str) {
        sqlx::query(statement)
            .execute(&mut *self.database.lock().await)
            .await
            .unwrap();
    }

    /// Connects to its database again, after that was away.
    pub(crate) async fn connect_again(&self) {
        *self.database.lock().await = self.site.database.connect().await;
    }

    /// Waits until the relay has so many messages whole.
    pub(crate) async fn until_taken(&self, count: usize) {
        until("the relay to have them", async || {
            self.site.relay.taken_count() >= count
        })
        .await;
    }

    /// Waits until every mail is sent.
    pub(crate) async fn until_all_sent(&self) {
        until("every mail to be sent", async || {
            self.count("outbox WHERE state <> 'sent'").await == 0
        })
        .await;
    }

    /// Has the leases of the dead run out.
    pub(crate) async fn end_leases(&self) {
        // A claim that the dead had sent off may still be under way, and would last as long as their lease.
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

    /// How often each of so many mails arrived; all of one are the same bytes, and none is another's.
    pub(crate) fn arrivals(&self, mails: usize) -> Arrivals {
        let arrivals = Arrivals::of(&self.site.relay.taken());
        assert_eq!(arrivals.0.len(), mails, "a mail was lost");
        arrivals
    }
}

/// How often each reader got their mail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrivals(pub(crate) BTreeMap<String, usize>);

impl Arrivals {
    /// Counts; all of one reader are the same mail to the byte.
    pub(crate) fn of(taken: &[Taken]) -> Self {
        let mut mails: BTreeMap<&str, (&[u8], usize)> = BTreeMap::new();
        for mail in taken {
            let (wire, count) = mails.entry(&mail.rcpt).or_insert((&mail.wire, 0));
            assert!(
                *wire == mail.wire,
                "{} got two mails that differ",
                mail.rcpt
            );
            *count += 1;
        }
        let ids: BTreeSet<String> = mails.values().map(|(wire, _)| message_id(wire)).collect();
        assert_eq!(ids.len(), mails.len(), "each mail has an id of its own");
        let counts = mails
            .into_iter()
            .map(|(rcpt, (_, count))| (rcpt.to_owned(), count));
        Self(counts.collect())
    }

    /// Those that arrived so often.
    pub(crate) fn that_came(&self, times: usize) -> BTreeSet<String> {
        let these = self.0.iter().filter(|(_, count)| **count == times);
        these.map(|(rcpt, _)| rcpt.clone()).collect()
    }

    /// How many arrived beyond the first of each.
    pub(crate) fn duplicates(&self) -> usize {
        self.0.values().map(|count| count - 1).sum()
    }
}

fn message_id(wire: &[u8]) -> String {
    let text = String::from_utf8_lossy(wire);
    let line = text.lines().find(|line| line.starts_with("Message-ID: "));
    line.unwrap().to_owned()
}

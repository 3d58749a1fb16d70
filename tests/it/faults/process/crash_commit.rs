//! Crashes between the commit of a call and its response. The caller cannot know whether the call was carried out, and
//! repeats it at another process: nothing happens twice, and each address gets one email.

mod writing_calls;

use std::collections::BTreeSet;

use futures::FutureExt as _;
use sqlx::{Executor as _, PgConnection};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use self::writing_calls::{QUEUED, Subjects, WritingCall};
use crate::support::database::count;
use crate::support::database_dump::{TABLES, dump_tables};
use crate::support::database_proxy::{DatabaseProxy, Network};
use crate::support::deployment::Deployment;
use crate::support::descriptors;
use crate::support::invariants::assert_invariants;
use crate::support::relay::ReceivedMessage;
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;

/// The beginnings of the names of methods that only read, and the method that `crash_stream` tests.
const OTHERS: [&str; 6] = [
    "Get",
    "BulkGet",
    "List",
    "Preview",
    "Watch",
    "BulkCreateStream",
];
/// Nothing but calls changes the database.
const QUIET: [(&str, &str); 6] = [
    ("INVITATIONS_DATABASE_STATEMENT_TIMEOUT", "1m"),
    ("INVITATIONS_DATABASE_LOCK_TIMEOUT", "1m"),
    ("INVITATIONS_ROLE", "api"),
    ("INVITATIONS_QUOTA_RESEND_PAUSE", "0s"),
    ("INVITATIONS_SWEEP_INTERVAL", "1h"),
    ("INVITATIONS_DATABASE_CONNECTIONS_MAX", "40"),
];

/// Accept is one statement, which commits by itself. It waits for this lock until the network is cut.
const LOCK_ACCEPTED: &str = "BEGIN; SELECT FROM invitations WHERE email = 'accept@b.co' FOR UPDATE";
const BLOCKED_ACCEPT: &str = "pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
      AND query LIKE '-- store::acceptances::accept%'";

/// A deployment with everything that the calls need, and a process that does not crash.
struct Crashes {
    deployment: Deployment,
    subjects: Subjects,
    survivor: ServerProcess,
}

impl Crashes {
    async fn prepare() -> Self {
        let deployment = Deployment::create().await;
        let (survivor, channel) = deployment.serve_populated(&QUIET).await;
        let subjects = Subjects::create(&deployment, &channel).await;
        Self {
            deployment,
            subjects,
            survivor,
        }
    }

    /// Crashes a process that has committed these calls and answered none. Then repeats each call twice.
    async fn crash_after_commit(&self, calls: &[WritingCall]) {
        let proxy = DatabaseProxy::to(&self.deployment.database).await;
        let url = proxy.url();
        let settings = [("INVITATIONS_DATABASE_URL", url.as_str())];
        let settings = [settings.as_slice(), &QUIET].concat();
        let (process, _) = self.deployment.serve(&settings).await;
        proxy.hide_commits();
        let mut accepting = self.deployment.database.connect().await;
        accepting.execute(LOCK_ACCEPTED).await.unwrap();
        let mut tasks = JoinSet::new();
        for call in calls {
            let (name, response) = (call.name.clone(), call.send(&process));
            tasks.spawn(response.map(|response| (name, response.is_ok())));
        }
        let (accepts, others): (Vec<_>, Vec<_>) =
            calls.iter().partition(|call| call.is_one_statement());
        let mut database = self.deployment.database.connect().await;
        wait_until_committed(&mut database, &others).await;
        if !accepts.is_empty() {
            wait_until_there_is(&mut database, "a blocked Accept", BLOCKED_ACCEPT).await;
        }
        proxy.set_network(Network {
            is_black_hole: true,
            ..Network::default()
        });
        accepting.execute("ROLLBACK").await.unwrap();
        wait_until_committed(&mut database, &accepts).await;
        process.crash().await;
        let responses = tasks.join_all().await.into_iter();
        let answered: Vec<_> = responses.filter(|(_, is_answered)| *is_answered).collect();
        assert!(answered.is_empty(), "{answered:?}");

        // A repeated call may be recorded in the audit log, because it is a call, and renews the time of a suppression.
        let tables: Vec<_> = TABLES
            .into_iter()
            .filter(|table| !["audit_events", "suppressions"].contains(table))
            .collect();
        let mut committed = dump_tables(&mut database, &tables).await;
        for call in calls {
            let name = &call.name;
            let first = call.send(&self.survivor).await;
            let first = first.unwrap_or_else(|status| panic!("{name}: {status:?}"));
            let second = call.send(&self.survivor).await.unwrap();
            assert!(first == second || !call.has_request_id, "{name}");
            let repeated = dump_tables(&mut database, &tables).await;
            assert!(
                repeated == committed || call.repetition_writes(),
                "{name} changed something twice"
            );
            committed = repeated;
        }
    }

    /// Sends all emails. Each person whose email a call queued gets one more.
    async fn assert_each_email_arrives_once(self) {
        let relay = &self.deployment.relay;
        let before = relay.received_count();
        let _worker = self
            .deployment
            .start("serve", &[("INVITATIONS_ROLE", "worker")]);
        let mut database = self.deployment.database.connect().await;
        wait_until("every email to be sent", async || {
            let mut database = self.deployment.database.connect().await;
            count(&mut database, "outbox WHERE state IN ('queued', 'sending')").await == 0
        })
        .await;
        let received = relay.received();
        let mut recipients: Vec<_> = received[before..]
            .iter()
            .map(ReceivedMessage::address)
            .collect();
        recipients.sort_unstable();
        assert_eq!(recipients, QUEUED);
        assert_invariants(&mut database, &received, 0).await;
    }
}

async fn wait_until_committed(database: &mut PgConnection, calls: &[&WritingCall]) {
    for call in calls {
        wait_until_there_is(database, &call.name, &call.committed).await;
    }
}

/// Waits until `SELECT count(*) FROM {rows}` is not 0.
async fn wait_until_there_is(database: &mut PgConnection, what: &str, rows: &str) {
    let database = Mutex::new(database);
    wait_until(what, async || {
        count(&mut **database.lock().await, rows).await > 0
    })
    .await;
}

/// F04 and F05 of the fault plan.
#[tokio::test]
async fn calls_of_every_method_that_crash_after_their_commit_have_one_effect() {
    let crashes = Crashes::prepare().await;
    let calls = crashes.subjects.calls();
    crashes.crash_after_commit(&calls).await;
    crashes.assert_each_email_arrives_once().await;
}

#[tokio::test]
#[ignore = "takes a minute"]
async fn a_call_of_each_method_that_crashes_after_its_commit_has_one_effect() {
    for _ in 0..2 {
        let crashes = Crashes::prepare().await;
        for call in crashes.subjects.calls() {
            crashes.crash_after_commit(&[call]).await;
        }
        crashes.assert_each_email_arrives_once().await;
    }
}

#[tokio::test]
async fn every_method_that_writes_is_crashed() {
    let crashed: BTreeSet<String> = Subjects::default()
        .calls()
        .into_iter()
        .map(|call| call.path)
        .collect();
    for method in descriptors::methods() {
        let name = method.path.rsplit('/').next().unwrap();
        let is_other = OTHERS.iter().any(|other| name.starts_with(other));
        assert_ne!(is_other, crashed.contains(&method.path), "{name}");
    }
}

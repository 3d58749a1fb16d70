//! The database goes away under a process that lives, and two processes share one outbox.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use crate::support::mail_queue::{CONNECTIONS, MailQueue};
use crate::support::relay::{RelayAction, RelayConnection, SmtpStep};
use crate::support::waiting::wait_until;

/// Longer than the database is away.
const LEASE: (&str, &str) = ("INVITATIONS_LEASE_DURATION", "8s");
const END_EVERY_SESSION_OF_A_PROCESS: &str =
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";

#[tokio::test]
async fn a_database_that_is_away_between_the_answer_and_the_commit_doubles_nothing() {
    let mails = 60;
    let queue = MailQueue::with_messages(mails).await;
    let mut holder = queue.deployment.database.connect().await;
    holder.execute("BEGIN").await.unwrap();
    holder
        .execute("SELECT FROM invitations FOR UPDATE")
        .await
        .unwrap();
    let running = queue.start_worker(&[LEASE]);
    queue.wait_until_received(CONNECTIONS).await;
    let waiting = "pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                      AND query LIKE '-- store::settlements::settle_many%'";
    wait_until("the settlement to wait", async || {
        queue.count(waiting).await > 0
    })
    .await;

    let url = queue.deployment.database.url();
    let name = url.rsplit('/').next().unwrap().split('?').next().unwrap();
    let elsewhere = PgConnectOptions::from_str(&url)
        .unwrap()
        .database("postgres");
    let mut admin = elsewhere.connect().await.unwrap();
    let allow = |is_allowed: bool| {
        AssertSqlSafe(format!(
            "ALTER DATABASE {name} ALLOW_CONNECTIONS {is_allowed}"
        ))
    };
    admin.execute(allow(false)).await.unwrap();
    // The one that holds the rows last: whoever waits for them must not get them in the meantime.
    let end = format!(
        "SELECT pg_terminate_backend(pid)
           FROM (SELECT pid FROM pg_stat_activity WHERE datname = '{name}' ORDER BY query NOT LIKE '-- store::%')
             AS session"
    );
    admin.execute(AssertSqlSafe(end)).await.unwrap();
    // Its heartbeat comes back from the outage; the settlement tries more often.
    wait_until("the process to notice", async || {
        running.log().contains("cannot extend the leases of mails")
    })
    .await;
    assert_eq!(queue.deployment.relay.received_count(), CONNECTIONS);
    admin.execute(allow(true)).await.unwrap();

    queue.reconnect().await;
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(mails).duplicates(), 0);
}

#[tokio::test]
async fn sessions_that_are_cut_at_any_moment_double_nothing() {
    let mails = 400;
    let cuts = 20;
    let queue = MailQueue::with_messages(mails).await;
    let _running = queue.start_worker(&[LEASE]);
    for cut in 1..=cuts {
        queue.wait_until_received(cut * 10).await;
        queue.execute(END_EVERY_SESSION_OF_A_PROCESS).await;
    }
    // What was claimed while the answer was cut off belongs to nobody until its lease runs out.
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(mails).duplicates(), 0);
}

#[tokio::test]
async fn two_processes_that_share_the_outbox_send_each_mail_once() {
    let mails = 500;
    let queue = MailQueue::with_messages(mails).await;
    let _running = [queue.start_worker(&[]), queue.start_worker(&[])];
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(mails).duplicates(), 0);
    let seen = queue.deployment.relay.connections().len();
    assert!(seen > CONNECTIONS, "one process did all of it");
}

#[tokio::test]
async fn a_process_that_slept_longer_than_its_leases_sends_nothing_that_is_not_its_own() {
    let mails = 20;
    let queue = MailQueue::with_messages(mails).await;
    let not_now = "451 4.3.0 not now".to_owned();
    queue.act_on_each_connection(
        SmtpStep::Rcpt,
        &RelayAction::ReplyLate(Duration::from_secs(8), not_now),
    );
    let sleeper = queue.start_worker(&[]);
    // Beside those on its connections it has as many in stock.
    wait_until("it to hold mails", async || {
        let held = queue.count("outbox WHERE state = 'sending'").await;
        let seen = queue.deployment.relay.connections();
        let is_at_rcpt =
            |seen: &RelayConnection| seen.verbs.last().is_some_and(|verb| verb == "RCPT");
        held == 2 * CONNECTIONS
            && seen.iter().filter(|seen| is_at_rcpt(seen)).count() == CONNECTIONS
    })
    .await;
    sleeper.pause().await;
    let _other = queue.start_worker(&[]);
    queue.wait_until_all_sent().await;

    sleeper.resume().await;
    wait_until("it to notice", async || {
        sleeper
            .log()
            .matches("the lease of a mail was lost")
            .count()
            == 2 * CONNECTIONS
    })
    .await;
    assert_eq!(queue.arrivals(mails).duplicates(), 0);
}

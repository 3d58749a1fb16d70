//! No crash loses a mail. What may arrive twice is what the relay took and nobody could write down any more: one mail
//! for each connection, and the same to the byte.

mod batches;
mod outage;

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::Executor as _;
use tokio::time::{Instant, sleep};

use crate::support::mail_queue::{self, CONNECTIONS, LONG_LEASE, MailQueue};
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::waiting::{WAIT_MAX, wait_until};

/// Processes that are killed, each with a mail on each of its connections: more than fifty mails.
const CRASHES: usize = 13;
/// The most mails that a process holds: on its connections, and as many in stock.
const HELD_MAX: usize = 2 * CONNECTIONS;

#[tokio::test]
async fn what_was_taken_whole_before_the_crash_arrives_twice_as_the_same_mail() {
    let mails = CRASHES * HELD_MAX + 20;
    let queue = MailQueue::with_messages(mails).await;
    for crash in 1..=CRASHES {
        // The final dot is there; of the answer nobody hears.
        queue.act_on_each_connection(SmtpStep::Message, &RelayAction::Silence);
        let running = queue.start_worker(&[LONG_LEASE]);
        queue.wait_until_received(crash * CONNECTIONS).await;
        running.crash().await;
    }
    let doubled = mail_queue::Arrivals::of(&queue.deployment.relay.received());
    assert_eq!(doubled.0.len(), CRASHES * CONNECTIONS);

    queue.end_leases().await;
    let _running = queue.start_worker(&[]);
    queue.wait_until_all_sent().await;
    let arrivals = queue.arrivals(mails);
    assert_eq!(arrivals.recipients_with(2), doubled.recipients_with(1));
    assert_eq!(arrivals.duplicates(), CRASHES * CONNECTIONS);
}

#[tokio::test]
async fn what_was_accepted_and_not_committed_before_the_crash_arrives_twice_as_the_same_mail() {
    let mails = CRASHES * HELD_MAX + 20;
    let queue = MailQueue::with_messages(mails).await;
    let patient = [
        LONG_LEASE,
        ("INVITATIONS_DATABASE_LOCK_TIMEOUT", "10m"),
        ("INVITATIONS_DATABASE_STATEMENT_TIMEOUT", "10m"),
    ];
    // Nobody can write down what became of any mail.
    let mut holder = queue.deployment.database.connect().await;
    holder.execute("BEGIN").await.unwrap();
    holder
        .execute("SELECT FROM invitations FOR UPDATE")
        .await
        .unwrap();
    for crash in 1..=CRASHES {
        let running = queue.start_worker(&patient);
        queue.wait_until_received(crash * CONNECTIONS).await;
        // Statements of the dead wait on: Postgres does not look whether somebody still wants the answer.
        wait_until("the settlement to wait", async || {
            queue.count(SETTLEMENTS_THAT_WAIT).await == crash
        })
        .await;
        running.crash().await;
    }
    let doubled = mail_queue::Arrivals::of(&queue.deployment.relay.received());
    assert_eq!(doubled.0.len(), CRASHES * CONNECTIONS);
    holder.execute("ROLLBACK").await.unwrap();
    wait_until("the statements of the dead to end", async || {
        queue.count(SETTLEMENTS).await == 0
    })
    .await;
    assert_eq!(queue.count("outbox WHERE state = 'sent'").await, 0);

    queue.end_leases().await;
    let _running = queue.start_worker(&[]);
    queue.wait_until_all_sent().await;
    let arrivals = queue.arrivals(mails);
    assert_eq!(arrivals.recipients_with(2), doubled.recipients_with(1));
    assert_eq!(arrivals.duplicates(), CRASHES * CONNECTIONS);
}

const SETTLEMENTS: &str = "pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE '-- store::settlements::settle_many%'";
const SETTLEMENTS_THAT_WAIT: &str = "pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
      AND query LIKE '-- store::settlements::settle_many%'";

#[tokio::test]
async fn what_had_no_final_dot_before_the_crash_arrives_once() {
    let mails = CRASHES * HELD_MAX + 20;
    let queue = MailQueue::with_messages(mails).await;
    let stages = [
        (SmtpStep::Mail, "MAIL"),
        (SmtpStep::Rcpt, "RCPT"),
        (SmtpStep::Data, "DATA"),
    ];
    for (stage, verb) in stages.into_iter().cycle().take(CRASHES) {
        queue.act_on_each_connection(stage, &RelayAction::Silence);
        let before = queue.deployment.relay.connections().len();
        let running = queue.start_worker(&[LONG_LEASE]);
        wait_until("every connection to come so far", async || {
            let seen = queue.deployment.relay.connections();
            let last = |at: usize| seen[at].verbs.last().map(String::as_str) == Some(verb);
            (before..seen.len()).filter(|at| last(*at)).count() == CONNECTIONS
        })
        .await;
        running.crash().await;
    }
    assert_eq!(queue.deployment.relay.received_count(), 0);

    queue.end_leases().await;
    let _running = queue.start_worker(&[]);
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(mails).duplicates(), 0);
}

#[tokio::test]
async fn a_hundred_crashes_at_any_moment_lose_no_mail() {
    let crashes = 100;
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let mut mails = 1000;
    let queue = MailQueue::with_messages(mails).await;
    for _ in 0..crashes {
        if queue.count("outbox WHERE state = 'queued'").await < 200 {
            queue.invite(mails, 500).await;
            mails += 500;
        }
        let taken = queue.deployment.relay.received_count() + chance.random_range(1..16);
        let running = queue.start_worker(&[]);
        let deadline = Instant::now() + WAIT_MAX;
        while queue.deployment.relay.received_count() < taken {
            assert!(Instant::now() < deadline, "{}", running.log());
            sleep(Duration::from_millis(1)).await;
        }
        // Between any two steps of what follows.
        sleep(Duration::from_micros(chance.random_range(0..4000))).await;
        running.crash().await;
    }

    let _running = queue.start_worker(&[]);
    queue.wait_until_all_sent().await;
    let arrivals = queue.arrivals(mails);
    let duplicates = arrivals.duplicates();
    eprintln!("{mails} mails, {duplicates} duplicates");
    assert!(duplicates <= crashes * CONNECTIONS, "{duplicates}");
    let attempts = queue.attempts().await;
    for (rcpt, times) in arrivals.0 {
        assert!(times <= attempts[&rcpt], "{rcpt} got a mail nobody claimed");
    }
}

#[tokio::test]
async fn an_orderly_end_under_load_doubles_nothing_and_holds_nothing_back() {
    let ends = 10;
    let mails = 1000;
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let queue = MailQueue::with_messages(mails).await;
    for _ in 0..ends {
        let taken = queue.deployment.relay.received_count() + chance.random_range(1..50);
        let mut running = queue.start_worker(&[LONG_LEASE]);
        queue.wait_until_received(taken).await;
        running.terminate().await;
        assert!(running.wait_for_exit().await.success(), "{}", running.log());
        assert_eq!(queue.count("outbox WHERE state = 'sending'").await, 0);
    }
    let left = queue.count("outbox WHERE state = 'queued'").await;
    assert!(left > 0, "the load ended before the last process");

    let _running = queue.start_worker(&[LONG_LEASE]);
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(mails).duplicates(), 0);
}

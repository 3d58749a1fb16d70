//! Crashes while emails are sent over SMTP. No crash loses an email. A message arrives twice only if the relay received
//! it and the process crashed before the result was committed: one message for each connection, with identical bytes.

use std::time::Duration;

use invitations::proto::DeliveryState;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::Executor as _;
use tokio::time::{Instant, sleep};

use crate::support::deployment::Deployment;
use crate::support::deployment_invitations::{
    count_in_delivery_state, invite_fifty, received_addresses,
};
use crate::support::mail_queue::{Arrivals, CONNECTIONS, LONG_LEASE, MailQueue};
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::waiting::{WAIT_MAX, wait_until};

/// How many processes crash, each with one email on each of its connections.
const CRASHES: usize = 13;
/// The most emails that a process leases: one for each connection, and as many in its buffer.
const LEASED_MAX: usize = 2 * CONNECTIONS;
const EMAILS: usize = CRASHES * LEASED_MAX + 20;

/// Completes the delivery after the last crash. Asserts that no email was lost and that only the emails that had arrived
/// before arrived a second time.
async fn assert_only_these_arrive_twice(queue: &MailQueue, arrived_before: &Arrivals) {
    queue.end_leases().await;
    let _running = queue.start_worker(&[]);
    queue.wait_until_all_sent().await;
    let arrivals = queue.arrivals(EMAILS);
    assert_eq!(
        arrivals.recipients_with(2),
        arrived_before.recipients_with(1)
    );
    assert_eq!(arrivals.duplicates(), CRASHES * CONNECTIONS);
}

#[tokio::test]
async fn a_message_received_before_a_crash_is_sent_again_with_identical_bytes() {
    let queue = MailQueue::with_messages(EMAILS).await;
    for crash in 1..=CRASHES {
        // The relay receives the final dot, but its reply never arrives.
        queue.act_on_each_connection(SmtpStep::Message, &RelayAction::Silence);
        let running = queue.start_worker(&[LONG_LEASE]);
        queue.wait_until_received(crash * CONNECTIONS).await;
        running.crash().await;
    }
    let arrived = Arrivals::of(&queue.deployment.relay.received());
    assert_eq!(arrived.0.len(), CRASHES * CONNECTIONS);
    assert_only_these_arrive_twice(&queue, &arrived).await;
}

const SETTLEMENTS: &str = "pg_stat_activity
    WHERE datname = current_database() AND state = 'active' AND query LIKE '-- store::settlements::settle_many%'";
const BLOCKED_SETTLEMENTS: &str = "pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
      AND query LIKE '-- store::settlements::settle_many%'";

#[tokio::test]
async fn a_message_accepted_but_not_committed_before_a_crash_is_sent_again_with_identical_bytes() {
    let queue = MailQueue::with_messages(EMAILS).await;
    let long_timeouts = [
        LONG_LEASE,
        ("INVITATIONS_DATABASE_LOCK_TIMEOUT", "10m"),
        ("INVITATIONS_DATABASE_STATEMENT_TIMEOUT", "10m"),
    ];
    // The lock keeps every process from committing results.
    let mut blocker = queue.deployment.database.connect().await;
    blocker.execute("BEGIN").await.unwrap();
    blocker
        .execute("SELECT FROM invitations FOR UPDATE")
        .await
        .unwrap();
    for crash in 1..=CRASHES {
        let running = queue.start_worker(&long_timeouts);
        queue.wait_until_received(crash * CONNECTIONS).await;
        // The statements of crashed processes keep waiting: Postgres does not notice that the client is gone.
        wait_until("the settlement to wait", async || {
            queue.count(BLOCKED_SETTLEMENTS).await == crash
        })
        .await;
        running.crash().await;
    }
    let arrived = Arrivals::of(&queue.deployment.relay.received());
    assert_eq!(arrived.0.len(), CRASHES * CONNECTIONS);
    blocker.execute("ROLLBACK").await.unwrap();
    wait_until("the statements of crashed processes to end", async || {
        queue.count(SETTLEMENTS).await == 0
    })
    .await;
    assert_eq!(queue.count("outbox WHERE state = 'sent'").await, 0);
    assert_only_these_arrive_twice(&queue, &arrived).await;
}

#[tokio::test]
async fn a_message_without_a_final_dot_before_a_crash_is_delivered_once() {
    let queue = MailQueue::with_messages(EMAILS).await;
    let stages = [
        (SmtpStep::Mail, "MAIL"),
        (SmtpStep::Rcpt, "RCPT"),
        (SmtpStep::Data, "DATA"),
    ];
    for (stage, verb) in stages.into_iter().cycle().take(CRASHES) {
        queue.act_on_each_connection(stage, &RelayAction::Silence);
        let before = queue.deployment.relay.connections().len();
        let running = queue.start_worker(&[LONG_LEASE]);
        wait_until("every connection to reach the stage", async || {
            let connections = queue.deployment.relay.connections();
            let last = |at: usize| connections[at].verbs.last().map(String::as_str) == Some(verb);
            (before..connections.len()).filter(|at| last(*at)).count() == CONNECTIONS
        })
        .await;
        running.crash().await;
    }
    assert_eq!(queue.deployment.relay.received_count(), 0);

    queue.end_leases().await;
    let _running = queue.start_worker(&[]);
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(EMAILS).duplicates(), 0);
}

#[tokio::test]
async fn a_hundred_crashes_at_random_times_lose_no_email() {
    let crashes = 100;
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut emails = 1000;
    let queue = MailQueue::with_messages(emails).await;
    for _ in 0..crashes {
        if queue.count("outbox WHERE state = 'queued'").await < 200 {
            queue.invite(emails, 500).await;
            emails += 500;
        }
        let received = queue.deployment.relay.received_count() + random.random_range(1..16);
        let running = queue.start_worker(&[]);
        let deadline = Instant::now() + WAIT_MAX;
        while queue.deployment.relay.received_count() < received {
            assert!(Instant::now() < deadline, "{}", running.log());
            sleep(Duration::from_millis(1)).await;
        }
        // The crash happens between any two of the following steps.
        sleep(Duration::from_micros(random.random_range(0..4000))).await;
        running.crash().await;
    }

    let _running = queue.start_worker(&[]);
    queue.wait_until_all_sent().await;
    let arrivals = queue.arrivals(emails);
    let duplicates = arrivals.duplicates();
    eprintln!("{emails} emails, {duplicates} duplicates");
    assert!(duplicates <= crashes * CONNECTIONS, "{duplicates}");
    let attempts = queue.attempts().await;
    for (rcpt, times) in arrivals.0 {
        assert!(
            times <= attempts[&rcpt],
            "{rcpt} received an email that was not claimed"
        );
    }
}

#[tokio::test]
async fn a_crash_between_commit_and_delivery_loses_and_duplicates_no_email() {
    let deployment = Deployment::create().await;
    for _ in 0..CONNECTIONS {
        deployment
            .relay
            .act_once(SmtpStep::Greeting, RelayAction::Silence);
    }
    let (running, channel) = deployment.serve_populated(&[]).await;
    let emails = invite_fifty(&channel).await;
    wait_until("every connection to have an email", async || {
        let sending = count_in_delivery_state(&channel, DeliveryState::Sending).await;
        // Emails in the buffer of the process are in this state too.
        sending >= CONNECTIONS && deployment.relay.connections().len() == CONNECTIONS
    })
    .await;
    running.crash().await;
    assert!(deployment.relay.received().is_empty());

    let (_running, channel) = deployment.serve(&[]).await;
    wait_until("every email to be sent", async || {
        count_in_delivery_state(&channel, DeliveryState::Sent).await == 50
    })
    .await;
    assert_eq!(received_addresses(&deployment), emails);
}

//! Workers that share an outbox, and a worker that stays paused for longer than its leases last.

use std::time::Duration;

use crate::support::mail_queue::{CONNECTIONS, MailQueue};
use crate::support::relay::{RelayAction, RelayConnection, SmtpStep};
use crate::support::waiting::wait_until;

#[tokio::test]
async fn two_workers_that_share_an_outbox_send_each_email_once() {
    let emails = 500;
    let queue = MailQueue::with_messages(emails).await;
    let _running = [queue.start_worker(&[]), queue.start_worker(&[])];
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(emails).duplicates(), 0);
    let connections = queue.deployment.relay.connections().len();
    assert!(connections > CONNECTIONS, "one process sent every email");
}

#[tokio::test]
async fn a_worker_paused_for_longer_than_its_leases_sends_no_email_that_another_worker_claimed() {
    let emails = 20;
    let queue = MailQueue::with_messages(emails).await;
    let not_now = "451 4.3.0 not now".to_owned();
    queue.act_on_each_connection(
        SmtpStep::Rcpt,
        &RelayAction::ReplyLate(Duration::from_secs(8), not_now),
    );
    let paused = queue.start_worker(&[]);
    // The worker leases as many emails for its buffer as for its connections.
    wait_until("the worker to lease emails", async || {
        let leased = queue.count("outbox WHERE state = 'sending'").await;
        let connections = queue.deployment.relay.connections();
        let is_at_rcpt = |connection: &RelayConnection| {
            connection.verbs.last().is_some_and(|verb| verb == "RCPT")
        };
        leased == 2 * CONNECTIONS
            && connections.iter().filter(|it| is_at_rcpt(it)).count() == CONNECTIONS
    })
    .await;
    paused.pause().await;
    let _other = queue.start_worker(&[]);
    queue.wait_until_all_sent().await;

    paused.resume().await;
    wait_until("the worker to log that its leases were lost", async || {
        let log = paused.log();
        log.matches("the lease of an email was lost").count() == 2 * CONNECTIONS
    })
    .await;
    assert_eq!(queue.arrivals(emails).duplicates(), 0);
}

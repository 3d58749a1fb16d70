//! A relay that is away for hours while many emails wait. The hours pass in the database: the test moves the times of the
//! emails back. Afterwards every email leaves once, the oldest first.

use std::collections::HashMap;

use tokio::time::{Instant, sleep};

use crate::support::invariants::assert_invariants;
use crate::support::mail_queue::MailQueue;
use crate::support::relay::{RelayAction, SmtpStep};
use crate::support::waiting::{WAIT_MAX, wait_until};

/// Most invitations of one call.
const CALL_MAX: usize = 10_000;
/// Probes of the lane before and after the hours pass.
const PROBES: usize = 10;
/// The connections and the buffer of the worker change the order of so many emails.
const DISPLACEMENT_MAX: usize = 100;

/// Lets six hours pass in which the emails were queued one after the other.
const PASS_HOURS: &str = "
    BEGIN;
    LOCK TABLE outbox IN EXCLUSIVE MODE;
    UPDATE outbox AS o
       SET created_at = created_at - age, next_attempt_at = next_attempt_at - age
      FROM (SELECT invitation_id AS id, interval '6 hours' * percent_rank() OVER (ORDER BY random()) AS age
              FROM outbox) AS aged
     WHERE aged.id = o.invitation_id;
    COMMIT";

/// The emails that were never tried, in the order of their age. Those with which the lane was probed wait longer.
async fn addresses_by_age(queue: &MailQueue) -> Vec<String> {
    let mut database = queue.deployment.database.connect().await;
    sqlx::query_scalar(
        "SELECT i.email FROM outbox o JOIN invitations i ON i.id = o.invitation_id
          WHERE o.state = 'queued' AND o.next_attempt_at = o.created_at ORDER BY o.created_at",
    )
    .fetch_all(&mut database)
    .await
    .unwrap()
}

/// Waits until the relay has received every email. Only a delivery that stands still takes too long.
async fn wait_until_received(queue: &MailQueue, count: usize) {
    let (mut received, mut deadline) = (0, Instant::now() + WAIT_MAX);
    while received < count {
        let now = queue.deployment.relay.received_count();
        if now > received {
            (received, deadline) = (now, Instant::now() + WAIT_MAX);
        }
        assert!(Instant::now() < deadline, "{received} emails arrived");
        sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn deliver_after_outage(emails: usize) {
    let first = emails.min(CALL_MAX);
    let queue = MailQueue::with_messages(first).await;
    for number in (first..emails).step_by(CALL_MAX) {
        queue.invite(number, CALL_MAX.min(emails - number)).await;
    }
    let relay = &queue.deployment.relay;
    let away = RelayAction::ReplyAndClose("421 4.3.2 closing".to_owned());
    relay.forget_bytes().act_always(SmtpStep::Greeting, away);
    let probe_often = [
        ("INVITATIONS_SMTP_PAUSE", "200ms"),
        ("INVITATIONS_LEASE_DURATION", "120s"),
    ];
    let _worker = queue.start_worker(&probe_often);
    let wait_for_probes = async || {
        let before = relay.attempt_count();
        wait_until("probes of the relay", async || {
            relay.attempt_count() >= before + PROBES
        })
        .await;
    };
    wait_for_probes().await;
    queue.execute(PASS_HOURS).await;
    wait_for_probes().await;

    let expected = addresses_by_age(&queue).await;
    // The worker holds or has tried a few.
    assert!(expected.len() + DISPLACEMENT_MAX > emails);
    relay.recover();
    wait_until_received(&queue, emails).await;
    queue.wait_until_all_sent().await;

    let received = relay.received();
    assert_eq!(received.len(), emails, "an email arrived twice");
    let mut database = queue.deployment.database.connect().await;
    assert_invariants(&mut database, &received, 0).await;
    let attempts = queue.attempts().await;
    assert!(
        attempts.values().all(|attempts| *attempts == 1),
        "an attempt was lost"
    );
    let positions: HashMap<_, _> = received
        .iter()
        .zip(0..)
        .map(|(it, at)| (it.address(), at))
        .collect();
    for (age, email) in expected.iter().enumerate() {
        let position: usize = positions[email.as_str()];
        assert!(
            position.abs_diff(age) < DISPLACEMENT_MAX,
            "{email}: {age} then {position}"
        );
    }
}

/// F27 of the fault plan.
#[tokio::test]
async fn after_hours_without_a_relay_every_email_leaves_once_and_the_oldest_first() {
    deliver_after_outage(2_000).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn after_hours_without_a_relay_a_hundred_thousand_emails_leave_once_and_the_oldest_first() {
    deliver_after_outage(100_000).await;
}

//! The database becomes unavailable while emails are sent.

use sqlx::Executor as _;

use crate::support::database_access::DatabaseAccess;
use crate::support::mail_queue::{CONNECTIONS, MailQueue};
use crate::support::waiting::wait_until;

/// Longer than the database is unavailable.
const LEASE: (&str, &str) = ("INVITATIONS_LEASE_DURATION", "8s");

#[tokio::test]
async fn a_database_outage_between_the_smtp_reply_and_the_commit_causes_no_duplicate_email() {
    let emails = 60;
    let queue = MailQueue::with_messages(emails).await;
    let mut blocker = queue.deployment.database.connect().await;
    blocker.execute("BEGIN").await.unwrap();
    blocker
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

    let mut access = DatabaseAccess::of(&queue.deployment.database).await;
    access.deny().await;
    access.end_sessions().await;
    // The settlement is retried more often than the heartbeat, so it has failed by the time of this log line too.
    wait_until("the process to log the outage", async || {
        running.log().contains("cannot extend the leases of emails")
    })
    .await;
    assert_eq!(queue.deployment.relay.received_count(), CONNECTIONS);
    access.allow().await;

    queue.reconnect().await;
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(emails).duplicates(), 0);
}

#[tokio::test]
async fn database_sessions_that_end_at_any_time_cause_no_duplicate_email() {
    let emails = 400;
    let cuts = 20;
    let queue = MailQueue::with_messages(emails).await;
    let _running = queue.start_worker(&[LEASE]);
    for cut in 1..=cuts {
        queue.wait_until_received(cut * 10).await;
        queue
            .execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                  WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
    }
    // If a session ended before the answer to a claim arrived, the claimed emails stay leased until the lease expires.
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(emails).duplicates(), 0);
}

//! Graceful shutdown after SIGTERM.

use std::time::Duration;

use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::support::deployment::{Deployment, client, is_serving};
use crate::support::invite_request;
use crate::support::mail_queue::{LONG_LEASE, MailQueue};
use crate::support::waiting::wait_until;

#[tokio::test]
async fn a_graceful_shutdown_under_load_duplicates_no_email_and_keeps_no_lease() {
    let shutdowns = 10;
    let emails = 1000;
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let queue = MailQueue::with_messages(emails).await;
    for _ in 0..shutdowns {
        let received = queue.deployment.relay.received_count() + random.random_range(1..50);
        let mut running = queue.start_worker(&[LONG_LEASE]);
        queue.wait_until_received(received).await;
        running.terminate().await;
        assert!(running.wait_for_exit().await.success(), "{}", running.log());
        assert_eq!(queue.count("outbox WHERE state = 'sending'").await, 0);
    }
    let left = queue.count("outbox WHERE state = 'queued'").await;
    assert!(left > 0, "the load ended before the last process");

    let _running = queue.start_worker(&[LONG_LEASE]);
    queue.wait_until_all_sent().await;
    assert_eq!(queue.arrivals(emails).duplicates(), 0);
}

#[tokio::test]
async fn a_silent_connection_and_an_open_health_watch_do_not_delay_shutdown() {
    let deployment = Deployment::create().await;
    let (mut running, channel) = deployment.serve(&[]).await;
    let address = running.address();
    let silent = TcpStream::connect(address).await.unwrap();
    let mut health = HealthClient::new(channel.clone())
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = health.next().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);

    let begin = Instant::now();
    running.terminate().await;
    let second = health.next().await.unwrap().unwrap();
    assert_eq!(second.status(), ServingStatus::NotServing);
    assert!(running.wait_for_exit().await.success(), "{}", running.log());
    // Calls in flight have two seconds. The rest of the time is for a busy machine.
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    drop(silent);
}

#[tokio::test]
async fn a_draining_server_answers_calls_and_reports_not_serving() {
    let deployment = Deployment::create().await;
    let settings = [("INVITATIONS_DRAIN_DELAY", "10s")];
    let (mut running, channel) = deployment.serve_populated(&settings).await;
    running.terminate().await;
    wait_until("NOT_SERVING", async || !is_serving(&channel).await).await;
    client(&channel)
        .bulk_create(invite_request(&["a@b.co"]))
        .await
        .unwrap();
    assert!(running.wait_for_exit().await.success(), "{}", running.log());
}

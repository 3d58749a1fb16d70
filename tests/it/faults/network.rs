//! The network to the database fails. Calls end in time with a retryable status, nothing that was answered with OK is
//! lost, and the connection pool recovers.

use std::time::Duration;

use futures::future::join_all;
use invitations::proto::BulkCreateRequest;
use prost::Message as _;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::support::background_calls::print_line;
use crate::support::database::count;
use crate::support::database_proxy::{DatabaseProxy, Network};
use crate::support::deployment::{Deployment, TOKEN, client, directory_client};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{
    create_request, item_without_email, new_request_id, raw_grpc, upsert_user_request,
};

const BULK_CREATE: &str = "/invitation.v1.InvitationService/BulkCreate";
/// The size of the connection pool in these tests.
const CONNECTIONS: usize = 4;

/// A server whose connections to the database pass through a proxy that can fail.
struct ServerBehindProxy {
    running: ServerProcess,
    channel: Channel,
    proxy: DatabaseProxy,
    deployment: Deployment,
}

impl ServerBehindProxy {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let deployment = Deployment::create().await;
        let proxy = DatabaseProxy::to(&deployment.database).await;
        let (url, connections) = (proxy.url(), CONNECTIONS.to_string());
        let mut all = vec![
            ("INVITATIONS_DATABASE_URL", url.as_str()),
            ("INVITATIONS_DATABASE_CONNECTIONS_MAX", &connections),
            ("INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", "500ms"),
            ("INVITATIONS_DATABASE_STATEMENT_TIMEOUT", "2s"),
            ("INVITATIONS_DATABASE_LOCK_TIMEOUT", "1s"),
            ("INVITATIONS_ROLE", "api"),
        ];
        all.extend(settings);
        // Another process with longer timeouts writes the directory: the one under test waits for half a second only.
        drop(
            deployment
                .serve_populated(&[("INVITATIONS_ROLE", "api")])
                .await,
        );
        let (running, channel) = deployment.serve(&all).await;
        let server = Self {
            running,
            channel,
            proxy,
            deployment,
        };
        // Now every connection is open and has prepared its statements.
        wait_until("the pool to be full", async || server.is_whole().await).await;
        server
    }

    async fn call(&self, request: BulkCreateRequest) -> Result<(), Status> {
        let answer = client(&self.channel).bulk_create(request).await?;
        assert_eq!(answer.into_inner().failed_count, 0);
        Ok(())
    }

    /// Returns whether as many concurrent writes succeed as there are connections.
    async fn is_whole(&self) -> bool {
        let calls = (0..CONNECTIONS).map(|number| {
            let mut directory = directory_client(&self.channel);
            let request = upsert_user_request(&format!("user{number}"));
            async move { directory.upsert_users(request).await }
        });
        join_all(calls).await.iter().all(Result::is_ok)
    }

    /// Asserts that the pool recovers within ten seconds. Returns how long that took.
    async fn assert_recovers(&self) -> Duration {
        let begin = Instant::now();
        wait_until("the pool to recover", async || self.is_whole().await).await;
        let took = begin.elapsed();
        assert!(took < Duration::from_secs(10), "{took:?}");
        took
    }

    /// Counts the invitations of a domain.
    async fn count_invitations(&self, domain: &str) -> i64 {
        let mut database = self.deployment.database.connect().await;
        let table = format!("invitations WHERE email LIKE '%@{domain}'");
        count(&mut database, &table).await
    }

    /// Repeats a call until it succeeds.
    async fn repeat(&self, request: &BulkCreateRequest) {
        wait_until("the repeated call to succeed", async || {
            self.call(request.clone()).await.is_ok()
        })
        .await;
    }
}

/// Invites people of a domain without an email. The request may be repeated.
fn batch(domain: &str, size: usize) -> BulkCreateRequest {
    let invite = |number| item_without_email(&format!("person{number}@{domain}"));
    BulkCreateRequest {
        request_id: new_request_id(),
        ..create_request((0..size).map(invite).collect())
    }
}

/// Asserts that a call failed with one of the statuses for an unavailable database.
fn assert_unavailable(status: &Status) {
    match status.code() {
        Code::DeadlineExceeded => {}
        Code::Unavailable => {
            assert!(status.get_error_details().retry_info().is_some());
        }
        code => panic!("{code:?}: {}", status.message()),
    }
}

#[tokio::test]
async fn connections_that_break_anywhere_lose_and_duplicate_no_invitation() {
    let server = ServerBehindProxy::start(&[]).await;
    let mut failed = 0;
    for round in 0..24_i64 {
        // Somewhere in the answers of the database to four concurrent calls.
        server.proxy.reset_after(round * 230);
        let requests: Vec<_> = (0..CONNECTIONS)
            .map(|number| batch(&format!("r{round}n{number}.example"), 3))
            .collect();
        let calls = requests.iter().map(|request| server.call(request.clone()));
        let answers = join_all(calls).await;
        server.proxy.reset_after(-1);
        for (number, (request, answer)) in requests.into_iter().zip(answers).enumerate() {
            if let Err(status) = answer {
                failed += 1;
                assert_unavailable(&status);
                // The first call may have succeeded or not. The repetition completes it.
                server.repeat(&request).await;
            }
            let domain = format!("r{round}n{number}.example");
            assert_eq!(server.count_invitations(&domain).await, 3, "{domain}");
        }
    }
    assert!(failed >= 24, "only {failed} calls were cut");
    server.assert_recovers().await;
}

#[tokio::test]
async fn a_network_that_drops_all_packets_blocks_neither_calls_nor_connections_for_long() {
    let server = ServerBehindProxy::start(&[]).await;
    // So slow that calls are in progress when the network fails.
    server.proxy.delay(Duration::from_millis(150));
    let calls = (0..2 * CONNECTIONS).map(|number| {
        let request = batch(&format!("hole{number}.example"), 2);
        let server = &server;
        async move {
            let begin = Instant::now();
            (server.call(request).await, begin.elapsed())
        }
    });
    let swallowing = async {
        sleep(Duration::from_millis(400)).await;
        let hole = Network {
            is_black_hole: true,
            ..Network::default()
        };
        server.proxy.set_network(hole);
    };
    let (answers, ()) = tokio::join!(join_all(calls), swallowing);
    for (answer, took) in answers {
        assert_unavailable(&answer.unwrap_err());
        // Twice the statement timeout, and some time for a busy machine.
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    let begin = Instant::now();
    let failed = server.call(batch("away.example", 2)).await;
    assert_unavailable(&failed.unwrap_err());
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    // New connections work again; the old ones stay unusable.
    server.proxy.set_network(Network::default());
    let took = server.assert_recovers().await;
    print_line(&format!(
        "recovered in {took:?} after all packets were dropped"
    ));
}

#[tokio::test]
async fn a_reset_or_refused_connection_is_replaced() {
    let server = ServerBehindProxy::start(&[]).await;
    let closed = Network {
        is_closed: true,
        ..Network::default()
    };
    for _ in 0..3 {
        server.proxy.set_network(closed);
        server.proxy.reset();
        let begin = Instant::now();
        let failed = server.call(batch("away.example", 2)).await;
        assert_unavailable(&failed.unwrap_err());
        assert!(begin.elapsed() < Duration::from_secs(5));
        server.proxy.set_network(Network::default());
        server.assert_recovers().await;
    }
}

#[tokio::test]
async fn deadlines_hold_over_a_slow_network_and_a_retry_returns_the_result() {
    let mut server = ServerBehindProxy::start(&[]).await;
    server.proxy.delay(Duration::from_millis(300));
    let headers = |timeout| {
        [
            ("authorization", format!("Bearer {TOKEN}")),
            ("grpc-timeout", timeout),
        ]
    };
    let address = server.running.address().parse().unwrap();
    let mut late = 0;
    for (round, milliseconds) in [400, 1_300, 2_200, 3_000].into_iter().enumerate() {
        let domain = format!("late{round}.example");
        let request = batch(&domain, 20);
        let headers = headers(format!("{milliseconds}m"));
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let begin = Instant::now();
        let answer = raw_grpc::call(address, BULK_CREATE, &headers, &request.encode_to_vec()).await;
        let took = begin.elapsed();
        assert!(
            took < Duration::from_millis(milliseconds + 1_500),
            "{took:?}"
        );
        if let Err(status) = answer {
            assert_eq!(status.code(), Code::DeadlineExceeded);
            late += 1;
        }
        // The batch is created as a whole or not at all, now and after the repetition.
        let stored = server.count_invitations(&domain).await;
        assert!([0, 20].contains(&stored), "{stored}");
        server.repeat(&request).await;
        assert_eq!(server.count_invitations(&domain).await, 20);
    }
    assert!(late > 0);
    server.proxy.delay(Duration::ZERO);
    server.running.terminate().await;
    assert!(server.running.wait_for_exit().await.success());
}

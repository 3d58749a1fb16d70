//! The network to the database breaks: calls end in time and in the right words, nothing answered OK is lost, and the
//! pool comes back.

use std::time::Duration;

use futures::future::join_all;
use invitations::proto::{BulkCreateRequest, NewInvitation, UpsertUsersRequest, User};
use prost::Message as _;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use uuid::Uuid;

use crate::support::background_calls::print_line;
use crate::support::callers::DirectoryClient;
use crate::support::database_proxy::{DatabaseProxy, Network};
use crate::support::deployment::{Deployment, TOKEN, client, directory_client};
use crate::support::raw_grpc;
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{create_request, item};

const BULK_CREATE: &str = "/invitation.v1.InvitationService/BulkCreate";
/// Connections to the database in these tests.
const CONNECTIONS: usize = 4;

/// A service behind a network that breaks.
struct Broken {
    running: ServerProcess,
    channel: Channel,
    proxy: DatabaseProxy,
    deployment: Deployment,
}

impl Broken {
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
        // Told of by a patient process: the one under test gives up after half a second.
        drop(
            deployment
                .serve_populated(&[("INVITATIONS_ROLE", "api")])
                .await,
        );
        let (running, channel) = deployment.serve(&all).await;
        let broken = Self {
            running,
            channel,
            proxy,
            deployment,
        };
        // Every connection is made, and knows its statements.
        wait_until("the pool", async || broken.is_whole().await).await;
        broken
    }

    async fn call(&self, request: BulkCreateRequest) -> Result<(), Status> {
        let answer = client(&self.channel).bulk_create(request).await?;
        assert_eq!(answer.into_inner().failed_count, 0);
        Ok(())
    }

    /// Whether as many calls at once as there are connections write.
    async fn is_whole(&self) -> bool {
        let calls = (0..CONNECTIONS).map(|number| {
            let directory: DirectoryClient = directory_client(&self.channel);
            async move { directory.clone().upsert_users(user(number)).await }
        });
        join_all(calls).await.iter().all(Result::is_ok)
    }

    /// Waits until the pool is whole again; how long that took.
    async fn recovery(&self) -> Duration {
        let begin = Instant::now();
        wait_until("the pool to recover", async || self.is_whole().await).await;
        begin.elapsed()
    }

    async fn rows(&self, domain: &str) -> usize {
        let mut database = self.deployment.database.connect().await;
        let count: i64 =
            sqlx::query_scalar("SELECT count(*) FROM invitations WHERE email LIKE '%@' || $1")
                .bind(domain)
                .fetch_one(&mut database)
                .await
                .unwrap();
        usize::try_from(count).unwrap()
    }
}

fn user(number: usize) -> UpsertUsersRequest {
    let user = User {
        id: format!("user{number}"),
        name: "Somebody".to_owned(),
        verified_emails: Vec::new(),
    };
    UpsertUsersRequest { users: vec![user] }
}

/// Invites so many people of a domain without a mail, safe to repeat.
fn batch(domain: &str, size: usize) -> BulkCreateRequest {
    let invite = |number| NewInvitation {
        notify: Some(false),
        ..item(&format!("person{number}@{domain}"))
    };
    BulkCreateRequest {
        request_id: Uuid::new_v4().to_string(),
        invitations: (0..size).map(invite).collect(),
        ..create_request(vec![])
    }
}

/// That a call failed as one may whose database is away, and in which words.
fn assert_away(status: &Status) {
    match status.code() {
        Code::DeadlineExceeded => {}
        Code::Unavailable => {
            assert!(status.get_error_details().retry_info().is_some());
        }
        code => panic!("{code:?}: {}", status.message()),
    }
}

#[tokio::test]
async fn connections_that_break_anywhere_lose_and_double_nothing() {
    let broken = Broken::start(&[]).await;
    let mut failed = 0;
    for round in 0..24_i64 {
        // Anywhere in what the database says to four calls at once.
        broken.proxy.reset_after(round * 230);
        let requests: Vec<_> = (0..CONNECTIONS)
            .map(|number| batch(&format!("r{round}n{number}.example"), 3))
            .collect();
        let calls = requests.iter().map(|request| broken.call(request.clone()));
        let answers = join_all(calls).await;
        broken.proxy.reset_after(-1);
        for (number, (request, answer)) in requests.into_iter().zip(answers).enumerate() {
            if let Err(status) = answer {
                failed += 1;
                assert_away(&status);
                // Whether it was done, the second call tells: once is what there is after it.
                wait_until("an answer", async || {
                    broken.call(request.clone()).await.is_ok()
                })
                .await;
            }
            let domain = format!("r{round}n{number}.example");
            assert_eq!(broken.rows(&domain).await, 3, "{domain}");
        }
    }
    assert!(failed >= 24, "only {failed} calls were cut");
    let took = broken.recovery().await;
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_network_that_swallows_everything_holds_no_call_and_no_connection() {
    let broken = Broken::start(&[]).await;
    // So slow that calls are at work when it happens.
    broken.proxy.delay(Duration::from_millis(150));
    let calls = (0..2 * CONNECTIONS).map(|number| {
        let request = batch(&format!("hole{number}.example"), 2);
        let broken = &broken;
        async move {
            let begin = Instant::now();
            (broken.call(request).await, begin.elapsed())
        }
    });
    let swallowing = async {
        sleep(Duration::from_millis(400)).await;
        let hole = Network {
            is_black_hole: true,
            ..Network::default()
        };
        broken.proxy.set_network(hole);
    };
    let (answers, ()) = tokio::join!(join_all(calls), swallowing);
    for (answer, took) in answers {
        assert_away(&answer.unwrap_err());
        // Twice the longest statement, and some time for a busy machine.
        assert!(took < Duration::from_secs(8), "{took:?}");
    }
    let begin = Instant::now();
    let away = broken.call(batch("away.example", 2)).await;
    assert_away(&away.unwrap_err());
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(3), "{took:?}");
    // New connections get through again, the old ones stay dead.
    broken.proxy.set_network(Network::default());
    let took = broken.recovery().await;
    print_line(&format!("recovered in {took:?} after a black hole"));
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_reset_or_refused_connection_is_replaced() {
    let broken = Broken::start(&[]).await;
    let closed = Network {
        is_closed: true,
        ..Network::default()
    };
    for _ in 0..3 {
        broken.proxy.set_network(closed);
        broken.proxy.reset();
        let begin = Instant::now();
        let away = broken.call(batch("away.example", 2)).await;
        assert_away(&away.unwrap_err());
        assert!(begin.elapsed() < Duration::from_secs(5));
        broken.proxy.set_network(Network::default());
        let took = broken.recovery().await;
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

#[tokio::test]
async fn deadlines_hold_over_a_slow_network_and_the_second_call_tells() {
    let mut broken = Broken::start(&[]).await;
    broken.proxy.delay(Duration::from_millis(300));
    let headers = |timeout| {
        [
            ("authorization", format!("Bearer {TOKEN}")),
            ("grpc-timeout", timeout),
        ]
    };
    let address = broken.running.address().parse().unwrap();
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
        // All or nothing, now and when the work has ended.
        let seen = broken.rows(&domain).await;
        assert!([0, 20].contains(&seen), "{seen}");
        wait_until("the second answer", async || {
            broken.call(request.clone()).await.is_ok()
        })
        .await;
        assert_eq!(broken.rows(&domain).await, 20);
    }
    assert!(late > 0);
    broken.proxy.delay(Duration::ZERO);
    broken.running.terminate().await;
    assert!(broken.running.wait_for_exit().await.success());
}

//! More calls than the service can do: the rest is refused at once and in so many words, what is let in is done, and
//! whoever decides where calls go is always answered.

use std::time::Duration;

use futures::future::join_all;
use invitations::proto::{BulkCreateRequest, NewInvitation};
use tokio::time::{Instant, sleep};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_types::StatusExt as _;

use crate::support::background_calls::print_line;
use crate::support::deployment::{Deployment, client};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{create_request, item};

/// What callers saw.
#[derive(Default)]
struct Seen {
    done: usize,
    refused: Vec<Duration>,
}

fn batch(number: usize) -> BulkCreateRequest {
    let invite = |place| NewInvitation {
        notify: Some(false),
        ..item(&format!("person{place}@batch{number}.example"))
    };
    BulkCreateRequest {
        invitations: (0..20).map(invite).collect(),
        ..create_request(vec![])
    }
}

fn assert_push_back(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{}", status.message());
    assert!(status.get_error_details().retry_info().is_some());
    assert!(status.metadata().get("grpc-retry-pushback-ms").is_some());
}

/// Has so many callers, over some connections, call without a pause.
async fn press(running: &ServerProcess, callers: usize, round: usize) -> Seen {
    let end = Instant::now() + Duration::from_secs(3);
    let endpoint = Endpoint::from_shared(format!("http://{}", running.address())).unwrap();
    let channels: Vec<Channel> = (0..8).map(|_| endpoint.connect_lazy()).collect();
    let callers = (0..callers).map(|caller| {
        let channel = channels[caller % channels.len()].clone();
        tokio::spawn(async move {
            let mut seen = Seen::default();
            let mut number = (round * 1_000 + caller) * 100_000;
            while Instant::now() < end {
                number += 1;
                let begin = Instant::now();
                match client(&channel).bulk_create(batch(number)).await {
                    Ok(answer) => {
                        assert_eq!(answer.into_inner().created_count, 20);
                        seen.done += 1;
                    }
                    Err(status) => {
                        assert_push_back(&status);
                        seen.refused.push(begin.elapsed());
                        // Less than they were asked to wait.
                        sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            seen
        })
    });
    let mut total = Seen::default();
    for seen in join_all(callers).await {
        let seen = seen.unwrap();
        total.done += seen.done;
        total.refused.extend(seen.refused);
    }
    total.refused.sort();
    total
}

/// Health and reflection, as often as they come.
async fn ask(channel: Channel) -> usize {
    let begin = Instant::now();
    let mut count = 0;
    while begin.elapsed() < Duration::from_secs(2) {
        let request = HealthCheckRequest::default();
        HealthClient::new(channel.clone())
            .check(request)
            .await
            .unwrap();
        let question = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        ServerReflectionClient::new(channel.clone())
            .server_reflection_info(futures::stream::iter([question]))
            .await
            .unwrap();
        count += 1;
        sleep(Duration::from_millis(50)).await;
    }
    count
}

#[tokio::test]
async fn under_too_many_calls_the_excess_is_refused_and_the_rest_is_done() {
    let deployment = Deployment::create().await;
    let settings = [
        ("INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", "500ms"),
        ("INVITATIONS_ROLE", "api"),
    ];
    let (running, channel) = deployment.serve_populated(&settings).await;
    let fair = press(&running, 32, 0).await;
    let (pressed, asked) = tokio::join!(press(&running, 320, 1), ask(channel.clone()));
    let median = pressed.refused[pressed.refused.len() / 2];
    print_line(&format!(
        "32 callers: {} done, {} refused; 320 callers: {} done, {} refused, p50 {median:.1?}, p99 {:.1?}; health and reflection answered {asked} times",
        fair.done,
        fair.refused.len(),
        pressed.done,
        pressed.refused.len(),
        pressed.refused[pressed.refused.len() * 99 / 100],
    ));
    assert!(pressed.done > 0 && !pressed.refused.is_empty() && asked > 0);
    // What was told to be done is there, and nothing else.
    let mut database = deployment.database.connect().await;
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM invitations")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(
        usize::try_from(kept).unwrap(),
        20 * (fair.done + pressed.done)
    );
    let begin = Instant::now();
    wait_until("a call to be let in", async || {
        client(&channel).bulk_create(batch(0)).await.is_ok()
    })
    .await;
    assert!(begin.elapsed() < Duration::from_secs(10));
}

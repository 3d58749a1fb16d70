//! More calls than the service can handle. Excess calls are refused at once with a retry delay, the others succeed, and
//! health checks are always answered.

use std::time::Duration;

use futures::future::join_all;
use invitations::proto::BulkCreateRequest;
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
use crate::support::database::count;
use crate::support::deployment::{Deployment, client};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{create_request, item_without_email};

/// The results of many calls.
#[derive(Default)]
struct LoadResults {
    succeeded: usize,
    /// How long each refused call took.
    refused: Vec<Duration>,
}

impl LoadResults {
    /// The given percentile of the durations of refused calls, once they are sorted.
    fn percentile(&self, percent: usize) -> Duration {
        self.refused[self.refused.len() * percent / 100]
    }
}

fn batch(number: usize) -> BulkCreateRequest {
    let invite = |place| item_without_email(&format!("person{place}@batch{number}.example"));
    create_request((0..20).map(invite).collect())
}

fn assert_retry_delay(status: &Status) {
    assert_eq!(status.code(), Code::Unavailable, "{}", status.message());
    assert!(status.get_error_details().retry_info().is_some());
    assert!(status.metadata().get("grpc-retry-pushback-ms").is_some());
}

/// Lets callers that share eight connections call without a pause for three seconds.
async fn load(running: &ServerProcess, callers: usize, round: usize) -> LoadResults {
    let end = Instant::now() + Duration::from_secs(3);
    let endpoint = Endpoint::from_shared(format!("http://{}", running.address())).unwrap();
    let channels: Vec<Channel> = (0..8).map(|_| endpoint.connect_lazy()).collect();
    let callers = (0..callers).map(|caller| {
        let channel = channels[caller % channels.len()].clone();
        tokio::spawn(async move {
            let mut results = LoadResults::default();
            let mut number = (round * 1_000 + caller) * 100_000;
            while Instant::now() < end {
                number += 1;
                let begin = Instant::now();
                match client(&channel).bulk_create(batch(number)).await {
                    Ok(answer) => {
                        assert_eq!(answer.into_inner().succeeded_count, 20);
                        results.succeeded += 1;
                    }
                    Err(status) => {
                        assert_retry_delay(&status);
                        results.refused.push(begin.elapsed());
                        // Shorter than the retry delay, to keep up the load.
                        sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            results
        })
    });
    let mut total = LoadResults::default();
    for results in join_all(callers).await {
        let results = results.unwrap();
        total.succeeded += results.succeeded;
        total.refused.extend(results.refused);
    }
    total.refused.sort();
    total
}

/// Calls health and reflection for two seconds. Returns how often both were answered.
async fn check_health(channel: Channel) -> usize {
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
async fn under_overload_excess_calls_are_refused_and_the_others_succeed() {
    let deployment = Deployment::create().await;
    let settings = [
        ("INVITATIONS_DATABASE_ACQUIRE_TIMEOUT", "500ms"),
        ("INVITATIONS_ROLE", "api"),
    ];
    let (running, channel) = deployment.serve_populated(&settings).await;
    let normal = load(&running, 32, 0).await;
    let (overload, checks) = tokio::join!(load(&running, 320, 1), check_health(channel.clone()));
    print_line(&format!(
        "32 callers: {} succeeded, {} refused; 320 callers: {} succeeded, {} refused, p50 {:.1?}, p99 {:.1?}; health and reflection answered {checks} times",
        normal.succeeded,
        normal.refused.len(),
        overload.succeeded,
        overload.refused.len(),
        overload.percentile(50),
        overload.percentile(99),
    ));
    assert!(overload.succeeded > 0 && !overload.refused.is_empty() && checks > 0);
    // The database contains the batches of the successful calls and nothing else.
    let mut database = deployment.database.connect().await;
    let stored = count(&mut database, "invitations").await;
    let succeeded = normal.succeeded + overload.succeeded;
    assert_eq!(usize::try_from(stored).unwrap(), 20 * succeeded);
    let begin = Instant::now();
    wait_until("a call to succeed", async || {
        client(&channel).bulk_create(batch(0)).await.is_ok()
    })
    .await;
    assert!(begin.elapsed() < Duration::from_secs(10));
}

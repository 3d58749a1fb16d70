//! The gRPC server: health, reflection, message sizes, deadlines, and the limit of concurrent calls.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use invitations::grpc::limits::{CALLS_AT_ONCE_MAX, CALLS_OF_SERVICE_MAX, REQUEST_BYTES_MAX};
use invitations::proto::BulkCreateRequest;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt as _;

use crate::support::{
    World, create_request, created, item_without_email, list_request, raw_grpc, reason,
    status_reason,
};

const BULK_CREATE: &str = "/invitation.v1.InvitationService/BulkCreate";
const AS_ALL: (&str, &str) = ("authorization", "Bearer all");

/// Invites one address without an email.
fn invite_without_email(email: &str) -> BulkCreateRequest {
    create_request(vec![item_without_email(email)])
}

/// Blocks every call that reads an organization, until the transaction of the returned connection ends.
async fn block_calls(world: &World) -> PgConnection {
    let mut blocker = world.database().await;
    blocker
        .execute("BEGIN; LOCK TABLE organizations")
        .await
        .unwrap();
    blocker
}

fn assert_deadline_exceeded(status: &Status) {
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status_reason(status), "DEADLINE_EXCEEDED");
}

async fn stored_emails(world: &World) -> Vec<String> {
    let mut database = world.database().await;
    sqlx::query_scalar("SELECT email FROM invitations ORDER BY id")
        .fetch_all(&mut database)
        .await
        .unwrap()
}

#[tokio::test]
async fn health_needs_no_token_and_reports_not_serving_before_the_first_database_check() {
    let world = World::start().await;
    let mut client = HealthClient::new(world.channel());
    for service in [
        "",
        "invitation.v1.InvitationService",
        "invitation.v1.DirectoryService",
        "invitation.v1.MailService",
        "invitation.v1.SuppressionService",
        "invitation.v1.FeedbackService",
        "invitation.v1.AuditService",
    ] {
        let service = service.to_owned();
        let answer = client.check(HealthCheckRequest { service }).await.unwrap();
        // No health check of the database runs in this server. `process_start` tests the change to SERVING.
        assert_eq!(answer.into_inner().status(), ServingStatus::NotServing);
    }
    let service = "invitation.v1.Nope".to_owned();
    let answer = client.check(HealthCheckRequest { service }).await;
    assert_eq!(answer.unwrap_err().code(), Code::NotFound);
}

macro_rules! reflect {
    ($world:expr, $version:ident) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;
        let questions = [
            MessageRequest::ListServices(String::new()),
            MessageRequest::FileByFilename("google/rpc/error_details.proto".to_owned()),
            MessageRequest::FileContainingSymbol("google.rpc.BadRequest".to_owned()),
            MessageRequest::FileContainingSymbol("google.rpc.ErrorInfo".to_owned()),
            MessageRequest::FileContainingSymbol("google.rpc.RetryInfo".to_owned()),
            MessageRequest::FileContainingSymbol("google.rpc.QuotaFailure".to_owned()),
            MessageRequest::FileContainingSymbol("invitation.v1.ErrorReason".to_owned()),
        ];
        let requests = questions.map(|question| $version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        });
        let answers = ServerReflectionClient::new($world.channel())
            .server_reflection_info(futures::stream::iter(requests))
            .await
            .unwrap()
            .into_inner();
        let answers: Vec<_> = answers.collect().await;
        let mut services = Vec::new();
        let mut files = Vec::new();
        for answer in answers {
            match answer.unwrap().message_response.unwrap() {
                MessageResponse::ListServicesResponse(list) => {
                    services.extend(list.service.into_iter().map(|service| service.name));
                }
                MessageResponse::FileDescriptorResponse(response) => {
                    for file in response.file_descriptor_proto {
                        let file = FileDescriptorProto::decode(file.as_slice()).unwrap();
                        files.push(file.name().to_owned());
                    }
                }
                _ => panic!("an answer to another question"),
            }
        }
        (services, files)
    }};
}

#[tokio::test]
async fn both_reflection_versions_describe_the_protocol_without_a_token() {
    let world = World::start().await;
    for (services, files) in [reflect!(world, v1), reflect!(world, v1alpha)] {
        for service in [
            "grpc.health.v1.Health",
            "invitation.v1.DirectoryService",
            "invitation.v1.InvitationService",
        ] {
            assert!(services.iter().any(|name| name == service), "{services:?}");
        }
        // Both the protocol and the details of errors are described.
        let details = "google/rpc/error_details.proto";
        let expected = [details, details, details, details, details];
        assert_eq!(files[..5], expected);
        assert_eq!(files[5..], ["invitation/v1/error.proto"]);
    }
}

#[tokio::test]
async fn a_message_over_the_size_limit_is_refused_and_writes_nothing() {
    let world = World::start().await;
    let mut request = invite_without_email("a@b.co");
    request.invitations[0].message = "x".repeat(REQUEST_BYTES_MAX);
    let status = world.client().bulk_create(request).await.err().unwrap();
    assert_eq!(status.code(), Code::OutOfRange, "{}", status.message());
    // A message just below the limit is read, and its fields are validated.
    let mut request = invite_without_email("b@b.co");
    let rest = REQUEST_BYTES_MAX - request.encoded_len() - 20;
    request.invitations[0].message = "x".repeat(rest);
    let answer = world.bulk_create(request).await;
    assert_eq!(answer.failed_count, 1);
    assert!(stored_emails(&world).await.is_empty());
}

#[tokio::test]
async fn expired_deadlines_leave_the_connection_pool_usable() {
    let world = World::start().await;
    let mut blocker = block_calls(&world).await;
    let late = (0..24).map(|number| {
        let (address, timeout) = (world.address(), format!("{}m", 20 + 10 * number));
        async move {
            let headers = [AS_ALL, ("grpc-timeout", timeout.as_str())];
            let request = invite_without_email(&format!("late{number}@b.co")).encode_to_vec();
            raw_grpc::call(address, BULK_CREATE, &headers, &request).await
        }
    });
    for answer in futures::future::join_all(late).await {
        assert_deadline_exceeded(&answer.unwrap_err());
    }
    blocker.execute("ROLLBACK").await.unwrap();
    blocker.close().await.unwrap();
    // More calls than connections, so that every connection is used.
    let mut expected = Vec::new();
    for number in 0..24 {
        let email = format!("soon{number}@b.co");
        let answer = world.bulk_create(invite_without_email(&email)).await;
        created(&answer.results[0]);
        expected.push(email);
    }
    // A call that exceeded its deadline may have succeeded or not. Every call that was answered with OK is stored.
    let mut stored = stored_emails(&world).await;
    stored.retain(|email| !email.starts_with("late"));
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn a_call_without_its_message_ends_at_its_deadline() {
    let world = World::start().await;
    let headers = [AS_ALL, ("grpc-timeout", "200m")];
    let answer = raw_grpc::call_without_end(world.address(), BULK_CREATE, &headers).await;
    // Without handling, tonic would return CANCELLED, which service meshes retry.
    assert_deadline_exceeded(&answer.unwrap_err());
}

#[tokio::test]
async fn a_deadline_longer_than_the_limit_of_a_method_is_shortened() {
    let world = World::start().await;
    let mut blocker = block_calls(&world).await;
    let headers = [AS_ALL, ("grpc-timeout", "1H")];
    let path = "/invitation.v1.InvitationService/List";
    let request = list_request().encode_to_vec();
    let call = raw_grpc::call(world.address(), path, &headers, &request);
    // Reading a page may take five seconds.
    let answer = timeout(Duration::from_secs(9), call).await;
    assert_eq!(reason(answer.unwrap()), "DEADLINE_EXCEEDED");
    blocker.execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn a_call_above_the_concurrency_limit_is_refused_with_a_retry_delay() {
    let world = World::start().await;
    let mut blocker = block_calls(&world).await;
    // One caller gets its share, and both together what is left of the limit.
    const { assert!(CALLS_OF_SERVICE_MAX < CALLS_AT_ONCE_MAX) };
    let mut calls: FuturesUnordered<_> = (0..=CALLS_AT_ONCE_MAX)
        .map(|number| {
            let caller = if number < CALLS_OF_SERVICE_MAX {
                "all"
            } else {
                "acme-only"
            };
            let mut client = world.client_of(caller);
            async move {
                client
                    .bulk_create(invite_without_email(&format!("{number}@b.co")))
                    .await
            }
        })
        .collect();
    // All other calls are blocked, so the first response is the refusal.
    let status = calls.next().await.unwrap().err().unwrap();
    assert_eq!(status.code(), Code::Unavailable);
    let delay = status.get_error_details().retry_info().unwrap().retry_delay;
    let push_back = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    let push_back: u64 = push_back.to_str().unwrap().parse().unwrap();
    assert!((500..=2_000).contains(&push_back), "{push_back}");
    assert_eq!(
        u64::try_from(delay.unwrap().as_millis()).unwrap(),
        push_back
    );
    assert_eq!(status_reason(&status), "OVERLOADED");
    let mut client = world.client();
    let of_share = client.bulk_create(invite_without_email("share@b.co"));
    assert_eq!(reason(of_share.await), "OVERLOADED");
    // Health checks of load balancers do not count for the limit.
    let health = HealthCheckRequest::default();
    HealthClient::new(world.channel())
        .check(health)
        .await
        .unwrap();

    blocker.execute("ROLLBACK").await.unwrap();
    let mut count = 0;
    while let Some(answer) = calls.next().await {
        created(&answer.unwrap().into_inner().results[0]);
        count += 1;
    }
    assert_eq!((count, stored_emails(&world).await.len()), (64, 64));
    world.bulk_create(invite_without_email("next@b.co")).await;
}

#[tokio::test]
async fn a_silent_connection_is_closed() {
    let world = World::start().await;
    let silent = TcpStream::connect(world.address()).await.unwrap();
    let mut unfinished = TcpStream::connect(world.address()).await.unwrap();
    unfinished.write_all(b"PRI * HTTP/2.0").await.unwrap();
    for mut connection in [silent, unfinished] {
        let mut received = Vec::new();
        let read = connection.read_to_end(&mut received);
        let ended = timeout(Duration::from_secs(20), read).await;
        assert!(ended.is_ok(), "the connection is still open");
    }
}

//! The server itself: health, reflection, limits, deadlines, overload, and errors that repeat nothing.

use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use invitations::grpc::limits::{CALLS_AT_ONCE_MAX, REQUEST_BYTES_MAX};
use invitations::proto::{BulkCreateRequest, ListRequest, NewInvitation};
use prost::Message as _;
use prost_types::FileDescriptorProto;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};
use tonic_types::StatusExt as _;

use crate::support::{ACME, World, created, item, reason};
use crate::support::{create_request, raw_grpc};

const BULK_CREATE: &str = "/invitation.v1.InvitationService/BulkCreate";
const AS_ALL: (&str, &str) = ("authorization", "Bearer all");

/// One person to invite, without a mail.
fn quiet(email: &str) -> BulkCreateRequest {
    let item = NewInvitation {
        notify: Some(false),
        ..item(email)
    };
    BulkCreateRequest {
        invitations: vec![item],
        ..create_request(vec![])
    }
}

/// Holds up every call that reads an organization, until the connection is rolled back.
async fn hold_up(world: &World) -> PgConnection {
    let mut blocker = world.database().await;
    blocker
        .execute("BEGIN; LOCK TABLE organizations")
        .await
        .unwrap();
    blocker
}

async fn stored_emails(world: &World) -> Vec<String> {
    let mut database = world.database().await;
    sqlx::query_scalar("SELECT email FROM invitations ORDER BY id")
        .fetch_all(&mut database)
        .await
        .unwrap()
}

#[tokio::test]
async fn health_needs_no_token_and_waits_for_the_database() {
    let world = World::start().await;
    let mut client = HealthClient::new(world.channel());
    for service in [
        "",
        "invitation.v1.InvitationService",
        "invitation.v1.DirectoryService",
        "invitation.v1.FeedbackService",
    ] {
        let service = service.to_owned();
        let answer = client.check(HealthCheckRequest { service }).await.unwrap();
        // This server was never told that its database is there; `process` has the rest of the story.
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
        let questions = questions.map(|question| $version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        });
        let answers = ServerReflectionClient::new($world.channel())
            .server_reflection_info(futures::stream::iter(questions))
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
async fn both_versions_of_reflection_show_the_protocol_without_a_token() {
    let world = World::start().await;
    for (services, files) in [reflect!(world, v1), reflect!(world, v1alpha)] {
        for service in [
            "grpc.health.v1.Health",
            "invitation.v1.DirectoryService",
            "invitation.v1.InvitationService",
        ] {
            assert!(services.iter().any(|name| name == service), "{services:?}");
        }
        // The protocol's own, and those of the details of errors.
        let details = "google/rpc/error_details.proto";
        let expected = [details, details, details, details, details];
        assert_eq!(files[..5], expected);
        assert_eq!(files[5..], ["invitation/v1/error.proto"]);
    }
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_writes_nothing() {
    let world = World::start().await;
    let mut request = quiet("a@b.co");
    request.invitations[0].message = "x".repeat(REQUEST_BYTES_MAX);
    let status = world.client().bulk_create(request).await.err().unwrap();
    assert_eq!(status.code(), Code::OutOfRange, "{}", status.message());
    // A message that just fits is read, and judged by the rules for its fields.
    let mut request = quiet("b@b.co");
    let rest = REQUEST_BYTES_MAX - request.encoded_len() - 20;
    request.invitations[0].message = "x".repeat(rest);
    let answer = world.client().bulk_create(request).await.unwrap();
    assert_eq!(answer.into_inner().failed_count, 1);
    assert!(stored_emails(&world).await.is_empty());
}

#[tokio::test]
async fn a_deadline_that_runs_out_leaves_the_pool_whole() {
    let world = World::start().await;
    let mut blocker = hold_up(&world).await;
    let late = (0..24).map(|number| {
        let (address, timeout) = (world.address(), format!("{}m", 20 + 10 * number));
        async move {
            let headers = [AS_ALL, ("grpc-timeout", timeout.as_str())];
            let request = quiet(&format!("late{number}@b.co")).encode_to_vec();
            raw_grpc::call(address, BULK_CREATE, &headers, &request).await
        }
    });
    for answer in futures::future::join_all(late).await {
        let code = answer.as_ref().err().map(Status::code);
        let told = (code, reason(answer));
        let expected = (Some(Code::DeadlineExceeded), "DEADLINE_EXCEEDED".to_owned());
        assert_eq!(told, expected);
    }
    blocker.execute("ROLLBACK").await.unwrap();
    blocker.close().await.unwrap();
    // More of them than connections, so that each connection has its turn.
    let mut expected = Vec::new();
    for number in 0..24 {
        let email = format!("soon{number}@b.co");
        let answer = world.client().bulk_create(quiet(&email)).await.unwrap();
        created(&answer.into_inner().results[0]);
        expected.push(email);
    }
    // What ran out of time may have been done or not; what was answered is there.
    let mut stored = stored_emails(&world).await;
    stored.retain(|email| !email.starts_with("late"));
    assert_eq!(stored, expected);
}

#[tokio::test]
async fn a_message_that_does_not_come_does_not_hold_a_call_past_its_deadline() {
    let world = World::start().await;
    let headers = [AS_ALL, ("grpc-timeout", "200m")];
    let answer = raw_grpc::call_without_end(world.address(), BULK_CREATE, &headers).await;
    let code = answer.as_ref().err().map(Status::code);
    let told = (code, reason(answer));
    // What tonic would say by itself is CANCELLED, which meshes retry.
    let expected = (Some(Code::DeadlineExceeded), "DEADLINE_EXCEEDED".to_owned());
    assert_eq!(told, expected);
}

#[tokio::test]
async fn no_caller_may_ask_for_more_time_than_a_method_gets() {
    let world = World::start().await;
    let mut blocker = hold_up(&world).await;
    let request = ListRequest {
        organization_id: ACME.to_owned(),
        ..Default::default()
    };
    let headers = [AS_ALL, ("grpc-timeout", "1H")];
    let path = "/invitation.v1.InvitationService/List";
    let request = request.encode_to_vec();
    let call = raw_grpc::call(world.address(), path, &headers, &request);
    // Five seconds are for reading a page.
    let answer = tokio::time::timeout(Duration::from_secs(9), call).await;
    assert_eq!(reason(answer.unwrap()), "DEADLINE_EXCEEDED");
    blocker.execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn the_call_that_finds_no_room_is_told_to_come_back() {
    let world = World::start().await;
    let mut blocker = hold_up(&world).await;
    let mut calls: FuturesUnordered<_> = (0..=CALLS_AT_ONCE_MAX)
        .map(|number| {
            let mut client = world.client();
            async move { client.bulk_create(quiet(&format!("{number}@b.co"))).await }
        })
        .collect();
    // All the others are held up, so the first answer is the refusal.
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
    assert_eq!(reason(Err::<(), _>(status)), "OVERLOADED");
    // Health is asked by whoever decides where calls go: it has room, always.
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
    world
        .client()
        .bulk_create(quiet("next@b.co"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_peer_that_says_nothing_is_let_go() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let world = World::start().await;
    let mut silent = tokio::net::TcpStream::connect(world.address())
        .await
        .unwrap();
    let mut halting = tokio::net::TcpStream::connect(world.address())
        .await
        .unwrap();
    halting.write_all(b"PRI * HTTP/2.0").await.unwrap();
    for peer in [&mut silent, &mut halting] {
        let mut said = Vec::new();
        let ended =
            tokio::time::timeout(Duration::from_secs(20), peer.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "the connection is still open");
    }
}

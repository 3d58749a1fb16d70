//! How watches are refused, how they end, and heartbeats.

use std::time::{Duration, Instant};

use invitations::grpc::limits::{WATCHES_AT_ONCE_MAX, WATCHES_OF_SERVICE_MAX};
use invitations::proto::WatchRequest;
use invitations::proto::invitation_service_client::InvitationServiceClient;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_types::StatusExt as _;

use super::{from_now_request, invite_many, refused_watch, resume_request};
use crate::support::callers::caller_channel;
use crate::support::user_issuer::UserIssuer;
use crate::support::watch_stream::{EVENT_TIMEOUT, WatchStream, open_watch, watch_request};
use crate::support::{ACME, OTHER, UNKNOWN_ID, World, delete_membership_request, status_reason};

#[tokio::test]
async fn a_watch_that_is_not_read_delays_no_other_watch_and_misses_no_event() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let slow = open_watch(world.client(), watch_request()).await.unwrap();
    let mut quick = WatchStream::begin(world.client(), watch_request()).await;
    // More events than fit into the buffers of a connection that is not read.
    for number in 0..3 {
        invite_many(&world, &format!("person{number}x"), 5_000).await;
    }
    quick.wait_for_events(15_000).await;
    let mut slow = WatchStream::new(slow);
    slow.wait_for_events(15_000).await;
    assert_eq!(slow.event_ids(), quick.event_ids());
}

#[tokio::test]
async fn watches_have_a_limit_separate_from_that_of_calls() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let mut streams = Vec::new();
    const { assert!(WATCHES_AT_ONCE_MAX == 2 * WATCHES_OF_SERVICE_MAX) };
    for number in 0..WATCHES_AT_ONCE_MAX {
        let is_first = number < WATCHES_OF_SERVICE_MAX;
        let caller = if is_first { "all" } else { "acme-only" };
        // One connection can have only 128 streams, so each watch has its own.
        let channel = Endpoint::from_shared(format!("http://{}", world.address()))
            .unwrap()
            .connect_lazy();
        let client = InvitationServiceClient::new(caller_channel(&channel, caller));
        streams.push(open_watch(client, from_now_request()).await.unwrap());
        if number + 1 == WATCHES_OF_SERVICE_MAX {
            // One caller gets its share, and no more.
            let refused = open_watch(world.client(), from_now_request()).await;
            assert_eq!(status_reason(&refused.unwrap_err()), "OVERLOADED");
        }
        if streams.len() % 64 == 0 {
            invite_many(&world, &format!("person{}x", streams.len()), 1).await;
        }
    }
    let status = open_watch(world.client_of("acme-and-other"), from_now_request())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status_reason(&status), "OVERLOADED");
    // A watch that ends makes room for another one.
    drop(streams.pop());
    let started = Instant::now();
    while open_watch(world.client_of("acme-only"), from_now_request())
        .await
        .is_err()
    {
        assert!(started.elapsed() < EVENT_TIMEOUT);
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn shutdown_ends_watches_at_once_with_a_retry_delay() {
    let world = World::start().await;
    let mut watch = WatchStream::begin(world.client(), from_now_request()).await;
    let begin = Instant::now();
    world.stop();
    let status = watch.next().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let details = status.get_error_details();
    assert!(details.retry_info().unwrap().retry_delay.is_some());
    assert_eq!(details.error_info().unwrap().reason, "OVERLOADED");
    assert!(begin.elapsed() < EVENT_TIMEOUT);
}

#[tokio::test]
async fn an_invalid_watch_is_refused_with_its_reason() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let batch_id = invite_many(&world, "person", 1).await;
    let of = |organization_id: &str, batch_id: &str| WatchRequest {
        organization_id: organization_id.to_owned(),
        batch_id: batch_id.to_owned(),
        ..Default::default()
    };
    let refusal = async |caller: &str, request: WatchRequest| {
        refused_watch(world.client_of(caller), request).await
    };
    for (caller, request, code, reason) in [
        (
            "all",
            of("unknown", ""),
            Code::NotFound,
            "ORGANIZATION_NOT_FOUND",
        ),
        (
            "all",
            of(ACME, UNKNOWN_ID),
            Code::NotFound,
            "BATCH_NOT_FOUND",
        ),
        (
            "all",
            of(OTHER, &batch_id),
            Code::NotFound,
            "BATCH_NOT_FOUND",
        ),
        (
            "all",
            of("", &batch_id),
            Code::InvalidArgument,
            "FIELD_REQUIRED",
        ),
        ("all", of(ACME, "x"), Code::InvalidArgument, "FIELD_INVALID"),
        (
            "other-only",
            of(ACME, ""),
            Code::PermissionDenied,
            "ORGANIZATION_DENIED",
        ),
        (
            "other-only",
            of("unknown", ""),
            Code::PermissionDenied,
            "ORGANIZATION_DENIED",
        ),
        (
            "all-but-invitations:read",
            of(ACME, ""),
            Code::PermissionDenied,
            "SCOPE_MISSING",
        ),
    ] {
        assert_eq!(refusal(caller, request).await, (code, reason.to_owned()));
    }
    let watch = WatchStream::begin(world.client(), watch_request()).await;
    let cursor = watch.cursors[0].0.clone();
    let of_other = WatchRequest {
        cursor: cursor.clone(),
        ..of(OTHER, "")
    };
    let of_batch = WatchRequest {
        cursor: cursor.clone(),
        ..of(ACME, &batch_id)
    };
    let mut changed = cursor.clone().into_bytes();
    changed[30] = if changed[30] == b'A' { b'B' } else { b'A' };
    let changed = resume_request(&String::from_utf8(changed).unwrap());
    for request in [
        of_other,
        of_batch,
        changed,
        resume_request("x"),
        resume_request(&cursor[1..]),
    ] {
        let expected = (Code::InvalidArgument, "CURSOR_INVALID".to_owned());
        assert_eq!(refusal("all", request).await, expected);
    }
    world.delete_organization().await;
    let expected = (Code::NotFound, "ORGANIZATION_NOT_FOUND".to_owned());
    assert_eq!(refusal("all", watch_request()).await, expected);
}

#[tokio::test]
async fn a_watch_of_a_user_ends_after_they_stop_being_an_admin() {
    let issuer = UserIssuer::start().await;
    let world = World::builder().issuers(&issuer.table()).start().await;
    let ada = world.client_of(&issuer.token(&world, "ada"));
    let grace = world.client_of(&issuer.token(&world, "grace"));
    let denied = (Code::PermissionDenied, "ORGANIZATION_DENIED".to_owned());
    assert_eq!(refused_watch(grace, watch_request()).await, denied);
    let mut watch = WatchStream::begin(ada.clone(), watch_request()).await;
    let delete = delete_membership_request("ada");
    world.directory().delete_membership(delete).await.unwrap();
    assert_eq!(refused_watch(ada, watch_request()).await, denied);
    // The running watch checks the permission again after its interval.
    advance_timers(&world, Duration::from_secs(31)).await;
    watch.next().await.unwrap();
    advance_timers(&world, Duration::from_secs(31)).await;
    let status = watch.next().await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(status_reason(&status), "ORGANIZATION_DENIED");
}

/// Waits until the server has run no statement for 300 milliseconds.
async fn wait_until_database_is_idle(world: &World) {
    let mut database = world.database().await;
    let is_idle = "SELECT coalesce(bool_and(state = 'idle' AND state_change < clock_timestamp() - interval '300 ms'), true)
                      FROM pg_stat_activity
                     WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'invitations'";
    while !sqlx::query_scalar::<_, bool>(is_idle)
        .fetch_one(&mut database)
        .await
        .unwrap()
    {
        sleep(Duration::from_millis(50)).await;
    }
}

/// Advances the timers of the runtime while no statement is running.
async fn advance_timers(world: &World, time: Duration) {
    wait_until_database_is_idle(world).await;
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_watch_without_events_sends_a_heartbeat() {
    let world = World::start().await;
    let mut stream = open_watch(world.client(), from_now_request())
        .await
        .unwrap();
    let first = stream.message().await.unwrap().unwrap();
    advance_timers(&world, Duration::from_secs(24)).await;
    let second = timeout(Duration::from_secs(6), stream.message()).await;
    let second = second.unwrap().unwrap().unwrap();
    assert!(first.events.is_empty() && second.events.is_empty() && !second.cursor.is_empty());
}

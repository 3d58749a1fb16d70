//! The limits of streams of items: their deadline, their number and their memory.

use std::time::Duration;

use invitations::grpc::limits::{
    CHUNK_ITEMS, STREAM_HEADER_TIMEOUT, STREAMS_AT_ONCE_MAX, STREAMS_OF_SERVICE_MAX,
    STREAMS_OF_USER_MAX, STREAMS_OPENING_MAX,
};
use tokio::time::{Instant, sleep};
use tonic::Request;
use tonic_types::StatusExt as _;

use crate::support::background_calls::print_line;
use crate::support::deployment::{Deployment, client};
use crate::support::streams::{CreateStream, header, resumable_header, send_all, stream_items};
use crate::support::user_issuer::UserIssuer;
use crate::support::{World, reason, status_reason};

#[tokio::test]
async fn a_stream_ends_at_the_deadline_of_its_caller() {
    let mut world = World::start().await;
    let client = world.client();
    let mut request = Request::new(());
    // Long enough for one chunk on a busy machine.
    request.set_timeout(Duration::from_secs(6));
    let began = Instant::now();
    let mut call = CreateStream::begin_with(&client, request, header()).await;
    call.next().await.unwrap();
    call.send(stream_items("brief", 0..1));
    assert_eq!(call.next().await.unwrap().unwrap().results.len(), 1);
    let status = call.next().await.err().unwrap();
    assert_eq!(status_reason(&status), "DEADLINE_EXCEEDED");
    assert!(began.elapsed() >= Duration::from_millis(5_900));
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn streams_have_a_limit_separate_from_that_of_calls() {
    let mut world = World::start().await;
    let client = world.client();
    let mut calls = Vec::new();
    const { assert!(STREAMS_AT_ONCE_MAX == 2 * STREAMS_OF_SERVICE_MAX) };
    for caller in ["all", "acme-only"] {
        for _ in 0..STREAMS_OF_SERVICE_MAX {
            let mut call = CreateStream::begin(&world.client_of(caller), header()).await;
            call.next().await.unwrap();
            calls.push(call);
        }
    }
    let one_more = async |caller| {
        let mut call = CreateStream::begin(&world.client_of(caller), header()).await;
        call.next().await.map(drop)
    };
    let status = one_more("acme-and-other").await.unwrap_err();
    assert!(status.get_details_retry_info().is_some());
    assert_eq!(status_reason(&status), "OVERLOADED");
    // Permission is checked first, and other calls are answered.
    let mut reader = world.client_of("only-invitations:read");
    let denied = reader.bulk_create_stream(futures::stream::pending());
    assert_eq!(reason(denied.await), "SCOPE_MISSING");
    assert_eq!(
        status_reason(&one_more("other-only").await.unwrap_err()),
        "ORGANIZATION_DENIED"
    );
    world.invite(&["call@b.co"]).await;
    for call in &mut calls {
        call.send(stream_items("crowd", 0..1));
        assert_eq!(call.next().await.unwrap().unwrap().results.len(), 1);
    }
    drop(calls);
    let mut call = loop {
        match one_more("all").await {
            Ok(()) => break CreateStream::begin(&client, header()).await,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    };
    call.next().await.unwrap();
    call.close();
    assert_eq!(world.deliver_all().await, 2);
}

#[tokio::test]
async fn silent_streams_of_one_caller_leave_room_for_others() {
    let users = UserIssuer::start().await;
    let mut world = World::builder().issuers(&users.table()).start().await;
    let (eve, ada) = (users.token(&world, "eve"), users.token(&world, "ada"));
    let eve = world.client_of(&eve);
    // Streams without a header do not count as streams. They end after five seconds.
    let began = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..STREAMS_OF_USER_MAX {
        silent.push(CreateStream::open(&eve, Request::new(()), Vec::new()).await);
    }
    const { assert!(STREAMS_OPENING_MAX > STREAMS_AT_ONCE_MAX) };
    for caller in ["all", ada.as_str()] {
        let items = stream_items("others", 0..1);
        let answer = send_all(&world.client_of(caller), header(), 1, &items).await;
        assert!(answer.end.is_ok());
    }
    for call in &mut silent {
        let status = call.next().await.err().unwrap();
        assert_eq!(status_reason(&status), "DEADLINE_EXCEEDED");
    }
    assert!(began.elapsed() >= STREAM_HEADER_TIMEOUT);
    // Of the streams with a header, a user and a service have their shares.
    let mut open = Vec::new();
    for (caller, share) in [
        (ada.as_str(), STREAMS_OF_USER_MAX),
        ("all", STREAMS_OF_SERVICE_MAX),
    ] {
        let client = world.client_of(caller);
        for _ in 0..share {
            let mut call = CreateStream::begin(&client, header()).await;
            call.next().await.unwrap();
            open.push(call);
        }
        let mut call = CreateStream::begin(&client, header()).await;
        let status = call.next().await.err().unwrap();
        assert_eq!(status_reason(&status), "OVERLOADED");
    }
    let mut call = CreateStream::begin(&world.client_of("acme-only"), header()).await;
    call.next().await.unwrap();
    assert_eq!(world.deliver_all().await, 1);
}

/// Returns the largest amount of memory that a process has used, in KiB.
fn peak_kib(status: &str) -> usize {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let amount = line.unwrap().split_whitespace().nth(1);
    amount.unwrap().parse().unwrap()
}

/// `STREAM_ITEMS` sets the number of items. A million takes minutes.
#[tokio::test]
async fn a_stream_of_any_length_uses_the_same_memory() {
    let item_count: usize = match std::env::var("STREAM_ITEMS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 12 * CHUNK_ITEMS,
    };
    let deployment = Deployment::create().await;
    let (running, channel) = deployment
        .serve_populated(&[("INVITATIONS_ROLE", "api")])
        .await;
    let client = client(&channel).max_decoding_message_size(64 << 20);
    let quarter = item_count / 4;
    let mut call = CreateStream::begin(&client, resumable_header()).await;
    call.next().await.unwrap();
    let began = Instant::now();
    let mut peaks = Vec::new();
    let (mut sent, mut done) = (0, 0);
    while done < item_count {
        // Sends a few chunks more than it has read, so that the test itself needs little memory.
        while sent < item_count && sent < done + 4 * CHUNK_ITEMS {
            let upto = (sent + 500).min(item_count);
            call.send(stream_items("many", sent..upto));
            sent = upto;
        }
        let response = call.next().await.unwrap().unwrap();
        done = usize::try_from(response.next_index).unwrap();
        if done >= quarter * (peaks.len() + 1) {
            peaks.push(peak_kib(&running.proc_status()));
        }
    }
    print_line(&format!(
        "{item_count} items in {:?}; VmHWM in KiB after each quarter: {peaks:?}",
        began.elapsed()
    ));
    let (first, last) = (peaks[0], peaks[peaks.len() - 1]);
    assert!(last < first + 24 * 1024, "{peaks:?}");
    let after = send_all(&client, header(), 1, &stream_items("after", 0..1)).await;
    assert!(after.end.is_ok());
}

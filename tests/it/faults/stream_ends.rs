//! Where streams end, and what they cost: slow readers, deadlines, crowds, crashes, and memory.

use std::ops::Range;
use std::time::Duration;

use invitations::grpc::limits::{
    CALLS_AT_ONCE_MAX, CHUNK_ITEMS, CONNECTION_WINDOW_BYTES, STREAMS_AT_ONCE_MAX,
};
use invitations::proto::invitation_service_client::InvitationServiceClient;
use invitations::proto::{BulkCreateStreamHeader as Header, BulkCreateStreamItem, GetRequest};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use crate::support::background_calls::print_line;
use crate::support::callers::caller_channel;
use crate::support::deployment;
use crate::support::deployment::{Deployment, TOKEN};
use crate::support::streams::{
    CreateStream, header, result_ids, resumable_header, send_all, stream_items,
};
use crate::support::waiting::{WAIT_MAX, wait_until};
use crate::support::{ACME, InvitationClient, World, reason};

/// Of people whose mails have to arrive, every so many are mailed.
const MAILED_EVERY: usize = 4;

async fn count(database: &mut PgConnection, table: &str) -> usize {
    let statement = format!("SELECT count(*) FROM {table}");
    let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
        .fetch_one(database)
        .await
        .unwrap();
    usize::try_from(count).unwrap()
}

fn client(channel: &Channel, token: &str) -> InvitationClient {
    InvitationServiceClient::new(caller_channel(channel, token)).max_decoding_message_size(64 << 20)
}

#[tokio::test]
async fn whoever_reads_nothing_gets_little_made_and_holds_nobody_up() {
    let mut world = World::start().await;
    world.may_leave_mail();
    // Takes few bytes before it has to say that it goes on.
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address())).unwrap();
    let endpoint = endpoint.initial_stream_window_size(64 * 1024);
    let channel = endpoint.connect().await.unwrap();
    let client = client(&channel, "all");
    let mut items = stream_items("slow", 0..20_000);
    for item in &mut items {
        item.invitation.as_mut().unwrap().message = "Come and see what we made of it.".to_owned();
    }
    let bytes: usize = items.iter().map(prost::Message::encoded_len).sum();
    assert!(bytes > usize::try_from(CONNECTION_WINDOW_BYTES).unwrap());
    let mut call = CreateStream::begin(&client, header()).await;
    call.send_by(500, &items);

    let mut database = world.database().await;
    wait_until("the first chunk", async || {
        count(&mut world.database().await, "invitations").await > 0
    })
    .await;
    let mut made = (0, Instant::now());
    while made.1.elapsed() < Duration::from_secs(3) {
        let now = count(&mut database, "invitations").await;
        if now != made.0 {
            made = (now, Instant::now());
        }
        sleep(Duration::from_millis(50)).await;
    }
    // One that is on its way, one that waits, one that cannot be handed on.
    assert!((1..=4 * CHUNK_ITEMS).contains(&made.0), "{}", made.0);
    // Other calls over the same connection have room.
    let get = GetRequest {
        organization_id: ACME.to_owned(),
        invitation_id: "019aacd0-0000-7000-8000-000000000001".to_owned(),
    };
    let answer = timeout(WAIT_MAX, client.clone().get(get)).await.unwrap();
    assert_eq!(answer.err().map(|it| it.code()), Some(Code::NotFound));

    call.close();
    let answer = call.end().await;
    let results = answer.results();
    assert_eq!(results.len(), items.len());
    for (result, item) in results.iter().zip(&items) {
        assert_eq!(result.key, item.key);
    }
    assert_eq!(count(&mut database, "invitations").await, items.len());
}

#[tokio::test]
async fn a_stream_lasts_as_long_as_its_caller_gives_it() {
    let mut world = World::start().await;
    let client = world.client();
    let mut request = Request::new(());
    // Room for a chunk on a busy machine.
    request.set_timeout(Duration::from_secs(6));
    let began = Instant::now();
    let mut call = CreateStream::begin_with(&client, request, header()).await;
    call.next().await.unwrap();
    call.send(stream_items("brief", 0..1));
    assert_eq!(call.next().await.unwrap().unwrap().results.len(), 1);
    let status = call.next().await.err().unwrap();
    assert_eq!(reason(Err::<(), _>(status)), "DEADLINE_EXCEEDED");
    assert!(began.elapsed() >= Duration::from_millis(5_900));
    assert_eq!(world.deliver_all().await, 1);
}

#[tokio::test]
async fn streams_have_places_of_their_own_and_leave_those_of_calls_alone() {
    let mut world = World::start().await;
    let client = world.client();
    let mut calls = Vec::new();
    for _ in 0..STREAMS_AT_ONCE_MAX {
        let mut call = CreateStream::begin(&client, header()).await;
        call.next().await.unwrap();
        calls.push(call);
    }
    const { assert!(STREAMS_AT_ONCE_MAX < CALLS_AT_ONCE_MAX) };
    let one_more = async || {
        let answer = client.clone();
        let messages = futures::stream::pending();
        let refused = { answer }.bulk_create_stream(messages).await;
        refused.map(drop)
    };
    let status = one_more().await.unwrap_err();
    assert!(status.get_details_retry_info().is_some());
    assert_eq!(reason(Err::<(), _>(status)), "OVERLOADED");
    // Permission comes first, and calls go on.
    let mut stranger = world.client_of("only-invitations:read");
    let denied = stranger.bulk_create_stream(futures::stream::pending());
    assert_eq!(reason(denied.await), "SCOPE_MISSING");
    world.invite(&["call@b.co"]).await;
    for call in &mut calls {
        call.send(stream_items("crowd", 0..1));
        assert_eq!(call.next().await.unwrap().unwrap().results.len(), 1);
    }
    drop(calls);
    let mut call = loop {
        match one_more().await {
            Ok(()) => break CreateStream::begin(&client, header()).await,
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    };
    call.next().await.unwrap();
    call.close();
    assert_eq!(world.deliver_all().await, 2);
}

/// A header for the real binary, whose one caller may do everything.
async fn sent(client: &InvitationClient, header: &Header, count: usize) -> CreateStream {
    let call = CreateStream::begin(client, header.clone()).await;
    call.send_by(250, &listed(0..count));
    call
}

/// People of whom every fourth is mailed: mails take longer than streams.
fn listed(numbers: Range<usize>) -> Vec<BulkCreateStreamItem> {
    let mut items = stream_items("deployment", numbers.clone());
    for (number, item) in numbers.zip(&mut items) {
        let is_mailed = number.is_multiple_of(MAILED_EVERY);
        item.invitation.as_mut().unwrap().notify = Some(is_mailed);
    }
    items
}

/// What is there in the end: each invited once, and mailed once.
async fn assert_everybody_once(deployment: &Deployment, count_of_people: usize) {
    let mut database = deployment.database.connect().await;
    assert_eq!(count(&mut database, "invitations").await, count_of_people);
    let sql = "(SELECT DISTINCT email_normalized FROM invitations) AS addresses";
    assert_eq!(count(&mut database, sql).await, count_of_people);
    let mails = count_of_people.div_ceil(MAILED_EVERY);
    assert_eq!(count(&mut database, "outbox").await, mails);
    let mut taken = 0;
    while taken < mails {
        wait_until("another mail", async || {
            deployment.relay.received_count() > taken
        })
        .await;
        taken = deployment.relay.received_count();
    }
    let mut readers: Vec<String> = deployment
        .relay
        .received()
        .iter()
        .map(|it| it.rcpt.clone())
        .collect();
    assert_eq!(readers.len(), mails);
    readers.sort();
    readers.dedup();
    assert_eq!(readers.len(), mails);
}

#[tokio::test]
async fn a_crash_in_mid_stream_costs_nobody_anything() {
    let deployment = Deployment::create().await;
    let people_count = CHUNK_ITEMS + 400;
    let header = resumable_header();
    let role = [("INVITATIONS_ROLE", "api")];
    let (running, channel) = deployment.serve_populated(&role).await;
    let mut call = sent(&deployment::client(&channel), &header, people_count).await;
    call.next().await.unwrap();
    let first = call.next().await.unwrap().unwrap();
    assert_eq!(first.results.len(), CHUNK_ITEMS);
    running.crash().await;
    while let Ok(Some(_)) = call.next().await {}

    let (_running, channel) = deployment.serve(&[]).await;
    let client = client(&channel, TOKEN);
    let answer = sent(&client, &header, people_count).await.end().await;
    let results = answer.results();
    assert_eq!(results.len(), people_count);
    let first: Vec<_> = first
        .results
        .iter()
        .map(|it| it.invitation.as_ref().unwrap().id.clone())
        .collect();
    assert_eq!(result_ids(&results)[..CHUNK_ITEMS], first);
    assert_everybody_once(&deployment, people_count).await;
}

#[tokio::test]
async fn an_orderly_end_lets_a_stream_end_its_chunk_and_says_that_it_may_go_on() {
    let deployment = Deployment::create().await;
    // Many, so that the end comes before they are done.
    let people_count = 8 * CHUNK_ITEMS;
    let header = resumable_header();
    let (mut running, channel) = deployment
        .serve_populated(&[("INVITATIONS_ROLE", "api")])
        .await;
    let client_of = |channel: &Channel| client(channel, TOKEN);
    let mut call = sent(&client_of(&channel), &header, people_count).await;
    call.next().await.unwrap();
    let mut next_index = call.next().await.unwrap().unwrap().next_index;
    running.terminate().await;
    let status = loop {
        match call.next().await {
            Ok(response) => next_index = response.unwrap().next_index,
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    assert_eq!(reason(Err::<(), _>(status)), "OVERLOADED");
    assert!(running.wait_for_exit().await.success());

    let (_running, channel) = deployment.serve(&[]).await;
    let header = Header {
        first_index: next_index,
        ..header
    };
    let mut call = CreateStream::begin(&client_of(&channel), header).await;
    // Nothing was done that was not told.
    assert_eq!(call.next().await.unwrap().unwrap().next_index, next_index);
    let done = usize::try_from(next_index).unwrap();
    assert!(done < people_count, "it came too late to be of use");
    call.send_by(250, &listed(done..people_count));
    call.close();
    while call.next().await.unwrap().is_some() {}
    assert_everybody_once(&deployment, people_count).await;
}

/// The most memory a process ever held, in KiB.
fn peak_kib(status: &str) -> usize {
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let amount = line.unwrap().split_whitespace().nth(1);
    amount.unwrap().parse().unwrap()
}

/// `STREAM_ITEMS` says how many; a million is what it is for, and takes minutes.
#[tokio::test]
async fn a_stream_of_any_length_takes_the_same_memory() {
    let count_of_people: usize = match std::env::var("STREAM_ITEMS") {
        Ok(number) => number.parse().unwrap(),
        Err(_) => 12 * CHUNK_ITEMS,
    };
    let deployment = Deployment::create().await;
    let (running, channel) = deployment
        .serve_populated(&[("INVITATIONS_ROLE", "api")])
        .await;
    let client = client(&channel, TOKEN);
    let part = count_of_people / 4;
    let mut call = CreateStream::begin(&client, resumable_header()).await;
    call.next().await.unwrap();
    let began = Instant::now();
    let mut peaks = Vec::new();
    let (mut sent, mut done) = (0, 0);
    while done < count_of_people {
        // A few chunks ahead of what came back, so that the test itself stays small.
        while sent < count_of_people && sent < done + 4 * CHUNK_ITEMS {
            let upto = (sent + 500).min(count_of_people);
            call.send(stream_items("many", sent..upto));
            sent = upto;
        }
        let response = call.next().await.unwrap().unwrap();
        done = usize::try_from(response.next_index).unwrap();
        if done >= part * (peaks.len() + 1) {
            peaks.push(peak_kib(&running.proc_status()));
        }
    }
    print_line(&format!(
        "{count_of_people} items in {:?}; VmHWM in KiB after each quarter: {peaks:?}",
        began.elapsed()
    ));
    let (first, last) = (peaks[0], peaks[peaks.len() - 1]);
    assert!(last < first + 24 * 1024, "{peaks:?}");
    assert!(
        send_all(&client, header(), 1, &stream_items("after", 0..1))
            .await
            .end
            .is_ok()
    );
}

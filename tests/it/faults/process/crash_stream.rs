//! Crashes and graceful shutdowns during a stream of items. The client sends the stream again and completes it.

use std::ops::Range;

use invitations::grpc::limits::CHUNK_ITEMS;
use invitations::proto::{BulkCreateStreamHeader, NewInvitation};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::support::deployment::Deployment;
use crate::support::streams::{CreateStream, result_ids, resumable_header, stream_items};
use crate::support::waiting::wait_until;
use crate::support::{InvitationClient, database, deployment, status_reason};

/// Every fourth person is sent an email, because sending takes longer than the stream.
const EMAIL_EVERY: usize = 4;

fn client(channel: &Channel) -> InvitationClient {
    deployment::client(channel).max_decoding_message_size(64 << 20)
}

fn items(numbers: Range<usize>) -> Vec<NewInvitation> {
    let mut items = stream_items("deployment", numbers.clone());
    for (number, item) in numbers.zip(&mut items) {
        let is_mailed = number.is_multiple_of(EMAIL_EVERY);
        item.notify = Some(is_mailed);
    }
    items
}

/// Begins a stream and sends all of its items.
async fn send(channel: &Channel, header: &BulkCreateStreamHeader, count: usize) -> CreateStream {
    let call = CreateStream::begin(&client(channel), header.clone()).await;
    call.send_by(250, &items(0..count));
    call
}

/// Asserts that each person was invited once and that each email was sent once.
async fn assert_each_invited_and_mailed_once(deployment: &Deployment, people_count: usize) {
    let mut database = deployment.database.connect().await;
    let mut count = async |from: &str| {
        let count = database::count(&mut database, from).await;
        usize::try_from(count).unwrap()
    };
    assert_eq!(count("invitations").await, people_count);
    let addresses = "(SELECT DISTINCT email_normalized FROM invitations) AS addresses";
    assert_eq!(count(addresses).await, people_count);
    let emails = people_count.div_ceil(EMAIL_EVERY);
    assert_eq!(count("outbox").await, emails);
    let mut received = 0;
    while received < emails {
        wait_until("another email", async || {
            deployment.relay.received_count() > received
        })
        .await;
        received = deployment.relay.received_count();
    }
    let messages = deployment.relay.received();
    let mut recipients: Vec<String> = messages.into_iter().map(|it| it.rcpt).collect();
    assert_eq!(recipients.len(), emails);
    recipients.sort();
    recipients.dedup();
    assert_eq!(recipients.len(), emails);
}

#[tokio::test]
async fn a_crash_during_a_stream_loses_and_duplicates_no_invitation() {
    let deployment = Deployment::create().await;
    let people_count = CHUNK_ITEMS + 400;
    let header = resumable_header();
    let (running, channel) = deployment
        .serve_populated(&[("INVITATIONS_ROLE", "api")])
        .await;
    let mut call = send(&channel, &header, people_count).await;
    call.next().await.unwrap();
    let first = call.next().await.unwrap().unwrap();
    assert_eq!(first.results.len(), CHUNK_ITEMS);
    assert!(first.results.iter().all(|it| it.invitation.is_some()));
    running.crash().await;
    while let Ok(Some(_)) = call.next().await {}

    let (_running, channel) = deployment.serve(&[]).await;
    let answer = send(&channel, &header, people_count).await.end().await;
    let results = answer.results();
    assert_eq!(results.len(), people_count);
    assert_eq!(
        result_ids(&results)[..CHUNK_ITEMS],
        result_ids(&first.results)
    );
    assert_each_invited_and_mailed_once(&deployment, people_count).await;
}

#[tokio::test]
async fn a_graceful_shutdown_finishes_the_chunk_of_a_stream_and_asks_the_client_to_resume() {
    let deployment = Deployment::create().await;
    // So many that the shutdown begins before the stream is complete.
    let people_count = 8 * CHUNK_ITEMS;
    let header = resumable_header();
    let (mut running, channel) = deployment
        .serve_populated(&[("INVITATIONS_ROLE", "api")])
        .await;
    let mut call = send(&channel, &header, people_count).await;
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
    assert_eq!(status_reason(&status), "OVERLOADED");
    assert!(running.wait_for_exit().await.success());

    let (_running, channel) = deployment.serve(&[]).await;
    let header = BulkCreateStreamHeader {
        first_index: next_index,
        ..header
    };
    let mut call = CreateStream::begin(&client(&channel), header).await;
    // The first server committed nothing beyond its last response.
    assert_eq!(call.next().await.unwrap().unwrap().next_index, next_index);
    let done = usize::try_from(next_index).unwrap();
    assert!(done < people_count, "the shutdown came too late");
    call.send_by(250, &items(done..people_count));
    call.close();
    while call.next().await.unwrap().is_some() {}
    assert_each_invited_and_mailed_once(&deployment, people_count).await;
}

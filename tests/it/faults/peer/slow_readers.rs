//! A client that sends a stream and does not read its results.

use std::time::Duration;

use invitations::grpc::limits::{CHUNK_ITEMS, CONNECTION_WINDOW_BYTES};
use invitations::proto::invitation_service_client::InvitationServiceClient;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic::transport::Endpoint;

use crate::support::callers::caller_channel;
use crate::support::streams::{CreateStream, header, stream_items};
use crate::support::waiting::{WAIT_MAX, wait_until};
use crate::support::{UNKNOWN_ID, World, get_request};

#[tokio::test]
async fn a_client_that_does_not_read_results_gets_few_chunks_created_and_blocks_no_other_call() {
    let mut world = World::start().await;
    world.may_leave_mail();
    // A small window, so that few results are sent before the client must read them.
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address())).unwrap();
    let endpoint = endpoint.initial_stream_window_size(64 * 1024);
    let channel = endpoint.connect().await.unwrap();
    let client = InvitationServiceClient::new(caller_channel(&channel, "all"))
        .max_decoding_message_size(64 << 20);
    let mut items = stream_items("slow", 0..20_000);
    for item in &mut items {
        item.message = "Come and see what we made of it.".to_owned();
    }
    let bytes: usize = items.iter().map(prost::Message::encoded_len).sum();
    assert!(bytes > usize::try_from(CONNECTION_WINDOW_BYTES).unwrap());
    let mut call = CreateStream::begin(&client, header()).await;
    call.send_by(500, &items);

    wait_until("the first chunk", async || {
        world.count("invitations").await > 0
    })
    .await;
    let (mut created, mut changed_at) = (0, Instant::now());
    while changed_at.elapsed() < Duration::from_secs(3) {
        let now = world.count("invitations").await;
        if now != created {
            (created, changed_at) = (now, Instant::now());
        }
        sleep(Duration::from_millis(50)).await;
    }
    // One chunk is being sent, one waits, and one cannot be passed on.
    let created = usize::try_from(created).unwrap();
    assert!((1..=4 * CHUNK_ITEMS).contains(&created), "{created}");
    // Other calls over the same connection are answered.
    let get = get_request(UNKNOWN_ID);
    let answer = timeout(WAIT_MAX, client.clone().get(get)).await.unwrap();
    assert_eq!(answer.err().map(|it| it.code()), Some(Code::NotFound));

    call.close();
    let answer = call.end().await;
    let results = answer.results();
    assert_eq!(results.len(), items.len());
    for (result, item) in results.iter().zip(&items) {
        assert_eq!(result.key, item.key);
    }
    let created = world.count("invitations").await;
    assert_eq!(usize::try_from(created).unwrap(), items.len());
}

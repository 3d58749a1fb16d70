//! Streams that are sent again: the results of completed items are returned again, and the other items are created,
//! wherever chunks begin.

use std::time::Duration;

use futures::future::join_all;
use invitations::grpc::limits::CHUNK_ITEMS;
use invitations::proto::{
    BulkCreateStreamHeader as Header, CreateOutcome, CreateResult, NewInvitation, OnExisting,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::timeout;

use crate::support::streams::{
    CreateStream, StreamResponses, result_ids, resumable_header, send_all, stream_item,
    stream_items,
};
use crate::support::{InvitationClient, World, invite_request, reason};

/// The number of streams that are interrupted and sent again until they are complete.
const ROUNDS: usize = 30;

/// The header of a stream that continues at an index.
fn resume_from(header: &Header, first_index: usize) -> Header {
    Header {
        first_index: i64::try_from(first_index).unwrap(),
        ..header.clone()
    }
}

/// Sends items in chunks of these sizes.
async fn send_in_chunks(
    client: &InvitationClient,
    header: Header,
    sizes: &[usize],
    items: &[NewInvitation],
) {
    let mut call = CreateStream::begin(client, header).await;
    call.next().await.unwrap();
    let mut rest = items;
    for size in sizes {
        let (chunk, others) = rest.split_at(*size);
        call.send(chunk.to_vec());
        assert_eq!(call.next().await.unwrap().unwrap().results.len(), *size);
        rest = others;
    }
    assert!(call.end().await.end.is_ok());
}

#[tokio::test]
async fn a_stream_resumes_from_any_index_and_invites_no_one_twice() {
    let mut world = World::start().await;
    let client = world.client();
    let header = resumable_header();
    let items = stream_items("again", 0..40);
    send_in_chunks(&client, header.clone(), &[3, 1, 7, 9], &items[..20]).await;
    assert_eq!(world.deliver_all().await, 20);
    let first = send_all(&client, header.clone(), 50, &items[..20]).await;
    assert_eq!(first.responses[0].next_index, 20);
    let before = result_ids(&first.results());
    // The middle of a chunk, its ends, several chunks, and the end of the completed items.
    for (begin, end) in [(0, 20), (2, 3), (3, 4), (5, 13), (19, 20), (20, 20)] {
        let answer = send_all(&client, resume_from(&header, begin), 50, &items[begin..end]).await;
        assert_eq!(answer.responses[0].batch_id, first.responses[0].batch_id);
        let results = answer.results();
        assert_eq!(result_ids(&results), before[begin..end]);
        let indexes = results.iter().map(|result| result.index);
        assert!(indexes.eq((begin..end).map(|index| i64::try_from(index).unwrap())));
    }
    let over = send_all(&client, resume_from(&header, 15), 50, &items[15..30]).await;
    assert_eq!(over.sizes(), [0, 15], "old and new items in one chunk");
    assert_eq!(result_ids(&over.results())[..5], before[15..]);
    let rest = send_all(&client, resume_from(&header, 30), 4, &items[30..]).await;
    assert_eq!(rest.responses[0].next_index, 30);
    assert_eq!(rest.results().len(), 10);
    assert_eq!(world.deliver_all().await, 20, "an email was sent again");

    let too_far = send_all(&client, resume_from(&header, 41), 4, &items[..1]).await;
    assert_eq!(reason(too_far.end), "FIELD_INVALID");
    assert_eq!(world.count("invitations").await, 40);
    assert_eq!(world.count("batches").await, 1);
    // Repeated items are not audited again.
    let events = world
        .count("audit_events WHERE action = 'bulk_create'")
        .await;
    assert_eq!(events, 4 + 1 + 1);
}

#[tokio::test]
async fn a_repeated_stream_returns_the_stored_results_after_invitations_changed() {
    let mut world = World::start().await;
    let client = world.client();
    let header = resumable_header();
    let mut items = stream_items("answered", 0..6);
    items[3] = stream_item("person1@answered.example", 3);
    items[4] = stream_item("broken", 4);
    items[5] = stream_item("person0@answered.example", 5);
    // An error message may change, so only its reason and its metadata are compared.
    let comparable = |answer: StreamResponses| {
        let results = answer.results().into_iter();
        let comparable = results.map(|result| {
            let error = result.error.map(|error| (error.reason, error.metadata));
            (
                result.index,
                result.key,
                result.outcome,
                result.invitation,
                error,
            )
        });
        comparable.collect::<Vec<_>>()
    };
    // The last item repeats the first one in another chunk, so it fails as already invited.
    send_in_chunks(&client, header.clone(), &[5, 1], &items).await;
    let answer = send_all(&client, header.clone(), 50, &items).await;
    let before = comparable(answer);
    let metadata = &before[3].4.as_ref().unwrap().1;
    assert_eq!(metadata["first_index"], "1");
    let known = before[5].3.as_ref().unwrap();
    assert_eq!(known.id, before[0].3.as_ref().unwrap().id);
    world.deliver_all().await;
    let token = world.mail_to("person0@answered.example").token();
    let accepted = world
        .accept(&token, "new", "person0@answered.example")
        .await;
    accepted.unwrap();
    let after = comparable(send_all(&client, header, 2, &items).await);
    assert!(before == after);
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn concurrent_copies_of_a_stream_produce_one_batch() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let client = world.client();
    let header = resumable_header();
    let items = stream_items("concurrent", 0..2 * CHUNK_ITEMS + 300);
    let sizes = [1_000, 333, 70];
    let calls = sizes.map(|size| send_all(&client, header.clone(), size, &items));
    let answers = join_all(calls).await;
    let first = result_ids(&answers[0].results());
    for answer in &answers {
        assert_eq!(
            answer.responses[0].batch_id,
            answers[0].responses[0].batch_id
        );
        assert_eq!(result_ids(&answer.results()), first);
    }
    let all = i64::try_from(items.len()).unwrap();
    assert_eq!(world.count("invitations").await, all);
    assert_eq!(world.count("outbox").await, all);
    let item_count: i64 = sqlx::query_scalar("SELECT item_count FROM batches")
        .fetch_one(&mut world.database().await)
        .await
        .unwrap();
    assert_eq!(item_count, all);
}

#[tokio::test]
async fn a_stream_request_id_is_bound_to_one_header_and_each_index_to_one_item() {
    let mut world = World::start().await;
    let client = world.client();
    let header = resumable_header();
    let items = stream_items("own", 0..10);
    send_in_chunks(&client, header.clone(), &[4, 6], &items).await;
    let other = Header {
        on_existing: OnExisting::Return.into(),
        ..header.clone()
    };
    let answer = send_all(&client, other, 10, &items).await;
    assert_eq!(reason(answer.end), "REQUEST_ID_REUSED");
    for changed in [
        stream_item("other@own.example", 6),
        stream_item("person6@own.example", 7),
    ] {
        let mut others = items.clone();
        others[6] = changed;
        let answer = send_all(&client, resume_from(&header, 5), 10, &others[5..]).await;
        assert_eq!(reason(answer.end), "REQUEST_ID_REUSED");
        let answer = send_all(&client, header.clone(), 10, &others[..6]).await;
        assert_eq!(answer.results().len(), 6, "earlier items are unchanged");
    }
    // The request id is separate for each caller and each method.
    let others = send_all(&world.client_of("acme-only"), header.clone(), 10, &items).await;
    assert_ne!(others.responses[0].batch_id, "");
    assert_eq!(others.responses[0].next_index, 0);
    let mut request = invite_request(&["call@own.example"]);
    request.request_id = header.request_id.clone();
    world.bulk_create(request).await;
    world.deliver_all().await;
}

#[tokio::test]
async fn a_stream_can_be_resumed_for_24_hours() {
    let mut world = World::start().await;
    let client = world.client();
    let header = resumable_header();
    let items = stream_items("day", 0..3);
    let first = send_all(&client, header.clone(), 10, &items).await;
    world.deliver_all().await;
    world.clock.advance(time::Duration::hours(24));
    // The stream has expired before the sweep.
    let again = send_all(&client, header.clone(), 10, &items).await;
    assert_eq!(again.responses[0].next_index, 0);
    assert_ne!(again.responses[0].batch_id, first.responses[0].batch_id);
    assert!(again.results().iter().all(|it| it.error.is_some()));
    world.service.sweep().await.unwrap();
    assert_eq!(world.count("stream_chunks").await, 2);
    // Chunks are kept longer than their request id, because a stream may begin just before its request id expires.
    world.clock.advance(time::Duration::hours(2));
    world.service.sweep().await.unwrap();
    assert_eq!(world.count("stream_chunks").await, 1);
    world.clock.advance(time::Duration::hours(24));
    world.service.sweep().await.unwrap();
    assert_eq!(world.count("stream_chunks").await, 0);
    assert_eq!(world.count("idempotency_keys").await, 0);
}

#[tokio::test]
async fn a_repeated_stream_resends_each_email_once() {
    let mut world = World::start().await;
    world
        .invite(&["person0@twice.example", "person1@twice.example"])
        .await;
    world.deliver_all().await;
    let header = Header {
        on_existing: OnExisting::Resend.into(),
        ..resumable_header()
    };
    let items = stream_items("twice", 0..3);
    for expected in [3, 0, 0] {
        let answer = send_all(&world.client(), header.clone(), 2, &items).await;
        let results = answer.results();
        let is_resent = |it: &&CreateResult| it.outcome() == CreateOutcome::Resent;
        assert_eq!(results.iter().filter(is_resent).count(), 2);
        assert_eq!(world.deliver_all().await, expected);
    }
    assert_eq!(world.mailbox().len(), 2 + 3);
}

/// Sends items in messages of random sizes.
fn send_in_random_messages(
    stream: &CreateStream,
    mut items: &[NewInvitation],
    random: &mut StdRng,
) {
    while !items.is_empty() {
        let size = random.random_range(1..=items.len().min(500));
        let (message, rest) = items.split_at(size);
        stream.send(message.to_vec());
        items = rest;
    }
}

/// Sends one stream, interrupts it four times and completes it. The client resumes from an index of its choice: the
/// beginning, the last index that it has seen, or one between them.
async fn interrupt_and_resume(client: &InvitationClient, round: usize, random: &mut StdRng) {
    let header = resumable_header();
    let count = random.random_range(1..2 * CHUNK_ITEMS);
    let items = stream_items(&format!("round{round}"), 0..count);
    let mut next_index = 0;
    for _ in 0..4 {
        let first = random_resume_index(next_index, random);
        let end = random.random_range(first..=count);
        let mut stream = CreateStream::begin(client, resume_from(&header, first)).await;
        send_in_random_messages(&stream, &items[first..end], random);
        for _ in 0..random.random_range(0..3) {
            // The server sends nothing while it waits for more items, so the client waits for a short time only.
            let patience = Duration::from_millis(random.random_range(1..400));
            let Ok(response) = timeout(patience, stream.next()).await else {
                break;
            };
            let Some(response) = response.unwrap() else {
                break;
            };
            next_index = next_index.max(usize::try_from(response.next_index).unwrap());
        }
        // Dropping the stream resets it.
    }
    let first = random_resume_index(next_index, random);
    let mut stream = CreateStream::begin(client, resume_from(&header, first)).await;
    send_in_random_messages(&stream, &items[first..], random);
    stream.close();
    while let Some(response) = stream.next().await.unwrap() {
        next_index = next_index.max(usize::try_from(response.next_index).unwrap());
    }
    assert_eq!(next_index, count);
}

fn random_resume_index(next_index: usize, random: &mut StdRng) -> usize {
    match random.random_range(0..3) {
        0 => 0,
        1 => next_index,
        _ => random.random_range(0..=next_index),
    }
}

#[tokio::test]
async fn interrupted_streams_invite_each_person_once() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let client = world.client();
    let mut random = StdRng::seed_from_u64(7265);
    for round in 0..ROUNDS {
        interrupt_and_resume(&client, round, &mut random).await;
    }
    let (rows, addresses, mails, done): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT email_normalized), (SELECT count(*) FROM outbox),
                (SELECT sum(item_count)::bigint FROM batches)
           FROM invitations",
    )
    .fetch_one(&mut world.database().await)
    .await
    .unwrap();
    assert_eq!((rows, mails, done), (addresses, addresses, addresses));
    let rounds = i64::try_from(ROUNDS).unwrap();
    assert_eq!(world.count("batches").await, rounds);
    // The chunks of a stream follow each other without a gap.
    let gaps = "(SELECT first_index - lag(next_index, 1, 0::bigint)
                   OVER (PARTITION BY batch_id ORDER BY first_index) AS gap FROM stream_chunks) AS gaps WHERE gap <> 0";
    assert_eq!(world.count(gaps).await, 0);
}

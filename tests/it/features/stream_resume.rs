//! Streams that are sent again: what was done answers as it did, and what was not done is done, wherever chunks begin.

use futures::future::join_all;
use invitations::grpc::limits::CHUNK_ITEMS;
use invitations::proto::{BulkCreateStreamHeader as Header, BulkCreateStreamItem, OnExisting};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgConnection;
use time::Duration;

use crate::support::streams::{
    CreateStream, result_ids, resumable_header, send_all, stream_item, stream_items,
};
use crate::support::{InvitationClient, World, reason};

/// Streams that are cut off and sent again until they are done.
const ROUNDS: usize = 30;

fn from(header: &Header, first_index: usize) -> Header {
    Header {
        first_index: i64::try_from(first_index).unwrap(),
        ..header.clone()
    }
}

async fn count(database: &mut PgConnection, table: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM {table}");
    sqlx::query_scalar(sqlx::AssertSqlSafe(statement))
        .fetch_one(database)
        .await
        .unwrap()
}

/// Sends items so that each of these numbers of them is a chunk.
async fn send_in_chunks(
    client: &InvitationClient,
    header: Header,
    sizes: &[usize],
    items: &[BulkCreateStreamItem],
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
async fn a_stream_goes_on_from_anywhere_and_nobody_is_invited_twice() {
    let mut world = World::start().await;
    let client = world.client();
    let header = resumable_header();
    let items = stream_items("again", 0..40);
    send_in_chunks(&client, header.clone(), &[3, 1, 7, 9], &items[..20]).await;
    assert_eq!(world.deliver_all().await, 20);
    let first = send_all(&client, header.clone(), 50, &items[..20]).await;
    assert_eq!(first.responses[0].next_index, 20);
    let before = result_ids(&first.results());
    // The middle of a chunk, its ends, over the end of what was done, and what nothing is left of.
    for (begin, end) in [(0, 20), (2, 3), (3, 4), (5, 13), (19, 20), (20, 20)] {
        let answer = send_all(&client, from(&header, begin), 50, &items[begin..end]).await;
        assert_eq!(answer.responses[0].batch_id, first.responses[0].batch_id);
        let results = answer.results();
        assert_eq!(result_ids(&results), before[begin..end]);
        let indexes = results.iter().map(|result| result.index);
        assert!(indexes.eq((begin..end).map(|index| i64::try_from(index).unwrap())));
    }
    let over = send_all(&client, from(&header, 15), 50, &items[15..30]).await;
    assert_eq!(over.sizes(), [0, 15], "old and new in one chunk");
    assert_eq!(result_ids(&over.results())[..5], before[15..]);
    let rest = send_all(&client, from(&header, 30), 4, &items[30..]).await;
    assert_eq!(rest.responses[0].next_index, 30);
    assert_eq!(rest.results().len(), 10);
    assert_eq!(
        world.deliver_all().await,
        20,
        "the others were mailed before"
    );

    let too_far = send_all(&client, from(&header, 41), 4, &items[..1]).await;
    assert_eq!(reason(too_far.end), "FIELD_INVALID");
    let mut database = world.database().await;
    assert_eq!(count(&mut database, "invitations").await, 40);
    assert_eq!(count(&mut database, "batches").await, 1);
    // Whatever is repeated is nobody's act.
    let events = count(&mut database, "audit_events WHERE action = 'bulk_create'").await;
    assert_eq!(events, 4 + 1 + 1);
}

#[tokio::test]
async fn what_was_answered_is_answered_again_whatever_happened_since() {
    let mut world = World::start().await;
    let client = world.client();
    let header = resumable_header();
    let mut items = stream_items("told", 0..6);
    items[3] = stream_item("person1@told.example", 3);
    items[4] = stream_item("broken", 4);
    items[5] = stream_item("person0@told.example", 5);
    let told = |answer: crate::support::streams::StreamResponses| {
        let results = answer.results();
        let mut told = Vec::new();
        for result in results {
            let error = result.error.map(|error| (error.reason, error.metadata));
            told.push((
                result.index,
                result.key,
                result.outcome,
                result.invitation,
                error,
            ));
        }
        told
    };
    // The one that stands twice is in another chunk, so that it is found as invited.
    send_in_chunks(&client, header.clone(), &[5, 1], &items).await;
    let answer = send_all(&client, header.clone(), 50, &items).await;
    let before = told(answer);
    let metadata = &before[3].4.as_ref().unwrap().1;
    assert_eq!(metadata["first_index"], "1");
    let known = before[5].3.as_ref().unwrap();
    assert_eq!(known.id, before[0].3.as_ref().unwrap().id);
    world.deliver_all().await;
    let token = world.mail_to("person0@told.example").token();
    let accepted = world.accept(&token, "new", "person0@told.example").await;
    accepted.unwrap();
    let after = told(send_all(&client, header, 2, &items).await);
    assert!(before == after);
    assert_eq!(world.deliver_all().await, 0);
}

#[tokio::test]
async fn twins_take_turns_and_are_one_stream() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let client = world.client();
    let header = resumable_header();
    let items = stream_items("twin", 0..2 * CHUNK_ITEMS + 300);
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
    let mut database = world.database().await;
    let all = i64::try_from(items.len()).unwrap();
    assert_eq!(count(&mut database, "invitations").await, all);
    assert_eq!(count(&mut database, "outbox").await, all);
    let done: i64 = sqlx::query_scalar("SELECT item_count FROM batches")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(done, all);
}

#[tokio::test]
async fn an_id_belongs_to_one_header_and_each_place_to_one_item() {
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
        let answer = send_all(&client, from(&header, 5), 10, &others[5..]).await;
        assert_eq!(reason(answer.end), "REQUEST_ID_REUSED");
        let answer = send_all(&client, header.clone(), 10, &others[..6]).await;
        assert_eq!(answer.results().len(), 6, "those before are the same");
    }
    // It is this caller's, and of this method.
    let others = send_all(&world.client_of("acme-only"), header.clone(), 10, &items).await;
    assert_ne!(others.responses[0].batch_id, "");
    assert_eq!(others.responses[0].next_index, 0);
    let mut request = crate::support::invite_request(&["call@own.example"]);
    request.request_id = header.request_id.clone();
    assert!(client.clone().bulk_create(request).await.is_ok());
    world.deliver_all().await;
}

#[tokio::test]
async fn a_stream_is_forgotten_after_a_day() {
    let mut world = World::start().await;
    let client = world.client();
    let header = resumable_header();
    let items = stream_items("day", 0..3);
    let first = send_all(&client, header.clone(), 10, &items).await;
    world.deliver_all().await;
    world.clock.advance(Duration::hours(24));
    // Before the sweeper has come, too.
    let again = send_all(&client, header.clone(), 10, &items).await;
    assert_eq!(again.responses[0].next_index, 0);
    assert_ne!(again.responses[0].batch_id, first.responses[0].batch_id);
    let is_known = |answer: &crate::support::streams::StreamResponses| {
        let results = answer.results();
        results.iter().all(|it| it.error.is_some())
    };
    assert!(is_known(&again));
    let mut database = world.database().await;
    world.service.sweep().await.unwrap();
    assert_eq!(count(&mut database, "stream_chunks").await, 2);
    // Later than the request id, of which a stream may have made use in its last minute.
    world.clock.advance(Duration::hours(2));
    world.service.sweep().await.unwrap();
    assert_eq!(count(&mut database, "stream_chunks").await, 1);
    world.clock.advance(Duration::hours(24));
    world.service.sweep().await.unwrap();
    let left = (
        count(&mut database, "stream_chunks").await,
        count(&mut database, "idempotency_keys").await,
    );
    assert_eq!(left, (0, 0));
}

#[tokio::test]
async fn mails_that_a_stream_sent_again_are_sent_again_once() {
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
        let resent = answer.results();
        let resent = resent
            .iter()
            .filter(|it| it.outcome() == invitations::proto::CreateOutcome::Resent);
        assert_eq!(resent.count(), 2);
        assert_eq!(world.deliver_all().await, expected);
    }
    assert_eq!(world.mailbox().len(), 2 + 3);
}

/// One stream that is cut off again and again, by a client that remembers more or less of it.
async fn cut_and_go_on(client: &InvitationClient, round: usize, random: &mut StdRng) {
    let header = resumable_header();
    let count = random.random_range(1..2 * CHUNK_ITEMS);
    let items = stream_items(&format!("round{round}"), 0..count);
    let mut known = 0;
    for attempt in 0.. {
        let first = match random.random_range(0..3) {
            0 => 0,
            1 => known,
            _ => random.random_range(0..=known),
        };
        let is_last = attempt >= 4;
        let cut = if is_last {
            count
        } else {
            random.random_range(first..=count)
        };
        let mut call = CreateStream::begin(client, from(&header, first)).await;
        let mut rest = &items[first..cut];
        while !rest.is_empty() {
            let size = random.random_range(1..=rest.len().min(500));
            let (message, others) = rest.split_at(size);
            call.send(message.to_vec());
            rest = others;
        }
        if is_last {
            call.close();
        }
        let reads = random.random_range(0..3);
        let mut responses = 0;
        while is_last || responses < reads {
            // What is open and has nothing to say says nothing.
            let patience = std::time::Duration::from_millis(random.random_range(1..400));
            let next = if is_last {
                call.next().await
            } else {
                match tokio::time::timeout(patience, call.next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                }
            };
            let Some(response) = next.unwrap() else { break };
            responses += 1;
            let next_index = usize::try_from(response.next_index).unwrap();
            known = known.max(next_index);
        }
        // Dropped wherever it is: its stream is reset.
        if is_last {
            assert_eq!(known, count);
            return;
        }
    }
}

#[tokio::test]
async fn streams_that_are_cut_off_anywhere_invite_everybody_once() {
    let mut world = World::start().await;
    world.may_leave_mail();
    let client = world.client();
    let mut random = StdRng::seed_from_u64(7265);
    for round in 0..ROUNDS {
        cut_and_go_on(&client, round, &mut random).await;
    }
    let mut database = world.database().await;
    let (rows, addresses, mails, done): (i64, i64, i64, i64) = sqlx::query_as(
        "SELECT count(*), count(DISTINCT email_normalized), (SELECT count(*) FROM outbox),
                (SELECT sum(item_count)::bigint FROM batches)
           FROM invitations",
    )
    .fetch_one(&mut database)
    .await
    .unwrap();
    assert_eq!((rows, mails, done), (addresses, addresses, addresses));
    let rounds = i64::try_from(ROUNDS).unwrap();
    assert_eq!(count(&mut database, "batches").await, rounds);
    // Chunks of a stream follow each other without a gap.
    let gaps = "(SELECT first_index - lag(next_index, 1, 0::bigint)
                   OVER (PARTITION BY batch_id ORDER BY first_index) AS gap FROM stream_chunks) AS gaps WHERE gap <> 0";
    assert_eq!(count(&mut database, gaps).await, 0);
}

use std::time::Duration;

use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;
use tonic_types::StatusExt as _;

use super::*;

type Messages = BoxStream<'static, Result<Request, Status>>;

fn item(bytes: usize) -> Item {
    Item {
        message: "x".repeat(bytes),
        ..Default::default()
    }
}

fn message(count: usize) -> Request {
    Request {
        header: None,
        invitations: vec![item(1); count],
    }
}

fn first(count: usize) -> Request {
    Request {
        header: Some(Header::default()),
        ..message(count)
    }
}

fn all(messages: impl IntoIterator<Item = Request>) -> Messages {
    let messages: Vec<_> = messages.into_iter().map(Ok).collect();
    stream::iter(messages).boxed()
}

/// A stream that continues for as long as its sender lives.
fn open() -> (mpsc::UnboundedSender<Result<Request, Status>>, Messages) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let messages = stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    (sender, messages.boxed())
}

/// How many items each chunk has, and how it ends.
async fn sizes(messages: Messages) -> (Vec<usize>, Option<String>) {
    let mut chunks = Chunks::new(messages);
    if let Err(status) = chunks.header().await {
        return (Vec::new(), Some(reason(&status)));
    }
    let mut sizes = Vec::new();
    loop {
        match chunks.next().await {
            Ok(Some(items)) => sizes.push(items.len()),
            Ok(None) => return (sizes, None),
            Err(status) => return (sizes, Some(reason(&status))),
        }
    }
}

fn reason(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().unwrap().reason.clone()
}

#[tokio::test]
async fn chunks_are_cut_by_items_wherever_messages_end() {
    let read = async |messages: Vec<usize>| {
        let mut messages = messages.into_iter();
        let first = first(messages.next().unwrap());
        let (sizes, end) = sizes(all([first].into_iter().chain(messages.map(message)))).await;
        assert_eq!(end, None);
        sizes
    };
    assert_eq!(read(vec![0]).await, [0; 0]);
    assert_eq!(read(vec![1]).await, [1]);
    assert_eq!(read(vec![0, 1, 2]).await, [3]);
    assert_eq!(read(vec![CHUNK_ITEMS]).await, [CHUNK_ITEMS]);
    assert_eq!(read(vec![CHUNK_ITEMS, 1]).await, [CHUNK_ITEMS, 1]);
    assert_eq!(read(vec![CHUNK_ITEMS - 1, 3]).await, [CHUNK_ITEMS, 2]);
    let many = read(vec![ITEMS_MAX, ITEMS_MAX]).await;
    assert_eq!(many, vec![CHUNK_ITEMS; 2 * ITEMS_MAX / CHUNK_ITEMS]);
}

#[tokio::test]
async fn chunks_are_cut_by_bytes_and_never_empty() {
    let third = CHUNK_BYTES_MAX / 3;
    let items = [third, third, third, CHUNK_BYTES_MAX * 2, 1];
    let messages = [
        first(0),
        Request {
            header: None,
            invitations: items.into_iter().map(item).collect(),
        },
    ];
    assert_eq!(sizes(all(messages)).await.0, [2, 1, 1, 1]);
}

#[tokio::test]
async fn what_is_out_of_place_ends_the_stream() {
    let malformed = Some("STREAM_MALFORMED".to_owned());
    for (messages, expected) in [
        (vec![], malformed.clone()),
        (vec![message(1)], malformed.clone()),
        (vec![Request::default()], malformed.clone()),
        (vec![first(1), first(1)], malformed.clone()),
        (vec![first(0), Request::default()], malformed),
        (
            vec![first(ITEMS_MAX + 1)],
            Some("TOO_MANY_ITEMS".to_owned()),
        ),
        (
            vec![first(1), message(ITEMS_MAX + 1)],
            Some("TOO_MANY_ITEMS".to_owned()),
        ),
    ] {
        assert_eq!(sizes(all(messages)).await, (Vec::new(), expected));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_its_senders_fault() {
    let cut = Status::internal("Unexpected EOF decoding stream.");
    let messages = stream::iter([Ok(first(1)), Err(cut)]).boxed();
    let read = sizes(messages).await;
    assert_eq!(read, (Vec::new(), Some("REQUEST_MALFORMED".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_chunk_ends_when_its_sender_pauses_and_when_it_gets_old() {
    let (sender, messages) = open();
    let mut chunks = Chunks::new(messages);
    sender.send(Ok(first(2))).unwrap();
    chunks.header().await.unwrap();
    let began = Instant::now();
    assert_eq!(chunks.next().await.unwrap().unwrap().len(), 2);
    assert_eq!(began.elapsed(), CHUNK_LINGER);

    let dripping = async {
        loop {
            sender.send(Ok(message(1))).unwrap();
            tokio::time::sleep(CHUNK_LINGER / 2).await;
        }
    };
    let began = Instant::now();
    let made = tokio::select! {
        chunk = chunks.next() => chunk.unwrap().unwrap().len(),
        () = dripping => unreachable!(),
    };
    assert_eq!(began.elapsed(), CHUNK_AGE_MAX);
    let expected = CHUNK_AGE_MAX.as_millis() / (CHUNK_LINGER / 2).as_millis();
    assert!((made as u128).abs_diff(expected) <= 1, "{made}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_its_sender_is_silent_for_long() {
    let of_header = (vec![], STREAM_HEADER_TIMEOUT);
    let of_items = [vec![first(0)], vec![first(1)]].map(|before| (before, STREAM_IDLE_MAX));
    for (before, silence_max) in [of_header].into_iter().chain(of_items) {
        let (sender, messages) = open();
        for message in before {
            sender.send(Ok(message)).unwrap();
        }
        let began = Instant::now();
        let (_, end) = sizes(messages).await;
        assert_eq!(end.as_deref(), Some("DEADLINE_EXCEEDED"));
        assert!(began.elapsed() >= silence_max);
        assert!(began.elapsed() <= silence_max + Duration::from_secs(1));
    }
}

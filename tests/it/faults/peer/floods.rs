//! Peers that flood a server process with frames, connections or slow bodies. Each flood ends as intended, and other
//! callers are answered meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use invitations::grpc::limits::{CONCURRENT_STREAMS_MAX, CONNECTIONS_MAX, LOCAL_ERROR_RESETS_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::background_calls::{print_line, with_background_calls};
use crate::support::deployment::{Deployment, TOKEN, is_serving};
use crate::support::http_port::http_address;
use crate::support::http2::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, GOAWAY, HEADERS,
    Http2Connection, NO_FLAGS, PREFACE, REFUSED_STREAM, RST_STREAM, code, frame, header_block,
    header_frames,
};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{http_server, raw_grpc};

const LIST: &str = "/invitation.v1.InvitationService/List";
/// How many streams a flood opens.
const STREAMS: u32 = 20_000;
const SOCKETS: usize = 5_000;

/// Starts a server with both ports, as in production.
async fn start() -> (Deployment, ServerProcess) {
    // The test opens one end of every socket. The server process inherits the limit for the other end.
    let files = rlimit::increase_nofile_limit(16_384).unwrap();
    assert!(
        files >= 12_000,
        "{files} open files are too few for these tests; see ulimit -Hn"
    );
    let deployment = Deployment::create().await;
    let settings = [
        ("INVITATIONS_HTTP_LISTEN", "127.0.0.1:0"),
        ("INVITATIONS_ROLE", "api"),
    ];
    let (running, _) = deployment.serve_populated(&settings).await;
    (deployment, running)
}

fn address(running: &ServerProcess) -> SocketAddr {
    running.address().parse().unwrap()
}

/// Returns the error code of the GOAWAY frame, and how many streams were reset.
fn goaway_and_resets(frames: &[Frame]) -> (Option<u32>, usize) {
    let goaway = frames.iter().find(|frame| frame.kind == GOAWAY);
    let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
    (goaway.map(code), resets.count())
}

/// The numbers of `count` streams of a client, which are odd.
fn stream_numbers(count: u32) -> impl Iterator<Item = u32> {
    (1..2 * count).step_by(2)
}

/// Opens streams and resets each at once. Returns how many were sent before the connection ended.
async fn reset_streams(to: SocketAddr) -> usize {
    let mut peer = Http2Connection::connect(to).await;
    let mut sent = 0;
    for stream in stream_numbers(STREAMS) {
        let opened = frame(HEADERS, END_HEADERS, stream, &header_block(LIST, &[]));
        let reset = frame(RST_STREAM, NO_FLAGS, stream, &CANCEL.to_be_bytes());
        if !peer.send(&[opened, reset].concat()).await {
            break;
        }
        sent += 1;
    }
    sent
}

/// Opens streams with malformed headers, which the server must reset.
async fn open_malformed_streams(to: SocketAddr) -> Vec<Frame> {
    let mut peer = Http2Connection::connect(to).await;
    let head = header_block(LIST, &[("connection", "close")]);
    for stream in stream_numbers(STREAMS) {
        let opened = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        if !peer.send(&opened).await {
            break;
        }
    }
    peer.rest().await
}

/// Sends request headers that do not end.
async fn send_endless_headers(to: SocketAddr) -> Vec<Frame> {
    let mut peer = Http2Connection::connect(to).await;
    peer.send(&frame(HEADERS, NO_FLAGS, 1, &header_block(LIST, &[])))
        .await;
    for number in 0..10_000 {
        let more = header_block(LIST, &[("x", &number.to_string())]).split_off(60);
        if !peer.send(&frame(CONTINUATION, NO_FLAGS, 1, &more)).await {
            break;
        }
    }
    peer.rest().await
}

/// Begins more calls than a connection may have. Asserts that the server refuses the excess and keeps the connection.
async fn exceed_concurrent_streams(to: SocketAddr) {
    let mut peer = Http2Connection::connect(to).await;
    let token = format!("Bearer {TOKEN}");
    let head = header_block(LIST, &[("authorization", &token)]);
    for stream in stream_numbers(1_000) {
        assert!(peer.send(&frame(HEADERS, END_HEADERS, stream, &head)).await);
    }
    let mut refused = 0;
    while refused < 1_000 - CONCURRENT_STREAMS_MAX {
        let frame = peer.next().await.unwrap();
        if frame.kind == RST_STREAM {
            assert_eq!(code(&frame), REFUSED_STREAM);
            refused += 1;
        }
        assert_ne!(frame.kind, GOAWAY);
    }
}

#[tokio::test]
async fn a_flood_of_frames_ends_only_its_own_connection() {
    let (_site, running) = start().await;
    let to = address(&running);

    let resets = reset_streams(to);
    let sent = with_background_calls("20,000 streams reset by the client", &running, resets).await;
    print_line(&format!("  {sent} of them were sent"));

    let malformed = open_malformed_streams(to);
    let frames =
        with_background_calls("20,000 streams reset by the server", &running, malformed).await;
    let (goaway, resets) = goaway_and_resets(&frames);
    assert_eq!(goaway, Some(ENHANCE_YOUR_CALM));
    assert!(resets <= LOCAL_ERROR_RESETS_MAX, "{resets}");

    let endless = send_endless_headers(to);
    let frames = with_background_calls("10,000 CONTINUATION frames", &running, endless).await;
    let (goaway, _) = goaway_and_resets(&frames);
    assert!(goaway.is_some_and(|code| code != 0), "{frames:?}");

    let calls = exceed_concurrent_streams(to);
    with_background_calls("1,000 calls begun on one connection", &running, calls).await;
}

#[tokio::test]
async fn oversized_request_headers_are_refused_and_the_connection_stays_open() {
    let (_site, running) = start().await;
    let mut peer = Http2Connection::connect(address(&running)).await;
    let token = format!("Bearer {}", "x".repeat(64 * 1024));
    let long = header_block(LIST, &[("authorization", &token)]);
    assert!(peer.send(&header_frames(END_STREAM, 1, &long)).await);
    let (status, passed) = peer.answer(1).await;
    // 431: Request Header Fields Too Large.
    assert_ne!(status, "200");
    assert!(
        passed.iter().all(|frame| frame.kind != GOAWAY),
        "{passed:?}"
    );
    // The next call on the same connection is answered.
    assert!(
        peer.send(&header_frames(END_STREAM, 3, &header_block(LIST, &[])))
            .await
    );
    let (status, passed) = peer.answer(3).await;
    assert_eq!(status, "200");
    assert!(
        passed.iter().all(|frame| frame.kind != GOAWAY),
        "{passed:?}"
    );
    // Headers of more than four times the limit end the connection.
    let token = format!("Bearer {}", "x".repeat(256 * 1024));
    let endless = header_block(LIST, &[("authorization", &token)]);
    peer.send(&header_frames(END_STREAM, 5, &endless)).await;
    assert_eq!(
        goaway_and_resets(&peer.rest().await).0,
        Some(ENHANCE_YOUR_CALM)
    );
}

/// Opens `count` connections and sends the bytes that `first_bytes` returns for the number of each.
async fn open(
    to: SocketAddr,
    count: usize,
    first_bytes: impl Fn(usize) -> &'static [u8],
) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for number in 0..count {
        let mut stream = TcpStream::connect(to).await.unwrap();
        // The server may have closed the connection already.
        let _ = stream.write_all(first_bytes(number)).await;
        streams.push(stream);
    }
    streams
}

/// Returns whether the server has closed a connection.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut received = Vec::new();
    let read = stream.read_to_end(&mut received);
    timeout(Duration::from_millis(1), read).await.is_ok()
}

#[tokio::test]
async fn thousands_of_silent_sockets_do_not_block_other_callers() {
    let (_site, running) = start().await;
    let to = address(&running);
    // Every second connection sends half of its preface.
    let silent = async {
        let begin = Instant::now();
        let mut streams = open(to, SOCKETS, |number| &PREFACE[..number % 2 * 12]).await;
        print_line(&format!(
            "  {SOCKETS} sockets were accepted in {:.1?}",
            begin.elapsed()
        ));
        sleep(Duration::from_secs(1)).await;
        let mut closed = 0;
        for stream in streams.iter_mut().take(SOCKETS - CONNECTIONS_MAX) {
            closed += usize::from(is_closed(stream).await);
        }
        (streams, closed)
    };
    let (streams, closed) = with_background_calls("5,000 silent sockets", &running, silent).await;
    // The oldest connections were closed. Other callers used some of the freed places.
    assert!(closed + 8 >= SOCKETS - CONNECTIONS_MAX, "{closed}");
    drop(streams);

    let http = http_address(&running);
    let get = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let silent = async {
        let half: &[u8] = b"GET /healthz HTTP/1.1\r\nHost:";
        let streams = open(
            http,
            SOCKETS,
            |number| if number % 2 == 0 { b"" } else { half },
        )
        .await;
        let begin = Instant::now();
        let lives = timeout(Duration::from_secs(20), http_server::exchange(http, get)).await;
        assert_eq!(lives.unwrap().status, 200);
        print_line(&format!("  /healthz answered in {:.1?}", begin.elapsed()));
        streams
    };
    drop(with_background_calls("5,000 silent HTTP sockets", &running, silent).await);
}

#[tokio::test]
async fn slowly_sent_request_bodies_end_with_their_deadline() {
    let (_site, running) = start().await;
    let to = address(&running);
    let token = format!("Bearer {TOKEN}");
    let slow_bodies = async {
        let peers = (0..4).map(|_| async {
            let mut peer = Http2Connection::connect(to).await;
            let head = header_block(LIST, &[("authorization", &token), ("grpc-timeout", "3S")]);
            let streams: Vec<u32> = (1..200).step_by(2).collect();
            for stream in &streams {
                peer.send(&frame(HEADERS, END_HEADERS, *stream, &head))
                    .await;
                peer.send(&frame(DATA, NO_FLAGS, *stream, &[0, 0, 0, 1, 0]))
                    .await;
            }
            for _ in 0..2 {
                sleep(Duration::from_secs(1)).await;
                for stream in &streams {
                    peer.send(&frame(DATA, NO_FLAGS, *stream, &[0])).await;
                }
            }
            let mut answered = 0;
            while answered < streams.len() {
                let frame = peer.next().await.unwrap();
                answered += usize::from(frame.kind == HEADERS && frame.flags & END_STREAM != 0);
            }
            answered
        });
        join_all(peers).await.into_iter().sum::<usize>()
    };
    let answered =
        with_background_calls("400 bodies of one byte a second", &running, slow_bodies).await;
    assert_eq!(answered, 400);

    // The server refuses an unauthenticated call without waiting for its body.
    let mut peer = Http2Connection::connect(to).await;
    peer.send(&frame(HEADERS, END_HEADERS, 1, &header_block(LIST, &[])))
        .await;
    let begin = Instant::now();
    assert_eq!(peer.answer(1).await.0, "200");
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn compressed_messages_are_unimplemented() {
    let (_site, running) = start().await;
    let token = format!("Bearer {TOKEN}");
    let headers = [("authorization", token.as_str()), ("grpc-encoding", "gzip")];
    let answer = raw_grpc::call(address(&running), LIST, &headers, &[]).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn shutdown_finishes_in_time_whatever_connections_are_open() {
    let (_site, mut running) = start().await;
    let to = address(&running);
    let silent = open(to, 200, |number| &PREFACE[..number % 2 * 12]).await;
    let token = format!("Bearer {TOKEN}");
    let mut unfinished_calls = Vec::new();
    for _ in 0..20 {
        let mut peer = Http2Connection::connect(to).await;
        let head = header_block(LIST, &[("authorization", &token)]);
        peer.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
        unfinished_calls.push(peer);
    }
    let channel = running.channel().await;
    let mut watches = Vec::new();
    for _ in 0..50 {
        let request = HealthCheckRequest::default();
        let watch = HealthClient::new(channel.clone()).watch(request).await;
        let mut watch = watch.unwrap().into_inner();
        watch.next().await.unwrap().unwrap();
        watches.push(watch);
    }
    let http = open(http_address(&running), 50, |_| {
        b"POST /u/x HTTP/1.1\r\nHost: x\r\n"
    })
    .await;
    let begin = Instant::now();
    running.terminate().await;
    wait_until("NOT_SERVING", async || !is_serving(&channel).await).await;
    assert!(running.wait_for_exit().await.success(), "{}", running.log());
    let took = begin.elapsed();
    print_line(&format!(
        "ended {took:.1?} after SIGTERM, of 2 s for calls in flight"
    ));
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop((silent, unfinished_calls, watches, http));
}

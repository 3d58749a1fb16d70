//! Peers that misbehave, against the real binary and with well-behaved callers beside them: the floods end as they
//! should, and everybody else gets an answer.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use invitations::grpc::limits::{
    CONCURRENT_STREAMS_MAX, CONNECTIONS_MAX, LOCAL_ERROR_RESETS_MAX, PENDING_CONNECTIONS_MAX,
    PREFACE_TIMEOUT,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::support::background_calls::{print_line, with_background_calls};
use crate::support::deployment::{Deployment, TOKEN, is_serving};
use crate::support::http2::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frame, GOAWAY, HEADERS,
    Http2Connection, NO_FLAGS, PREFACE, REFUSED_STREAM, RST_STREAM, code, frame, header_block,
    header_frames,
};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::wait_until;
use crate::support::{http_server, raw_grpc};

const LIST: &str = "/invitation.v1.InvitationService/List";
/// Streams of a flood; their numbers are odd.
const STREAMS: u32 = 20_000;
const SOCKETS: usize = 5_000;

/// A service as an operator has it, with what every test of this file needs.
async fn start() -> (Deployment, ServerProcess) {
    // Both ends of every socket are ours; a process that is started takes the limit over.
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

fn http_address(running: &ServerProcess) -> SocketAddr {
    let log = running.log();
    let (_, rest) = log.split_once("http.address=").unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// The code of the GOAWAY among frames, and how many streams were reset.
fn ending(frames: &[Frame]) -> (Option<u32>, usize) {
    let goaway = frames.iter().find(|frame| frame.kind == GOAWAY);
    let resets = frames.iter().filter(|frame| frame.kind == RST_STREAM);
    (goaway.map(code), resets.count())
}

#[tokio::test]
async fn floods_of_frames_end_the_connection_they_come_over_and_no_other() {
    let (_site, running) = start().await;
    let to = address(&running);

    // Streams that are begun and given up at once.
    let rapid = async {
        let mut peer = Http2Connection::connect(to).await;
        let mut sent = 0;
        for stream in (1..2 * STREAMS).step_by(2) {
            let begun = frame(HEADERS, END_HEADERS, stream, &header_block(LIST, &[]));
            let reset = frame(RST_STREAM, NO_FLAGS, stream, &CANCEL.to_be_bytes());
            if !peer.send(&[begun, reset].concat()).await {
                break;
            }
            sent += 1;
        }
        sent
    };
    let sent = with_background_calls("20,000 streams reset by the client", &running, rapid).await;
    print_line(&format!("  {sent} of them were sent"));

    // Streams that the server has to reset: their heads are malformed.
    let malformed = async {
        let mut peer = Http2Connection::connect(to).await;
        let head = header_block(LIST, &[("connection", "close")]);
        for stream in (1..2 * STREAMS).step_by(2) {
            let begun = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
            if !peer.send(&begun).await {
                break;
            }
        }
        peer.rest().await
    };
    let frames =
        with_background_calls("20,000 streams reset by the server", &running, malformed).await;
    let (goaway, resets) = ending(&frames);
    assert_eq!(goaway, Some(ENHANCE_YOUR_CALM));
    assert!(resets <= LOCAL_ERROR_RESETS_MAX, "{resets}");

    // A head without an end.
    let endless = async {
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
    };
    let frames = with_background_calls("10,000 CONTINUATION frames", &running, endless).await;
    assert!(
        ending(&frames).0.is_some_and(|code| code != 0),
        "{frames:?}"
    );

    // More calls at once than a connection may have: those beyond are refused, and may be sent again.
    let crowd = async {
        let mut peer = Http2Connection::connect(to).await;
        let token = format!("Bearer {TOKEN}");
        let head = header_block(LIST, &[("authorization", &token)]);
        for stream in (1..2 * 1_000).step_by(2) {
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
    };
    with_background_calls("1,000 calls begun on one connection", &running, crowd).await;
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_and_its_connection_lives() {
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
    // The next call on the same connection is heard.
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
    // Beyond four times the limit it is the connection that ends.
    let token = format!("Bearer {}", "x".repeat(256 * 1024));
    let endless = header_block(LIST, &[("authorization", &token)]);
    peer.send(&header_frames(END_STREAM, 5, &endless)).await;
    assert_eq!(ending(&peer.rest().await).0, Some(ENHANCE_YOUR_CALM));
}

/// Opens so many connections and says so little on each.
async fn open(
    to: SocketAddr,
    count: usize,
    said: impl Fn(usize) -> &'static [u8],
) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for number in 0..count {
        let mut stream = TcpStream::connect(to).await.unwrap();
        // One that was closed already is one less.
        let _ = stream.write_all(said(number)).await;
        streams.push(stream);
    }
    streams
}

/// Whether a peer was sent away.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut said = Vec::new();
    let wait = Duration::from_millis(1);
    timeout(wait, stream.read_to_end(&mut said)).await.is_ok()
}

#[tokio::test]
async fn thousands_of_silent_sockets_keep_nobody_out() {
    let (_site, running) = start().await;
    let to = address(&running);
    // Half of them say half of what they should.
    let silent = async {
        let begin = Instant::now();
        let mut streams = open(to, SOCKETS, |number| &PREFACE[..number % 2 * 12]).await;
        print_line(&format!(
            "  {SOCKETS} sockets were accepted in {:.1?}",
            begin.elapsed()
        ));
        sleep(Duration::from_secs(1)).await;
        let mut closed = 0;
        for stream in streams.iter_mut().take(SOCKETS - PENDING_CONNECTIONS_MAX) {
            closed += usize::from(is_closed(stream).await);
        }
        (streams, closed)
    };
    let (streams, closed) = with_background_calls("5,000 silent sockets", &running, silent).await;
    // The oldest have made room; callers who came meanwhile took some of it too.
    assert!(closed + 8 >= SOCKETS - PENDING_CONNECTIONS_MAX, "{closed}");
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
async fn peers_that_hold_every_place_wait_no_longer_than_anybody_may() {
    let (_site, running) = start().await;
    let to = address(&running);
    let mut peers = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 10 {
        peers.push(Http2Connection::connect(to).await);
    }
    // Those who found no place are sent away, the others stay.
    let beyond = 10;
    let peers = RefCell::new(peers);
    let ended = || {
        let mut peers = peers.borrow_mut();
        let ended = peers.iter_mut().map(|peer| usize::from(peer.has_ended()));
        ended.sum::<usize>()
    };
    wait_until("those without a place to be sent away", async || {
        ended() >= beyond
    })
    .await;
    sleep(PREFACE_TIMEOUT / 2).await;
    assert_eq!(ended(), beyond);
    // Whoever leaves makes room.
    drop(peers);
    let mut peer = Http2Connection::connect(to).await;
    assert!(peer.next().await.is_some());
}

#[tokio::test]
async fn bodies_that_drip_end_with_their_deadline() {
    let (_site, running) = start().await;
    let to = address(&running);
    let token = format!("Bearer {TOKEN}");
    let drip = async {
        let peers = (0..4).map(|_| async {
            let mut peer = Http2Connection::connect(to).await;
            let head = header_block(LIST, &[("authorization", &token), ("grpc-timeout", "3S")]);
            let streams: Vec<u32> = (1..200).step_by(2).collect();
            for stream in &streams {
                peer.send(&frame(HEADERS, END_HEADERS, *stream, &head))
                    .await;
                peer.send(&frame(DATA, NO_FLAGS, *stream, &[0, 0, 1, 0, 0]))
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
    let answered = with_background_calls("400 bodies of one byte a second", &running, drip).await;
    assert_eq!(answered, 400);

    // Nobody's body is waited for before they have said who they are.
    let mut peer = Http2Connection::connect(to).await;
    peer.send(&frame(HEADERS, END_HEADERS, 1, &header_block(LIST, &[])))
        .await;
    let begin = Instant::now();
    assert_eq!(peer.answer(1).await.0, "200");
    assert!(begin.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_compressed_message_is_not_taken() {
    let (_site, running) = start().await;
    let token = format!("Bearer {TOKEN}");
    let headers = [("authorization", token.as_str()), ("grpc-encoding", "gzip")];
    let answer = raw_grpc::call(address(&running), LIST, &headers, &[]).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn whatever_is_open_the_end_comes_in_time() {
    let (_site, mut running) = start().await;
    let to = address(&running);
    let silent = open(to, 200, |number| &PREFACE[..number % 2 * 12]).await;
    let token = format!("Bearer {TOKEN}");
    let mut dripping = Vec::new();
    for _ in 0..20 {
        let mut peer = Http2Connection::connect(to).await;
        let head = header_block(LIST, &[("authorization", &token)]);
        peer.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
        dripping.push(peer);
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
    drop((silent, dripping, watches, http));
}

//! Peers that hold as many connections as a port accepts, without being of use. Others are answered meanwhile, and no
//! call in progress is interrupted.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use invitations::grpc::limits::{
    CALLER_CONNECTIONS_MAX, CLOSING_CONNECTIONS_MAX, CONCURRENT_STREAMS_MAX, CONNECTIONS_MAX,
};
use invitations::http::{self, HttpTimeouts};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::background_calls::with_background_calls;
use crate::support::deployment::{Deployment, TOKEN, is_serving};
use crate::support::http_server::{
    HttpServer, WEBHOOK_PASSWORD, exchange, postmark_event, resend_event, unsubscribe_path,
};
use crate::support::http2::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2Connection, frame, header_block,
};
use crate::support::server_process::ServerProcess;
use crate::support::waiting::WAIT_MAX;
use crate::support::{START, UNKNOWN_ID, World};

const LIST: &str = "/invitation.v1.InvitationService/List";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";
/// More connections than a port accepts, with room for those of others.
const GRPC_PEERS: usize = CONNECTIONS_MAX + 100;
const HTTP_PEERS: usize = http::limits::CONNECTIONS_MAX + 100;

fn raise_file_limit() {
    let files = rlimit::increase_nofile_limit(16_384).unwrap();
    assert!(
        files >= 4_096,
        "{files} open files are too few; see ulimit -Hn"
    );
}

async fn start() -> (Deployment, ServerProcess) {
    raise_file_limit();
    let deployment = Deployment::create().await;
    let (running, _) = deployment
        .serve_populated(&[("INVITATIONS_ROLE", "api")])
        .await;
    (deployment, running)
}

fn address(running: &ServerProcess) -> SocketAddr {
    running.address().parse().unwrap()
}

fn authorized(path: &str) -> Vec<u8> {
    let token = format!("Bearer {TOKEN}");
    header_block(path, &[("authorization", &token)])
}

/// Calls a method of an authenticated caller, whose request is refused because it is empty.
async fn call(peer: &mut Http2Connection, stream: u32) {
    begin_call(peer, stream).await;
    end_call(peer, stream).await;
}

async fn begin_call(peer: &mut Http2Connection, stream: u32) {
    let head = frame(HEADERS, END_HEADERS, stream, &authorized(LIST));
    assert!(peer.send(&head).await);
}

async fn end_call(peer: &mut Http2Connection, stream: u32) {
    let message = frame(DATA, END_STREAM, stream, &[0; 5]);
    assert!(peer.send(&message).await);
    assert_eq!(peer.answer(stream).await.0, "200");
}

/// Opens connections one after another and sends the frames of `first` on each.
async fn open(from: Ipv4Addr, to: SocketAddr, count: usize, first: &[u8]) -> Vec<Http2Connection> {
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = Http2Connection::connect_from(from, to).await;
        // The server may have closed the connection already.
        peer.send(first).await;
        peers.push(peer);
    }
    peers
}

fn ended(peers: &mut [Http2Connection]) -> usize {
    let ended = peers.iter_mut().map(|peer| usize::from(peer.has_ended()));
    ended.sum()
}

#[tokio::test]
async fn connections_that_only_answer_pings_block_no_new_caller() {
    let (_site, running) = start().await;
    let to = address(&running);
    let mut in_progress = Http2Connection::connect(to).await;
    begin_call(&mut in_progress, 1).await;
    let mut idle = Http2Connection::connect(to).await;
    call(&mut idle, 1).await;
    let flood = async {
        let mut peers = open(Ipv4Addr::LOCALHOST, to, GRPC_PEERS, &[]).await;
        assert!(is_serving(&running.channel().await).await);
        let mut caller = Http2Connection::connect(to).await;
        call(&mut caller, 1).await;
        let at_least = GRPC_PEERS - CONNECTIONS_MAX;
        join_all(peers[..at_least].iter_mut().map(Http2Connection::rest)).await;
        peers
    };
    let peers = with_background_calls("idle HTTP/2 connections", &running, flood).await;
    // Neither a call in progress nor an idle connection of an authenticated caller was closed.
    end_call(&mut in_progress, 1).await;
    call(&mut idle, 3).await;
    drop(peers);
}

#[tokio::test]
async fn open_streams_without_data_block_no_new_caller() {
    let (_site, running) = start().await;
    let to = address(&running);
    let watch = [
        frame(HEADERS, END_HEADERS, 1, &header_block(HEALTH_WATCH, &[])),
        frame(DATA, END_STREAM, 1, &[0; 5]),
    ];
    for (name, first) in [
        (
            "health checks without a message",
            frame(HEADERS, END_HEADERS, 1, &header_block(HEALTH_CHECK, &[])),
        ),
        ("watches of the health", watch.concat()),
        (
            "authenticated calls without a message",
            frame(HEADERS, END_HEADERS, 1, &authorized(LIST)),
        ),
    ] {
        let flood = async {
            let peers = open(Ipv4Addr::LOCALHOST, to, GRPC_PEERS, &first).await;
            assert!(is_serving(&running.channel().await).await);
            peers
        };
        if name.starts_with("authenticated") {
            // They are calls in progress, so other callers may be refused, but health checks are answered.
            drop(flood.await);
        } else {
            drop(with_background_calls(name, &running, flood).await);
        }
    }
}

#[tokio::test]
async fn the_address_with_the_most_connections_is_closed_first_and_gracefully() {
    let (_site, running) = start().await;
    let to = address(&running);
    let (few, many) = (Ipv4Addr::new(127, 0, 0, 3), Ipv4Addr::new(127, 0, 0, 2));
    let mut modest = open(few, to, 20, &[]).await;
    let mut greedy = open(many, to, GRPC_PEERS, &[]).await;
    let at_least = GRPC_PEERS + 20 - CONNECTIONS_MAX;
    join_all(greedy[..at_least].iter_mut().map(Http2Connection::rest)).await;
    assert_eq!(ended(&mut modest), 0);
    // A few places may still be those of the callers that set the server up.
    assert_eq!(ended(&mut greedy[at_least + 5..]), 0);
    // One more connection closes the oldest one of the many, with GOAWAY.
    let mut caller = Http2Connection::connect(to).await;
    call(&mut caller, 1).await;
    let frames = greedy[at_least].rest().await;
    assert!(
        frames.iter().any(|frame| frame.kind == GOAWAY),
        "{frames:?}"
    );
    // Each of the others has fewer connections, so the many are closed for them too.
    for last in 10..200 {
        let from = Ipv4Addr::new(127, 0, 1, last);
        let mut peer = Http2Connection::connect_from(from, to).await;
        call(&mut peer, 1).await;
    }
    assert_eq!(ended(&mut modest), 0);
}

#[tokio::test]
async fn closing_connections_with_silent_calls_do_not_stop_the_port() {
    /// A few places may still be those of the caller that set the server up.
    const OTHERS: usize = 5;
    let (_site, running) = start().await;
    let to = address(&running);
    let silent_check = frame(HEADERS, END_HEADERS, 3, &header_block(HEALTH_CHECK, &[]));
    let closing = CLOSING_CONNECTIONS_MAX + 10;
    let mut peers = Vec::new();
    for number in 0..CALLER_CONNECTIONS_MAX + closing {
        let mut peer = Http2Connection::connect(to).await;
        call(&mut peer, 1).await;
        peers.push(peer);
        // The connection that was idle longest must close. It begins a call that it does not continue.
        if let Some(oldest) = number.checked_sub(CALLER_CONNECTIONS_MAX) {
            peers[oldest].send(&silent_check).await;
        }
    }
    let strangers = open(Ipv4Addr::LOCALHOST, to, GRPC_PEERS, &[]).await;
    assert!(is_serving(&running.channel().await).await);
    // They end although they never acknowledge that they must close.
    let closing = peers[OTHERS..closing].iter_mut();
    join_all(closing.map(Http2Connection::rest)).await;
    assert!(is_serving(&running.channel().await).await);
    drop(strangers);
}

#[tokio::test]
async fn watches_of_health_from_two_addresses_block_no_health_check() {
    let (_site, running) = start().await;
    let to = address(&running);
    let streams = (1..2 * CONCURRENT_STREAMS_MAX).step_by(2);
    let watches = streams.flat_map(|stream| {
        let head = header_block(HEALTH_WATCH, &[]);
        let message = frame(DATA, END_STREAM, stream, &[0; 5]);
        [frame(HEADERS, END_HEADERS, stream, &head), message].concat()
    });
    let watches: Vec<u8> = watches.collect();
    let mut peers = Vec::new();
    for last in [2, 3] {
        let from = Ipv4Addr::new(127, 0, 0, last);
        peers.extend(open(from, to, 4, &watches).await);
    }
    // Each watch is open or was refused.
    for peer in &mut peers {
        peer.answer(2 * CONCURRENT_STREAMS_MAX - 1).await;
    }
    for _ in 0..20 {
        assert!(is_serving(&running.channel().await).await);
    }
}

/// Asserts that every route of the HTTP port answers within a time that is wide for a loaded machine.
async fn assert_all_answer(web: &HttpServer) {
    let answers = async {
        assert_eq!(web.get("/healthz").await.status, 200);
        assert_eq!(web.get("/readyz").await.status, 200);
        let path = unsubscribe_path("alice@example.net");
        assert_eq!(web.get(&path).await.status, 200);
        assert_eq!(web.one_click(&path).await.status, 200);
        let event = postmark_event(7, "Bounce", "HardBounce", UNKNOWN_ID);
        assert_eq!(web.postmark(WEBHOOK_PASSWORD, &event).await.status, 204);
        let event = resend_event("email.bounced", "Permanent", UNKNOWN_ID);
        assert_eq!(web.resend("msg_1", &event).await.status, 204);
    };
    timeout(WAIT_MAX, answers).await.expect("no answer in time");
}

async fn open_http(world: &World, timeouts: HttpTimeouts) -> HttpServer {
    raise_file_limit();
    let clock = Arc::clone(&world.clock);
    HttpServer::open(world.service.clone(), clock, timeouts).await
}

#[tokio::test]
async fn keep_alive_connections_that_request_healthz_block_no_other_request() {
    let world = World::start().await;
    let web = open_http(&world, HttpTimeouts::default()).await;
    let mut peers = JoinSet::new();
    for _ in 0..HTTP_PEERS {
        let mut stream = TcpStream::connect(web.address).await.unwrap();
        peers.spawn(async move {
            let mut answer = [0; 512];
            let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
            // Ends when the server closes the connection.
            while stream.write_all(request).await.is_ok()
                && stream.read(&mut answer).await.is_ok_and(|bytes| bytes > 0)
            {
                sleep(Duration::from_millis(500)).await;
            }
        });
    }
    for _ in 0..3 {
        assert_all_answer(&web).await;
    }
    // Only as many were closed as necessary.
    assert_eq!(peers.len(), HTTP_PEERS);
    while peers.try_join_next().is_some() {}
    assert!(
        peers.len() >= http::limits::CONNECTIONS_MAX / 2,
        "{}",
        peers.len()
    );
}

#[tokio::test]
async fn posts_without_a_body_block_no_other_request_and_end_with_408() {
    let world = World::start().await;
    let timeouts = HttpTimeouts {
        // The last bodies are still missing when the others are asked.
        body: Duration::from_secs(20),
        request: Duration::from_secs(30),
        ..HttpTimeouts::default()
    };
    let web = open_http(&world, timeouts).await;
    let unsubscribe = unsubscribe_path("bob@example.net");
    let now = START.unix_timestamp();
    let webhook = format!(
        "POST /webhooks/resend HTTP/1.1\r\nHost: x\r\nsvix-id: msg_2\r\nsvix-timestamp: {now}\r\nsvix-signature: v1,AAAA\r\n"
    );
    let heads = [
        format!("POST {unsubscribe} HTTP/1.1\r\nHost: x\r\n"),
        webhook,
        "POST /u/x HTTP/1.1\r\nHost: x\r\n".to_owned(),
        "GET /healthz HTTP/1.1\r\nHost: x\r\n".to_owned(),
    ];
    let mut peers = Vec::new();
    for number in 0..HTTP_PEERS {
        let mut stream = TcpStream::connect(web.address).await.unwrap();
        let head = &heads[number % heads.len()];
        let request = format!("{head}Content-Length: 26\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        peers.push(stream);
    }
    assert_all_answer(&web).await;
    drop(peers);
    // A body that does not arrive ends its request, and a report takes no memory before it arrives.
    let timeouts = HttpTimeouts {
        body: Duration::from_millis(100),
        ..HttpTimeouts::default()
    };
    let web = open_http(&world, timeouts).await;
    let address = web.address;
    let answers = heads[..2].iter().map(|head| async move {
        let request = format!("{head}Content-Length: 26\r\n\r\n");
        exchange(address, request.as_bytes()).await
    });
    let answers = timeout(WAIT_MAX, join_all(answers)).await.unwrap();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [408, 408]);
}

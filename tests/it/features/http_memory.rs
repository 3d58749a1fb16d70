//! The memory for the bodies of requests to the HTTP port.

use std::time::Duration;

use invitations::grpc::limits::MEMORY_BUDGET_DEFAULT;
use invitations::http::HttpTimeouts;
use invitations::http::limits::{
    BODY_BYTES_MAX, PROVIDER_MEMORY_PERCENT, UNVERIFIED_NETWORK_PERCENT,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::http::open_without_database;
use crate::support::START;
use crate::support::http_server::{
    HttpServer, WEBHOOK_PASSWORD, WEBHOOK_SECRET, parse_response, sign, unsubscribe_path,
};
use crate::support::waiting::wait_until;

const ROUNDS_MAX: usize = 10;

/// A port that waits long for bodies.
async fn open_patient() -> HttpServer {
    let timeouts = HttpTimeouts {
        body: Duration::from_mins(1),
        request: Duration::from_mins(1),
        ..HttpTimeouts::default()
    };
    open_without_database(timeouts).await
}

/// Sends reports without a valid signature and without their last bytes, until the network of 127.0.0.1 has no room for
/// another one.
async fn fill_share(web: &HttpServer) -> Vec<TcpStream> {
    let now = START.unix_timestamp();
    let head = format!(
        "POST /webhooks/resend HTTP/1.1\r\nHost: x\r\nsvix-id: msg_1\r\nsvix-timestamp: {now}\r\nsvix-signature: v1,AAAA\r\nContent-Length: {BODY_BYTES_MAX}\r\n\r\n"
    );
    let share = MEMORY_BUDGET_DEFAULT / 100 * PROVIDER_MEMORY_PERCENT;
    let share = share / 100 * UNVERIFIED_NETWORK_PERCENT;
    let mut peers = Vec::new();
    // Bodies that arrive together with the genuine report may find no room, so that there is room for it again.
    for _ in 0..ROUNDS_MAX {
        for _ in 0..share / BODY_BYTES_MAX {
            let mut stream = TcpStream::connect(web.address).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            // A server without room answers before it has read everything.
            let _ = stream.write_all(&vec![b' '; BODY_BYTES_MAX - 1]).await;
            peers.push(stream);
        }
        let answer = web.resend("msg_2", &large_report()).await;
        if answer.status == 503 {
            assert_eq!(answer.header("retry-after"), Some("30"));
            return peers;
        }
    }
    panic!("one network gets more than its share");
}

/// A genuine report of the largest size, which the service ignores.
fn large_report() -> String {
    padded(r#"{"type": "email.opened"}"#)
}

fn padded(json: &str) -> String {
    json.to_owned() + &" ".repeat(BODY_BYTES_MAX - json.len())
}

#[tokio::test]
async fn a_report_without_room_in_memory_is_asked_to_come_again() {
    let web = open_patient().await;
    let peers = fill_share(&web).await;
    drop(peers);
    let report = large_report();
    wait_until("room", async || {
        web.resend("msg_2", &report).await.status == 204
    })
    .await;
}

#[tokio::test]
async fn an_address_that_fills_its_share_of_memory_leaves_all_others_served() {
    let web = open_patient().await;
    let _peers = fill_share(&web).await;
    // The other routes have memory of their own, even for the same address.
    let opened = padded(r#"{"RecordType": "Open"}"#);
    assert_eq!(web.postmark(WEBHOOK_PASSWORD, &opened).await.status, 204);
    let path = unsubscribe_path("alice@example.net");
    let incomplete = web.request("POST", &path, &[], "x").await;
    assert_eq!(incomplete.status, 400, "its body was read");
    // Resend reports from another address.
    let (now, report) = (START.unix_timestamp(), large_report());
    let signature = sign(WEBHOOK_SECRET, "msg_3", now, &report);
    let request = format!(
        "POST /webhooks/resend HTTP/1.1\r\nHost: x\r\nConnection: close\r\nsvix-id: msg_3\r\nsvix-timestamp: {now}\r\nsvix-signature: {signature}\r\nContent-Length: {BODY_BYTES_MAX}\r\n\r\n{report}"
    );
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(web.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(parse_response(&bytes).status, 204);
}

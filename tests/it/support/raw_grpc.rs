//! gRPC calls as bytes: any path, any header and any message, which no generated client would send.

use std::net::SocketAddr;

use h2::client;
use http::{HeaderMap, Request};
use prost::bytes::Bytes;
use tokio::net::TcpStream;
use tonic::Status;

use crate::support::descriptors::is_server_streaming;

/// Calls a method. The client has no deadline, so a `DEADLINE_EXCEEDED` comes from the server.
pub(crate) async fn call(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> Result<Vec<u8>, Status> {
    let authority = address.to_string();
    exchange(&authority, address, path, headers, Some(frame(message))).await
}

/// Calls a method with a body that need not be a gRPC frame.
pub(crate) async fn call_raw(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Vec<u8>, Status> {
    let authority = address.to_string();
    exchange(&authority, address, path, headers, Some(body.into())).await
}

/// Calls a method with any `:authority`.
pub(crate) async fn call_with_authority(
    authority: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    message: &[u8],
) -> Result<Vec<u8>, Status> {
    exchange(authority, address, path, headers, Some(frame(message))).await
}

/// Begins a call and never sends its message.
pub(crate) async fn call_without_end(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Vec<u8>, Status> {
    exchange(&address.to_string(), address, path, headers, None).await
}

async fn exchange(
    authority: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Bytes>,
) -> Result<Vec<u8>, Status> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut request = Request::post(format!("http://{authority}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut client = client.ready().await.unwrap();
    let request = request.body(()).unwrap();
    let (response, mut sending) = client.send_request(request, false).unwrap();
    if let Some(bytes) = body {
        sending.send_data(bytes, true).unwrap();
    }
    let response = response.await.map_err(|error| connection_lost(&error))?;
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| connection_lost(&error))?;
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
        // Such a stream does not end by itself, so its first message is the answer.
        if let Some(end) = end_of_first(&bytes).filter(|_| is_server_streaming(path)) {
            connection.abort();
            return Ok(bytes[5..end].to_vec());
        }
    }
    let trailers = body
        .trailers()
        .await
        .map_err(|error| connection_lost(&error))?;
    let trailers = trailers.unwrap_or_default();
    connection.abort();
    let status = status(&head.headers, &trailers);
    if status.code() == tonic::Code::Ok {
        Ok(messages(&bytes).concat())
    } else {
        Err(status)
    }
}

/// How a call ends whose connection breaks.
fn connection_lost(error: &h2::Error) -> Status {
    Status::unavailable(error.to_string())
}

/// The end of the first frame, if it has arrived completely.
fn end_of_first(bytes: &[u8]) -> Option<usize> {
    let (length, rest) = bytes.get(1..)?.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
    (rest.len() >= length).then_some(5 + length)
}

fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    Bytes::from([&[0], length.as_slice(), message].concat())
}

/// The messages of a response. Their concatenation is one message that has the fields of all of them.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut messages = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<5>() {
        let length = u32::from_be_bytes(*head.last_chunk().unwrap());
        let (message, rest) = rest.split_at(usize::try_from(length).unwrap());
        messages.push(message);
        bytes = rest;
    }
    messages
}

/// The status of a response, which is in the headers if the response has no body.
pub(super) fn status(head: &HeaderMap, trailers: &HeaderMap) -> Status {
    Status::from_header_map(trailers)
        .or_else(|| Status::from_header_map(head))
        .unwrap()
}

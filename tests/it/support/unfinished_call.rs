//! A gRPC call whose body is sent byte by byte, and need not end.

use std::future::poll_fn;
use std::net::SocketAddr;

use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream, client};
use http::Request;
use prost::bytes::Bytes;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tonic::Status;

use crate::support::raw_grpc;

/// A connection for such calls, which is closed when this is dropped.
pub(crate) struct RawConnection {
    client: SendRequest<Bytes>,
    connection: AbortHandle,
}

pub(crate) struct UnfinishedCall {
    response: ResponseFuture,
    sending: SendStream<Bytes>,
}

impl RawConnection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (client, connection) = client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection).abort_handle();
        Self { client, connection }
    }

    /// Sends the headers of a call; with an empty token, without credentials.
    pub(crate) async fn begin(&self, path: &str, token: &str) -> UnfinishedCall {
        let mut request = Request::post(format!("http://localhost{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut client = self.client.clone().ready().await.unwrap();
        let sent = client.send_request(request.body(()).unwrap(), false);
        let (response, sending) = sent.unwrap();
        UnfinishedCall { response, sending }
    }
}

impl Drop for RawConnection {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl UnfinishedCall {
    /// Sends the prefix of a message of this length.
    pub(crate) async fn send_prefix(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap().to_be_bytes();
        self.send(&[&[0], length.as_slice()].concat()).await;
    }

    /// Sends bytes as the server reads them. Ends early if the server has ended the call.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let mut bytes = Bytes::copy_from_slice(bytes);
        while !bytes.is_empty() {
            self.sending.reserve_capacity(bytes.len());
            let capacity = poll_fn(|context| self.sending.poll_capacity(context)).await;
            let Some(Ok(capacity)) = capacity else {
                return;
            };
            let part = bytes.split_to(capacity.min(bytes.len()));
            if self.sending.send_data(part, false).is_err() {
                return;
            }
        }
    }

    /// Ends the request and waits for the head of the response, whose body is not read while it is kept.
    pub(crate) async fn unread_response(mut self) -> (Status, RecvStream) {
        // A call that was refused early has ended already.
        let _ = self.sending.send_data(Bytes::new(), true);
        let (head, body) = self.response.await.unwrap().into_parts();
        let refused = Status::from_header_map(&head.headers);
        (refused.unwrap_or_else(|| Status::ok("")), body)
    }

    /// The status with which the server ends the call.
    pub(crate) async fn status(self) -> Status {
        let Self { response, sending } = self;
        let (head, mut body) = response.await.unwrap().into_parts();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
        }
        let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
        drop(sending);
        raw_grpc::status(&head.headers, &trailers)
    }
}

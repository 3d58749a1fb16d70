//! Tests with a client that does not read, and a clock that jumps to the next timer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use h2::client::SendRequest;
use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use prost::bytes::Bytes;
use tokio::io::DuplexStream;

use super::*;
use crate::capacity::Capacity;
use crate::grpc::memory::metered_request::RequestMemory;
use crate::grpc::memory::metered_response::MeteredResponse;

const MESSAGE_BYTES: usize = 1024 * 1024;

/// A response of one message.
struct LargeBody {
    is_sent: bool,
}

impl Body for LargeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.is_sent {
            return Poll::Ready(None);
        }
        self.is_sent = true;
        Poll::Ready(Some(Ok(Frame::data(vec![0; MESSAGE_BYTES].into()))))
    }
}

fn large_response() -> Response<MeteredResponse> {
    let capacity = Capacity::new(MESSAGE_BYTES);
    let reserve = || capacity.reserve("caller", MESSAGE_BYTES, 0).unwrap();
    let body = tonic::body::Body::new(LargeBody { is_sent: false });
    let memory = RequestMemory::new(reserve());
    Response::new(MeteredResponse::new(body, memory, reserve()))
}

/// Serves one connection, whose every call has a large response.
fn serve(connection: DuplexStream) {
    let service = service_fn(async |_: Request<Incoming>| Ok::<_, Infallible>(large_response()));
    let settings = http2::Builder::new(CallExecutor);
    let serving = settings.serve_connection(TokioIo::new(connection), service);
    shutdown::background("server", async {
        let _ = serving.await;
    });
}

async fn connect(settings: &h2::client::Builder) -> SendRequest<Bytes> {
    let (client, server) = tokio::io::duplex(64 * 1024);
    serve(server);
    let (requests, connection) = settings.handshake(client).await.unwrap();
    shutdown::background("client", async {
        let _ = connection.await;
    });
    requests
}

async fn begin_call(requests: &mut SendRequest<Bytes>) -> h2::RecvStream {
    let request = Request::get("http://localhost/").body(()).unwrap();
    let (response, _) = requests.send_request(request, true).unwrap();
    response.await.unwrap().into_body()
}

/// Reads a response to its end. Returns its length, or why the call was reset.
async fn read(mut body: h2::RecvStream) -> Result<usize, Option<h2::Reason>> {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.map_err(|error| error.reason())?;
        length += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    Ok(length)
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_response_is_not_read_is_reset_and_the_others_continue() {
    let mut requests = connect(&h2::client::Builder::new()).await;
    let unread = begin_call(&mut requests).await;
    tokio::time::sleep(RESPONSE_DURATION_MAX / 2).await;
    // Until the first call is reset, it keeps the window of the connection.
    let slow = begin_call(&mut requests).await;
    tokio::time::sleep(RESPONSE_DURATION_MAX * 2 / 3).await;
    assert!(matches!(read(unread).await, Err(Some(_))));
    assert_eq!(read(slow).await, Ok(MESSAGE_BYTES));
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_client_opens_no_window_is_reset() {
    let mut requests = connect(h2::client::Builder::new().initial_window_size(0)).await;
    let unread = begin_call(&mut requests).await;
    tokio::time::sleep(RESPONSE_DURATION_MAX * 2).await;
    assert_eq!(read(unread).await, Err(Some(h2::Reason::CANCEL)));
}

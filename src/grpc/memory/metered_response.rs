//! The body of a response. It keeps the memory of its request until it is encoded, and counts its own bytes until they are
//! sent. A client that does not read them in time ends its call.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Frame, SizeHint};
use prost::bytes::Bytes;
use tonic::Status;
use tonic::body::Body;

use super::metered_request::RequestMemory;
use crate::capacity::Reservation;
use crate::grpc::wire::call_task;

pub(crate) struct MeteredResponse {
    inner: Body,
    request: Option<RequestMemory>,
    sent: Reservation,
}

impl MeteredResponse {
    /// `sent` is an empty reservation of the caller.
    pub(crate) fn new(inner: Body, request: RequestMemory, sent: Reservation) -> Self {
        // A client that never lets the server send does not read, either.
        call_task::begin_sending();
        Self {
            inner,
            request: Some(request),
            sent,
        }
    }
}

impl hyper::body::Body for MeteredResponse {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        // The next frame is only wanted when the previous one was sent, or fits into the windows of the connection.
        call_task::end_sending();
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.request = None;
            self.sent.set(data.len());
            call_task::begin_sending();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

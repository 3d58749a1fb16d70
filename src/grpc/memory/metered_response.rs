//! The body of a response. It keeps the memory of its request until it is encoded, and counts its own bytes until they are
//! sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Frame, SizeHint};
use prost::bytes::Bytes;
use tonic::Status;
use tonic::body::Body;

use super::metered_request::RequestMemory;
use crate::grpc::admission::capacity::Reservation;

pub(crate) struct MeteredResponse {
    inner: Body,
    request: Option<RequestMemory>,
    sent: Reservation,
}

impl MeteredResponse {
    /// `sent` is an empty reservation of the caller.
    pub(crate) const fn new(inner: Body, request: RequestMemory, sent: Reservation) -> Self {
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
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.request = None;
            // The previous frame was sent, or fits into the windows of the connection.
            self.sent.set(data.len());
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

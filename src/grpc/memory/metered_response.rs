//! The body of a response. It keeps the memory of its request until it is encoded, and counts its own bytes until they are
//! sent. A client that does not read them in time ends its call.
//!
//! hyper hands over each frame as soon as there is room for its first byte. So a message is passed on in parts: what the
//! client has no room for stays here, where it counts.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Frame, SizeHint};
use prost::bytes::Bytes;
use tonic::Status;
use tonic::body::Body;

use super::metered_request::RequestMemory;
use crate::capacity::Reservation;
use crate::grpc::wire::call_task;

/// The bytes that are passed on at once: a frame of HTTP/2 of the usual size (RFC 9113 §4.2).
const PART_BYTES: usize = 16 * 1024;

pub(crate) struct MeteredResponse {
    inner: Body,
    request: Option<RequestMemory>,
    /// What of the current message was not passed on.
    unsent: Bytes,
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
            unsent: Bytes::new(),
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
        if self.unsent.is_empty() {
            call_task::end_sending();
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) if frame.is_data() => {
                    self.request = None;
                    self.unsent = frame.into_data().unwrap_or_default();
                    call_task::begin_sending();
                }
                other => return Poll::Ready(other),
            }
        }
        let length = self.unsent.len();
        self.sent.set(length);
        let part = self.unsent.split_to(length.min(PART_BYTES));
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.unsent.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

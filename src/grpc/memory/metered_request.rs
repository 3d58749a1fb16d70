//! The body of a request, which reserves memory for each of its messages before the message is read.
//!
//! The memory that a message of the announced length is expected to need is reserved first, and more if it turns out to need
//! more. A message must arrive steadily, and the end of a request soon after it, so that a peer that has stopped to send
//! does not keep the memory.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::body::{Frame, SizeHint};
use prost::bytes::Bytes;
use tokio::time::{Instant, Sleep};
use tonic::Status;
use tonic::body::Body;

use super::message_scan::{MessageScan, ScanError};
use super::message_shapes::RequestShape;
use crate::capacity::Reservation;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::status;
use crate::grpc::wire::limits::{
    CALL_MEMORY_BYTES, CHUNKS_MEMORY_BYTES, MESSAGE_DURATION_MAX, MESSAGE_PAUSE_MAX,
    REQUEST_BYTES_MAX,
};

/// Bytes before each message: a flag and the length.
const PREFIX_BYTES: usize = 5;
/// Copies of the bytes of a message: as it was received, in the arguments of a statement, and on the way to the database.
const COPIES: usize = 3;
/// What a message of large items needs, in multiples of its length. As much is reserved when the length is known:
/// otherwise several large messages would begin, and each would be refused because of the others.
const EXPECTED_COPIES: usize = 6;

/// The memory of a call's requests. The body and the call share it.
#[derive(Debug, Clone)]
pub(crate) struct RequestMemory(Arc<Mutex<Reservation>>);

pub(crate) struct MeteredRequest {
    inner: Body,
    shape: RequestShape,
    memory: RequestMemory,
    /// What the call needs beside its messages, from the end of a message on.
    call_bytes: usize,
    /// What the chunks of the last complete message need. A stream uses them while the next message arrives.
    previous_bytes: usize,
    progress: Progress,
    /// Whether a message has arrived completely.
    has_message: bool,
    began: Instant,
    timer: Pin<Box<Sleep>>,
}

/// How far the current message was received.
enum Progress {
    Prefix {
        bytes: [u8; PREFIX_BYTES],
        count: usize,
    },
    Message {
        length: usize,
        missing: usize,
        /// `None` for a message that is refused when its prefix is decoded.
        scan: Option<MessageScan>,
        reserved: usize,
    },
}

const NO_PREFIX: Progress = Progress::Prefix {
    bytes: [0; PREFIX_BYTES],
    count: 0,
};

impl Progress {
    /// What the current message is known to need. `None` if there is none, or if it is refused when it is decoded.
    fn needed(&self) -> Option<usize> {
        match self {
            Self::Message {
                length,
                scan: Some(scan),
                ..
            } => Some(length * COPIES + scan.weight()),
            Self::Message { scan: None, .. } | Self::Prefix { .. } => None,
        }
    }
}

impl RequestMemory {
    pub(crate) fn new(reservation: Reservation) -> Self {
        Self(Arc::new(Mutex::new(reservation)))
    }

    fn resize(&self, bytes: usize) -> Result<(), Reason> {
        let mut reservation = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reservation.resize(bytes)
    }

    fn share(&self) -> usize {
        let reservation = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        reservation.share()
    }
}

impl MeteredRequest {
    pub(crate) fn new(
        inner: Body,
        shape: RequestShape,
        memory: RequestMemory,
        call_bytes: usize,
    ) -> Self {
        Self {
            inner,
            shape,
            memory,
            call_bytes,
            previous_bytes: 0,
            progress: NO_PREFIX,
            has_message: false,
            began: Instant::now(),
            timer: Box::pin(tokio::time::sleep(MESSAGE_PAUSE_MAX)),
        }
    }

    fn receive(&mut self, mut data: &[u8]) -> Result<(), Status> {
        while !data.is_empty() {
            match &mut self.progress {
                Progress::Prefix { bytes, count } => {
                    if *count == 0 {
                        self.began = Instant::now();
                    }
                    let copied = data.len().min(PREFIX_BYTES - *count);
                    bytes[*count..][..copied].copy_from_slice(&data[..copied]);
                    data = &data[copied..];
                    *count += copied;
                    if *count == PREFIX_BYTES {
                        let prefix = *bytes;
                        self.begin(prefix)?;
                    }
                }
                Progress::Message { missing, scan, .. } => {
                    let received = data.len().min(*missing);
                    if let Some(scan) = scan {
                        scan.read(&data[..received]).map_err(refused)?;
                    }
                    *missing -= received;
                    data = &data[received..];
                    self.reserve()?;
                }
            }
            self.end_message()?;
        }
        Ok(())
    }

    fn begin(&mut self, prefix: [u8; PREFIX_BYTES]) -> Result<(), Status> {
        if self.has_message && !self.shape.is_stream {
            return Err(status::refused(Reason::RequestMalformed));
        }
        let [flag, length @ ..] = prefix;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let is_read = flag == 0 && length <= REQUEST_BYTES_MAX;
        self.progress = Progress::Message {
            length,
            missing: length,
            scan: is_read.then(|| MessageScan::new(self.shape.message, length)),
            reserved: 0,
        };
        self.reserve()
    }

    /// Reserves what the current message is known or expected to need.
    fn reserve(&mut self) -> Result<(), Status> {
        let Some(needed) = self.progress.needed() else {
            return Ok(());
        };
        let Progress::Message {
            length,
            scan: Some(scan),
            reserved,
            ..
        } = &mut self.progress
        else {
            return Ok(());
        };
        let room = self.memory.share().saturating_sub(self.call_bytes);
        if needed > room {
            return Err(status::invalid(vec![Violation::new(
                scan.list_name(),
                Reason::TooManyItems,
            )]));
        }
        let needed = needed.max(room.min(*length * EXPECTED_COPIES));
        if needed <= *reserved {
            return Ok(());
        }
        *reserved = needed;
        let bytes = CALL_MEMORY_BYTES + self.previous_bytes + needed;
        self.memory.resize(bytes).map_err(status::refused)
    }

    /// Reserves what the call needs once its message is complete.
    fn end_message(&mut self) -> Result<(), Status> {
        if !matches!(self.progress, Progress::Message { missing: 0, .. }) {
            return Ok(());
        }
        self.has_message = true;
        let ended = std::mem::replace(&mut self.progress, NO_PREFIX);
        let Some(needed) = ended.needed() else {
            return Ok(());
        };
        let bytes = self.call_bytes + self.previous_bytes + needed;
        self.previous_bytes = needed.min(CHUNKS_MEMORY_BYTES);
        self.memory.resize(bytes).map_err(status::refused)
    }

    /// Keeps what a stream needs after it has taken a message, of which it still uses some chunks.
    fn release_message(&self) {
        if self.has_message {
            let bytes = self.call_bytes + self.previous_bytes;
            // Less than before.
            let _ = self.memory.resize(bytes);
        }
    }

    /// Whether the next byte may come at any time: only between the messages of a stream.
    const fn is_between_messages(&self) -> bool {
        self.shape.is_stream && matches!(self.progress, Progress::Prefix { count: 0, .. })
    }
}

fn refused(error: ScanError) -> Status {
    match error {
        ScanError::Malformed => status::refused(Reason::RequestMalformed),
        ScanError::TooManyItems(list) => {
            status::invalid(vec![Violation::new(list, Reason::TooManyItems)])
        }
    }
}

impl hyper::body::Body for MeteredRequest {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(context) else {
            if self.is_between_messages() {
                self.release_message();
                return Poll::Pending;
            }
            ready!(self.timer.as_mut().poll(context));
            return Poll::Ready(Some(Err(status::refused(Reason::DeadlineExceeded))));
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            if let Err(status) = self.receive(data) {
                return Poll::Ready(Some(Err(status)));
            }
            let pause_ends = Instant::now() + MESSAGE_PAUSE_MAX;
            let message_ends = self.began + MESSAGE_DURATION_MAX;
            self.timer.as_mut().reset(pause_ends.min(message_ends));
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

//! The items of a stream in chunks.
//!
//! A chunk ends when it has enough items or bytes, when the sender pauses or the chunk gets old, and with the stream.

use std::time::Duration;
use std::vec;

use futures::{Stream, StreamExt as _};
use prost::Message as _;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Status};

use crate::domain::new_invitation::ITEMS_MAX;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::status;
use crate::grpc::wire::limits::{
    CHUNK_AGE_MAX, CHUNK_BYTES_MAX, CHUNK_ITEMS, CHUNK_LINGER, STREAM_HEADER_TIMEOUT,
    STREAM_IDLE_MAX,
};
use crate::proto::{
    BulkCreateStreamHeader as Header, BulkCreateStreamRequest as Request, NewInvitation as Item,
};

pub(super) struct Chunks<S> {
    messages: S,
    /// The items of the first message, beside the header.
    first: Vec<Item>,
    /// The items of the last message that are in no chunk yet.
    left: vec::IntoIter<Item>,
    is_over: bool,
}

#[derive(Default)]
struct ChunkBuilder {
    items: Vec<Item>,
    bytes: usize,
    due: Option<Instant>,
}

impl<S: Stream<Item = Result<Request, Status>> + Unpin> Chunks<S> {
    pub(super) fn new(messages: S) -> Self {
        Self {
            messages,
            first: Vec::new(),
            left: Vec::new().into_iter(),
            is_over: false,
        }
    }

    /// Reads the header, which comes first. Items of the same message are returned by [`Self::next`].
    pub(super) async fn header(&mut self) -> Result<Header, Status> {
        let message = self.message_within(STREAM_HEADER_TIMEOUT).await?;
        let message = message.ok_or_else(malformed)?;
        self.first = message.invitations;
        message.header.ok_or_else(malformed)
    }

    /// Reads the next chunk. `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Item>>, Status> {
        if !self.first.is_empty() {
            let first = std::mem::take(&mut self.first);
            self.left = counted(first)?.into_iter();
        }
        let mut chunk = ChunkBuilder::default();
        loop {
            if chunk.take(&mut self.left) {
                return Ok(Some(chunk.items));
            }
            if self.is_over {
                return Ok((!chunk.items.is_empty()).then_some(chunk.items));
            }
            let message = match chunk.due {
                None => self.message_within(STREAM_IDLE_MAX).await?,
                Some(due) => {
                    let until = due.min(Instant::now() + CHUNK_LINGER);
                    match timeout_at(until, self.messages.next()).await {
                        Ok(message) => message.transpose().map_err(of_sender)?,
                        Err(_) => return Ok(Some(chunk.items)),
                    }
                }
            };
            match message {
                None => self.is_over = true,
                Some(message) => self.left = items(message)?.into_iter(),
            }
        }
    }

    async fn message_within(&mut self, duration: Duration) -> Result<Option<Request>, Status> {
        match timeout(duration, self.messages.next()).await {
            Ok(message) => message.transpose().map_err(of_sender),
            Err(_) => Err(status::refused(Reason::DeadlineExceeded)),
        }
    }
}

impl ChunkBuilder {
    /// Adds as many items as fit. Returns whether the chunk is complete.
    fn take(&mut self, items: &mut vec::IntoIter<Item>) -> bool {
        while let Some(item) = items.as_slice().first() {
            let bytes = item.encoded_len();
            if !self.items.is_empty() && self.bytes + bytes > CHUNK_BYTES_MAX {
                return true;
            }
            self.bytes += bytes;
            self.due
                .get_or_insert_with(|| Instant::now() + CHUNK_AGE_MAX);
            self.items.extend(items.next());
            if self.items.len() == CHUNK_ITEMS {
                return true;
            }
        }
        false
    }
}

fn items(message: Request) -> Result<Vec<Item>, Status> {
    if message.header.is_some() || message.invitations.is_empty() {
        return Err(malformed());
    }
    counted(message.invitations)
}

fn counted(items: Vec<Item>) -> Result<Vec<Item>, Status> {
    if items.len() > ITEMS_MAX {
        let violation = Violation::new("items", Reason::TooManyItems);
        return Err(status::invalid(vec![violation]));
    }
    Ok(items)
}

fn malformed() -> Status {
    status::refused(Reason::StreamMalformed)
}

/// tonic reports messages that are cut off or framed wrongly as INTERNAL, although the sender is at fault.
fn of_sender(status: Status) -> Status {
    match status.code() {
        Code::Internal => status::refused(Reason::RequestMalformed),
        _ => status,
    }
}

#[cfg(test)]
#[path = "chunks_tests.rs"]
mod tests;

//! `BulkCreateStream` of the fake server: chunks, stored results per request id, and a break where a test asks for one.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use tonic::{Status, Streaming};

use super::memory::{BATCH_ID, Memory, StreamedList, lock, number, viewed};
use crate::proto::{
    BulkCreateStreamHeader, BulkCreateStreamRequest, BulkCreateStreamResponse, CreateResult,
    NewInvitation,
};

const CHUNK_ITEMS: usize = 300;
/// How long it waits for more items before it answers a chunk that is not full. It is longer than any pause of a busy
/// machine, so that only the last chunk of a list is not full.
const QUIET: Duration = Duration::from_secs(5);

struct CreateStream {
    memory: Arc<Memory>,
    requests: Streaming<BulkCreateStreamRequest>,
    header: BulkCreateStreamHeader,
    items: Vec<NewInvitation>,
    list: StreamedList,
    next: usize,
    chunks: usize,
    breaks_after: Option<(usize, Status)>,
    is_started: bool,
    is_over: bool,
}

pub(super) async fn create(
    memory: Arc<Memory>,
    mut requests: Streaming<BulkCreateStreamRequest>,
    refusal: Result<(), Status>,
) -> Result<BoxStream<'static, Result<BulkCreateStreamResponse, Status>>, Status> {
    let first = requests.message().await?.unwrap_or_default();
    let Some(header) = first.header else {
        return Err(Status::invalid_argument(
            "the first message must have a header",
        ));
    };
    lock(&memory.headers).push(header.clone());
    refusal?;
    let list = lock(&memory.lists).remove(&header.request_id);
    let list = list.filter(|_| !header.request_id.is_empty());
    let mut list = list.unwrap_or_default();
    let stored_header = BulkCreateStreamHeader {
        first_index: 0,
        ..header.clone()
    };
    if !list.results.is_empty() && list.header != stored_header {
        return Err(Status::failed_precondition(
            "the request id was used for another list",
        ));
    }
    list.header = stored_header;
    let next = usize::try_from(header.first_index).unwrap_or(usize::MAX);
    if next > list.results.len() {
        return Err(Status::invalid_argument("first_index is too large"));
    }
    let breaks_after = lock(&memory.breaks).pop_front();
    let stream = CreateStream {
        memory,
        requests,
        list,
        header,
        items: first.invitations,
        next,
        chunks: 0,
        breaks_after,
        is_started: false,
        is_over: false,
    };
    Ok(stream::unfold(stream, respond).boxed())
}

/// The next response, or the end of the stream. It is called only after the client has read the previous response.
async fn respond(
    mut stream: CreateStream,
) -> Option<(Result<BulkCreateStreamResponse, Status>, CreateStream)> {
    if stream.is_over {
        return None;
    }
    if !stream.is_started {
        stream.is_started = true;
        let response = BulkCreateStreamResponse {
            batch_id: stream.batch_id(),
            next_index: number(stream.list.results.len()),
            results: Vec::new(),
        };
        return Some((Ok(response), stream));
    }
    let breaks = |(chunks, _): &(usize, Status)| *chunks == stream.chunks;
    if let Some((_, status)) = stream.breaks_after.take_if(|it| breaks(it)) {
        stream.is_over = true;
        return Some((Err(status), stream));
    }
    if let Err(status) = stream.read().await {
        stream.is_over = true;
        return Some((Err(status), stream));
    }
    if stream.items.is_empty() {
        return None;
    }
    let response = stream.chunk();
    Some((Ok(response), stream))
}

impl CreateStream {
    fn batch_id(&self) -> String {
        if self.header.validate_only {
            String::new()
        } else {
            BATCH_ID.to_owned()
        }
    }

    /// Reads items until a chunk is full, the client pauses, or the list ends.
    async fn read(&mut self) -> Result<(), Status> {
        while self.items.len() < CHUNK_ITEMS {
            let message = if self.items.is_empty() {
                self.requests.message().await?
            } else {
                match tokio::time::timeout(QUIET, self.requests.message()).await {
                    Ok(message) => message?,
                    Err(_) => break,
                }
            };
            let Some(message) = message else { break };
            if message.header.is_some()
                || message.invitations.is_empty()
                || message.invitations.len() > 10_000
            {
                return Err(Status::invalid_argument(
                    "the message has a header or a wrong number of items",
                ));
            }
            let mut most = lock(&self.memory.message_items_max);
            *most = message.invitations.len().max(*most);
            self.items.extend(message.invitations);
        }
        Ok(())
    }

    /// Answers a chunk, with stored results where there are any.
    fn chunk(&mut self) -> BulkCreateStreamResponse {
        self.chunks += 1;
        let items = self.items.drain(..self.items.len().min(CHUNK_ITEMS));
        let chunk_start = self.next;
        let mut results = Vec::new();
        for item in items {
            let index = self.next;
            self.next += 1;
            if index == self.list.results.len() {
                let is_dry_run = self.header.validate_only;
                self.list
                    .add(&self.memory, chunk_start, &item.email, is_dry_run);
            }
            let Some(result) = self.list.results.get(index).cloned() else {
                break;
            };
            lock(&self.memory.keys).push(item.key.clone());
            let result = CreateResult {
                index: number(index),
                key: item.key,
                email: item.email,
                ..result
            };
            results.push(viewed(result, self.header.view()));
        }
        BulkCreateStreamResponse {
            batch_id: self.batch_id(),
            next_index: number(self.next),
            results,
        }
    }
}

impl Drop for CreateStream {
    fn drop(&mut self) {
        if !self.header.request_id.is_empty() {
            let list = std::mem::take(&mut self.list);
            lock(&self.memory.lists).insert(self.header.request_id.clone(), list);
        }
    }
}

//! `BulkCreateStream` of the fake: chunks, a memory of what was done under a request id, and breaks on demand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use tonic::{Status, Streaming};

use super::{BATCH_ID, Memory, created, lock, number, refused};
use crate::proto::{
    BulkCreateResult, BulkCreateStreamHeader, BulkCreateStreamItem, BulkCreateStreamRequest,
    BulkCreateStreamResponse, BulkCreateStreamResult, ErrorReason,
};

/// Items of a chunk.
const CHUNK: usize = 300;
/// How long it waits for more before a chunk is done that is not full. Longer than any pause of a busy machine, so that
/// such a chunk comes where the list ends, and nowhere else.
const QUIET: Duration = Duration::from_secs(5);

/// What is known of a list.
#[derive(Default)]
pub(crate) struct List {
    header: BulkCreateStreamHeader,
    results: Vec<BulkCreateResult>,
    places: HashMap<String, usize>,
}

struct Stream {
    memory: Arc<Memory>,
    requests: Streaming<BulkCreateStreamRequest>,
    header: BulkCreateStreamHeader,
    items: Vec<BulkCreateStreamItem>,
    list: List,
    next: usize,
    chunks: usize,
    breaks_after: Option<(usize, Status)>,
    is_begun: bool,
    is_over: bool,
}

/// Answers a stream.
pub(super) async fn answer(
    memory: Arc<Memory>,
    mut requests: Streaming<BulkCreateStreamRequest>,
    refusal: Result<(), Status>,
) -> Result<BoxStream<'static, Result<BulkCreateStreamResponse, Status>>, Status> {
    let first = requests.message().await?.unwrap_or_default();
    let Some(header) = first.header else {
        return Err(Status::invalid_argument("the header comes first"));
    };
    lock(&memory.headers).push(header.clone());
    refusal?;
    let list = lock(&memory.lists).remove(&header.request_id);
    let list = list.filter(|_| !header.request_id.is_empty());
    let list = list.unwrap_or_default();
    let asked = BulkCreateStreamHeader {
        first_index: 0,
        ..header.clone()
    };
    if !list.results.is_empty() && list.header != asked {
        return Err(Status::failed_precondition(
            "the request id was used for another list",
        ));
    }
    let next = usize::try_from(header.first_index).unwrap_or(usize::MAX);
    if next > list.results.len() {
        return Err(Status::invalid_argument(
            "first_index is above what was done",
        ));
    }
    let breaks_after = lock(&memory.breaks).pop_front();
    let state = Stream {
        memory,
        requests,
        list: List {
            header: asked,
            ..list
        },
        header,
        items: first.items,
        next,
        chunks: 0,
        breaks_after,
        is_begun: false,
        is_over: false,
    };
    Ok(stream::unfold(state, step).boxed())
}

/// One response, or the end. It is asked for one only when the one before was read.
async fn step(mut stream: Stream) -> Option<(Result<BulkCreateStreamResponse, Status>, Stream)> {
    if stream.is_over {
        return None;
    }
    if !stream.is_begun {
        stream.is_begun = true;
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

impl Stream {
    fn batch_id(&self) -> String {
        if self.header.validate_only {
            String::new()
        } else {
            BATCH_ID.to_owned()
        }
    }

    /// Reads until a chunk is full, nothing came for a moment, or the end.
    async fn read(&mut self) -> Result<(), Status> {
        while self.items.len() < CHUNK {
            let message = if self.items.is_empty() {
                self.requests.message().await?
            } else {
                match tokio::time::timeout(QUIET, self.requests.message()).await {
                    Ok(message) => message?,
                    Err(_) => break,
                }
            };
            let Some(message) = message else { break };
            if message.header.is_some() || message.items.is_empty() || message.items.len() > 10_000
            {
                return Err(Status::invalid_argument("no message of a stream"));
            }
            let mut most = lock(&self.memory.message_items_max);
            *most = message.items.len().max(*most);
            self.items.extend(message.items);
        }
        Ok(())
    }

    /// Does a chunk, as far as it was not done before.
    fn chunk(&mut self) -> BulkCreateStreamResponse {
        self.chunks += 1;
        let items = self.items.drain(..self.items.len().min(CHUNK));
        let chunk_start = self.next;
        let mut results = Vec::new();
        for item in items {
            let email = item.invitation.unwrap_or_default().email;
            let index = self.next;
            self.next += 1;
            if index == self.list.results.len() {
                let result =
                    self.list
                        .add(&self.memory, chunk_start, &email, self.header.validate_only);
                self.list.results.push(result);
            }
            let Some(result) = self.list.results.get(index).cloned() else {
                break;
            };
            results.push(BulkCreateStreamResult {
                index: number(index),
                key: item.key,
                email,
                outcome: result.outcome,
                invitation: result.invitation,
                error: result.error,
                link: String::new(),
            });
        }
        BulkCreateStreamResponse {
            batch_id: self.batch_id(),
            next_index: number(self.next),
            results,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.header.request_id.is_empty() {
            let list = std::mem::take(&mut self.list);
            lock(&self.memory.lists).insert(self.header.request_id.clone(), list);
        }
    }
}

impl List {
    fn add(
        &mut self,
        memory: &Memory,
        chunk_start: usize,
        email: &str,
        is_dry_run: bool,
    ) -> BulkCreateResult {
        let email = email.trim_matches([' ', '\t']).to_ascii_lowercase();
        if !email.contains('@') {
            let message = "the address is not one that mail can reach";
            return refused(ErrorReason::EmailInvalid, message);
        }
        let first = self.places.get(&email).copied();
        if let Some(first) = first {
            if first < chunk_start {
                let mut result = refused(
                    ErrorReason::AlreadyInvited,
                    "the address is invited already",
                );
                result.invitation = Some(crate::proto::Invitation {
                    batch_id: BATCH_ID.to_owned(),
                    ..Default::default()
                });
                return result;
            }
            let message = "the address stands earlier in this request";
            let mut result = refused(ErrorReason::DuplicateInRequest, message);
            if let Some(error) = &mut result.error {
                let first = first.to_string();
                error.metadata.insert("first_index".to_owned(), first);
            }
            return result;
        }
        self.places.insert(email.clone(), self.results.len());
        let mut stored = lock(&memory.invitations);
        let result = created(stored.len(), &email);
        if !is_dry_run {
            stored.extend(result.invitation.clone());
        }
        result
    }
}

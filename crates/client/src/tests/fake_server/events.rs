//! `Watch` of the fake server: stored events, a few per response, and a break where a test asks for one.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use tonic::Status;

use super::memory::{Memory, lock};
use crate::proto::{WatchRequest, WatchResponse};

const RESPONSE_EVENTS: usize = 3;
/// How long it waits for new events before it sends a response without events.
const HEARTBEAT: Duration = Duration::from_millis(100);

struct EventStream {
    memory: Arc<Memory>,
    /// Index of the next event.
    next: usize,
    response_count: usize,
    breaks_after: Option<(usize, Status)>,
}

/// Streams events. A cursor is the number of events before it.
pub(super) fn watch(
    memory: Arc<Memory>,
    request: &WatchRequest,
) -> Result<BoxStream<'static, Result<WatchResponse, Status>>, Status> {
    lock(&memory.cursors).push(request.cursor.clone());
    let next = if request.cursor.is_empty() {
        if request.from_now {
            lock(&memory.events).len()
        } else {
            0
        }
    } else {
        let cursor: usize = request
            .cursor
            .parse()
            .map_err(|_| Status::invalid_argument("the cursor is not valid"))?;
        // Delivery is at least once: the last event before the cursor is repeated.
        cursor.saturating_sub(1)
    };
    let breaks_after = lock(&memory.breaks).pop_front();
    let stream = EventStream {
        memory,
        next,
        response_count: 0,
        breaks_after,
    };
    Ok(stream::unfold(stream, respond).boxed())
}

async fn respond(mut stream: EventStream) -> Option<(Result<WatchResponse, Status>, EventStream)> {
    let is_due = |(count, _): &mut (usize, Status)| *count == stream.response_count;
    if let Some((_, status)) = stream.breaks_after.take_if(is_due) {
        return Some((Err(status), stream));
    }
    if stream.response_count > 0 && lock(&stream.memory.events).len() <= stream.next {
        tokio::time::sleep(HEARTBEAT).await;
    }
    let events = lock(&stream.memory.events);
    let page = events.iter().skip(stream.next).take(RESPONSE_EVENTS);
    let page: Vec<_> = page.cloned().collect();
    drop(events);
    stream.next += page.len();
    stream.response_count += 1;
    let response = WatchResponse {
        events: page,
        cursor: stream.next.to_string(),
    };
    Some((Ok(response), stream))
}

//! `Watch` of the fake: events that a test lays down, a few in each response, and breaks on demand.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, BoxStream, StreamExt as _};
use tonic::Status;

use super::{Memory, lock};
use crate::proto::{WatchRequest, WatchResponse};

/// Events of one response.
const PAGE: usize = 3;
/// How long it waits for new events before it tells of a cursor alone.
const HEARTBEAT: Duration = Duration::from_millis(100);

/// Answers with events; the cursor is the number of those that were told.
pub(super) fn answer(
    memory: Arc<Memory>,
    request: &WatchRequest,
) -> Result<BoxStream<'static, Result<WatchResponse, Status>>, Status> {
    lock(&memory.cursors).push(request.cursor.clone());
    let at = if request.cursor.is_empty() {
        if request.from_now {
            lock(&memory.events).len()
        } else {
            0
        }
    } else {
        let at: Result<usize, _> = request.cursor.parse();
        at.map_err(|_| Status::invalid_argument("the cursor is none"))?
    };
    let breaks_after = lock(&memory.breaks).pop_front();
    // At least once: the last one before the cursor comes again.
    let at = at.saturating_sub(usize::from(!request.cursor.is_empty()));
    let state = (memory, at, 0, breaks_after);
    let step = |(memory, at, told, breaks_after): (
        Arc<Memory>,
        usize,
        usize,
        Option<(usize, Status)>,
    )| async move {
        if let Some((_, status)) = breaks_after.as_ref().filter(|(after, _)| *after == told) {
            let error = Err(status.clone());
            return Some((
                error,
                (memory, at, told, Some((usize::MAX, status.clone()))),
            ));
        }
        if told > 0 && lock(&memory.events).len() <= at {
            tokio::time::sleep(HEARTBEAT).await;
        }
        let events: Vec<_> = lock(&memory.events)
            .iter()
            .skip(at)
            .take(PAGE)
            .cloned()
            .collect();
        let at = at + events.len();
        let response = WatchResponse {
            events,
            cursor: at.to_string(),
        };
        Some((Ok(response), (memory, at, told + 1, breaks_after)))
    };
    Ok(stream::unfold(state, step).boxed())
}

//! The task of one call. It ends when the client does not read the response in time.
//!
//! hyper gives a message of a response to the connection and then waits until the client has read it, for ever. So a
//! client that reads nothing, but answers pings, would keep the message in memory. When the task ends, hyper resets the
//! call, and other calls of the connection continue.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use hyper::rt::Executor;
use tokio::time::{Instant, sleep_until};

use crate::grpc::wire::limits::RESPONSE_DURATION_MAX;
use crate::shutdown;

tokio::task_local! {
    /// When the message that is being sent must have been read.
    static READ_BY: Cell<Option<Instant>>;
}

/// Spawns the tasks of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct CallExecutor;

/// Notes, inside of the task of a call, that a message is to be sent.
pub(in crate::grpc) fn begin_sending() {
    set(Some(Instant::now() + RESPONSE_DURATION_MAX));
}

/// Notes that the message was sent.
pub(in crate::grpc) fn end_sending() {
    set(None);
}

fn set(read_by: Option<Instant>) {
    // Outside of such a task, as in tests, nothing waits.
    let _ = READ_BY.try_with(|current| current.set(read_by));
}

impl<F> Executor<F> for CallExecutor
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, call: F) {
        let task = READ_BY.scope(Cell::new(None), until_read_too_late(call));
        shutdown::background("call", task);
    }
}

async fn until_read_too_late(call: impl Future) {
    let mut call = pin!(call);
    let mut timer = pin!(sleep_until(Instant::now()));
    poll_fn(|context| {
        if call.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(read_by) = READ_BY.with(Cell::get) else {
            return Poll::Pending;
        };
        if timer.deadline() != read_by {
            timer.as_mut().reset(read_by);
        }
        timer.as_mut().poll(context)
    })
    .await;
}

#[cfg(test)]
#[path = "call_task_tests.rs"]
mod tests;

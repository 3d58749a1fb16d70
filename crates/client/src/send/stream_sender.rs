//! Sends a list through `BulkCreateStream`. A broken stream is opened again and continues with the first unanswered row.
//!
//! Results are collected as they arrive, in the order of the list.

use std::time::Duration;

use futures::StreamExt as _;
use invitations_command::error::CommandError;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use crate::connection::{
    InvitationClient, RetryCounter, as_lost_connection, is_retryable, without_deadline,
};
use crate::list::{ListEntry, ListError};
use crate::proto::{BulkCreateStreamHeader, BulkCreateStreamRequest, BulkCreateStreamResponse};
use crate::send::list_source::RowReceiver;
use crate::send::send_window::SendWindow;
use crate::send::sent_list::ResultCollector;

const MESSAGES_AHEAD_MAX: usize = 2;
/// How long rows wait until more rows fill a message. A person who types the rows does not notice the delay.
const LINGER: Duration = Duration::from_millis(50);
const METHOD: &str = "BulkCreateStream";

/// Why a list was not sent to its end.
pub(crate) enum StreamFailure {
    /// The server rejected the stream, or all retries failed.
    Status(Box<Status>),
    /// The list cannot be read any further.
    List(ListError),
    /// A response does not fit the request, or a result cannot be written.
    Other(CommandError),
}

impl From<Status> for StreamFailure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

pub(crate) struct StreamSender {
    pub(crate) client: InvitationClient,
    pub(crate) header: BulkCreateStreamHeader,
    pub(crate) source: RowReceiver,
    /// How long the server may take to answer what it was sent.
    pub(crate) answer_timeout: Duration,
    pub(crate) collector: ResultCollector,
    pub(crate) window: SendWindow,
    pub(crate) is_read: bool,
}

struct OpenStream {
    /// `None` when everything is sent.
    requests: Option<mpsc::Sender<BulkCreateStreamRequest>>,
    responses: Streaming<BulkCreateStreamResponse>,
    /// Index in the list of the first item of this stream.
    base: i64,
    /// Index in the list of the next item to send.
    next: i64,
    /// When the server must answer, if any item is unanswered.
    answer_deadline: Instant,
    /// When rows are sent although they do not fill a message.
    linger_deadline: Instant,
}

impl StreamSender {
    pub(crate) async fn run(&mut self) -> Result<(), StreamFailure> {
        let mut retries = RetryCounter::default();
        loop {
            // A stream is opened only when there is a row to send. The server ends an idle stream, but a list may be slow.
            while self.window.is_answered() && !self.is_read {
                let row = self.source.recv().await;
                self.add_rows(row)?;
            }
            if self.window.is_answered() {
                return Ok(());
            }
            let first_index_before = self.window.first_index;
            let status = match self.run_stream().await {
                Err(StreamFailure::Status(status)) if self.collector.was_accepted => {
                    as_lost_connection(*status)
                }
                Err(StreamFailure::Status(status)) => *status,
                result => return result,
            };
            if self.window.first_index > first_index_before {
                retries = RetryCounter::default();
            }
            // A stream that ended while there was nothing to send is not a failure.
            if self.window.is_answered() && !self.is_read && is_retryable(&status) {
                continue;
            }
            let print = |message: &str| self.collector.progress.print(message);
            retries.wait(METHOD, status, print).await?;
        }
    }

    /// Sends the window and all further rows through one stream.
    async fn run_stream(&mut self) -> Result<(), StreamFailure> {
        let mut stream = self.open().await?;
        loop {
            let is_waiting = stream.next > self.window.first_index || stream.requests.is_none();
            let has_more = stream.next < self.window.end_index();
            let can_send = has_more
                && (self.is_read
                    || !self.window.has_room()
                    || self.window.fills_message(stream.next)
                    || stream.linger_deadline <= Instant::now());
            let can_read = !self.is_read && self.window.has_room();
            if self.is_read && !has_more {
                stream.requests = None;
            }
            let requests = stream.requests.clone();
            tokio::select! {
                biased;
                response = stream.responses.next() => match response {
                    Some(response) => self.on_response(&mut stream, response?)?,
                    None if self.is_read && self.window.is_answered() => return Ok(()),
                    None => return Err(Status::unavailable("the stream ended early").into()),
                },
                permit = reserve(requests.as_ref()), if can_send => {
                    let invitations = self.window.message(stream.next);
                    if !is_waiting {
                        stream.answer_deadline = Instant::now() + self.answer_timeout;
                    }
                    stream.next += i64::try_from(invitations.len()).unwrap_or(i64::MAX);
                    stream.linger_deadline = Instant::now() + LINGER;
                    match permit {
                        Some(permit) => permit.send(BulkCreateStreamRequest {
                            header: None,
                            invitations,
                        }),
                        // The stream has ended. The next response is its status.
                        None => stream.requests = None,
                    }
                }
                row = self.source.recv(), if can_read => {
                    self.add_rows(row)?;
                    if !has_more {
                        stream.linger_deadline = Instant::now() + LINGER;
                    }
                }
                () = sleep_until(stream.linger_deadline), if has_more && !can_send => {}
                () = sleep_until(stream.answer_deadline), if is_waiting => {
                    return Err(Status::deadline_exceeded("no answer in time").into());
                }
            }
        }
    }

    async fn open(&mut self) -> Result<OpenStream, StreamFailure> {
        let next = self.window.first_index;
        // Without a request id the server stores no position, so the remaining rows are sent as a list of their own.
        let (first_index, base) = if self.header.request_id.is_empty() {
            (0, next)
        } else {
            (next, 0)
        };
        let (requests, mut messages) = mpsc::channel(MESSAGES_AHEAD_MAX);
        let header = BulkCreateStreamHeader {
            first_index,
            ..self.header.clone()
        };
        // A new channel has room for this message.
        let _ = requests.try_send(BulkCreateStreamRequest {
            header: Some(header),
            invitations: Vec::new(),
        });
        let messages = futures::stream::poll_fn(move |context| messages.poll_recv(context));
        let call = self.client.bulk_create_stream(without_deadline(messages));
        let responses = tokio::time::timeout(self.answer_timeout, call)
            .await
            .map_err(|_| Status::deadline_exceeded("no answer in time"))??
            .into_inner();
        let now = Instant::now();
        Ok(OpenStream {
            requests: Some(requests),
            responses,
            base,
            next,
            answer_deadline: now + self.answer_timeout,
            linger_deadline: now + LINGER,
        })
    }

    fn on_response(
        &mut self,
        stream: &mut OpenStream,
        response: BulkCreateStreamResponse,
    ) -> Result<(), StreamFailure> {
        stream.answer_deadline = Instant::now() + self.answer_timeout;
        self.collector.set_accepted(&response.batch_id);
        let rows = self.window.answer(response, stream.base, stream.next);
        let rows = rows.map_err(|message| StreamFailure::Other(CommandError::Refused(message)))?;
        self.collector.add(rows).map_err(StreamFailure::Other)
    }

    /// Adds a row to the window, and all rows that are already read.
    fn add_rows(
        &mut self,
        mut row: Option<Result<ListEntry, ListError>>,
    ) -> Result<(), StreamFailure> {
        self.is_read = row.is_none();
        while let Some(entry) = row {
            self.window.push(entry.map_err(StreamFailure::List)?);
            let has_room = self.window.has_room();
            row = has_room.then(|| self.source.try_recv().ok()).flatten();
        }
        let rows = self.window.take_unreadable();
        self.collector.add(rows).map_err(StreamFailure::Other)
    }
}

/// Room for one more message, or `None` if the stream has ended.
async fn reserve<T>(requests: Option<&mpsc::Sender<T>>) -> Option<mpsc::Permit<'_, T>> {
    requests?.reserve().await.ok()
}

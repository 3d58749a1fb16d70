//! A list through `BulkCreateStream`, and through as many of them as it takes: one that breaks is taken up where it broke.
//!
//! What came of each row is handed on as it comes, in the order of the list. It knows neither report nor terminal.

use std::time::Duration;

use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use super::source::Source;
use super::window::Window;
use crate::connection::{Connection, endless};
use crate::people::{Entry, Trouble};
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::{BulkCreateStreamHeader, BulkCreateStreamRequest, BulkCreateStreamResponse};
use crate::retry::{Retries, broken, is_retryable};
use crate::row::Row;
use invitations_command::error::CommandError;

/// Messages between this side and its connection.
const MESSAGES_AHEAD_MAX: usize = 2;
/// How long rows wait for others to fill a message with: nobody who types them notices.
const LINGER: Duration = Duration::from_millis(50);
const NAME: &str = "BulkCreateStream";

/// Why a list was not sent to its end.
pub(super) enum Stop {
    /// The service refused, or could not be reached again and again.
    Status(Box<Status>),
    /// The list cannot be read.
    Trouble(Trouble),
    /// The service said what makes no sense, or what came of rows cannot be kept.
    Other(CommandError),
}

impl From<Status> for Stop {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// Who is told how a list gets on.
pub(super) trait Listener {
    /// The service took the stream: the batch, empty in a dry run.
    fn opened(&mut self, batch_id: &str);
    /// What came of the next rows.
    fn rows(&mut self, rows: Vec<Row>) -> Result<(), CommandError>;
    /// Something that people should know.
    fn say(&mut self, sentence: &str);
}

/// A list on its way.
pub(super) struct Sending<'run> {
    pub(super) client: InvitationServiceClient<Connection>,
    pub(super) header: BulkCreateStreamHeader,
    pub(super) source: Source,
    /// How long the service may take to answer what it was sent.
    pub(super) patience: Duration,
    pub(super) listener: &'run mut dyn Listener,
    window: Window,
    /// Nothing more comes from the source.
    is_read: bool,
    /// A stream was taken by the service once.
    was_open: bool,
}

/// One stream that is open.
struct Open {
    /// `None` once everything is sent.
    requests: Option<mpsc::Sender<BulkCreateStreamRequest>>,
    responses: Streaming<BulkCreateStreamResponse>,
    /// The place in the list of what the stream calls 0.
    base: i64,
    /// The place of the next item to be sent.
    next: i64,
    /// When the service has to answer, if something is to be answered.
    patience_ends: Instant,
    /// When rows that fill no message are sent nevertheless.
    linger_ends: Instant,
}

impl<'run> Sending<'run> {
    /// A list of which nothing is sent yet.
    pub(super) fn new(
        client: InvitationServiceClient<Connection>,
        header: BulkCreateStreamHeader,
        source: Source,
        patience: Duration,
        listener: &'run mut dyn Listener,
    ) -> Self {
        Self {
            client,
            header,
            source,
            patience,
            listener,
            window: Window::default(),
            is_read: false,
            was_open: false,
        }
    }

    /// Sends all of it.
    pub(super) async fn run(&mut self) -> Result<(), Stop> {
        let mut retries = Retries::default();
        loop {
            // A stream is opened for somebody to send: the service does not wait for ever, a slow list may.
            while self.window.is_answered() && !self.is_read {
                self.read().await?;
            }
            if self.window.is_answered() {
                return Ok(());
            }
            let before = self.window.first_index();
            let stop = match self.attempt().await {
                Ok(()) => return Ok(()),
                Err(stop) => stop,
            };
            let Stop::Status(status) = stop else {
                return Err(stop);
            };
            let status = if self.was_open {
                broken(*status)
            } else {
                *status
            };
            if self.window.first_index() > before {
                retries = Retries::default();
            }
            // A stream that ended while nobody had anything to send was no failure.
            if self.window.is_answered() && !self.is_read && is_retryable(&status) {
                continue;
            }
            let Some((delay, sentence)) = retries.next(NAME, &status) else {
                return Err(status.into());
            };
            self.listener.say(&sentence);
            tokio::time::sleep(delay).await;
        }
    }

    /// Sends what is on its way and what follows through one stream.
    async fn attempt(&mut self) -> Result<(), Stop> {
        let mut open = self.open().await?;
        loop {
            let is_waiting = open.next > self.window.first_index() || open.requests.is_none();
            let has_more = open.next < self.window.end_index();
            let can_send = has_more
                && (self.is_read
                    || !self.window.has_room()
                    || self.window.fills_message(open.next)
                    || open.linger_ends <= Instant::now());
            let wants_rows = !self.is_read && self.window.has_room();
            if self.is_read && !has_more {
                // Says to the service that this is all.
                open.requests = None;
            }
            let requests = open.requests.clone();
            tokio::select! {
                biased;
                response = open.responses.next() => match response {
                    Some(response) => self.answered(&mut open, response?)?,
                    None if self.is_read && self.window.is_answered() => return Ok(()),
                    None => return Err(Status::unavailable("the stream ended early").into()),
                },
                permit = reserve(requests.as_ref()), if can_send => {
                    let items = self.window.message(open.next);
                    if !is_waiting {
                        open.patience_ends = Instant::now() + self.patience;
                    }
                    open.next += i64::try_from(items.len()).unwrap_or(i64::MAX);
                    open.linger_ends = Instant::now() + LINGER;
                    match permit {
                        Some(permit) => permit.send(BulkCreateStreamRequest { header: None, items }),
                        // The stream is over, and its end says why.
                        None => open.requests = None,
                    }
                }
                read = self.source.next(), if wants_rows => {
                    self.take(read)?;
                    self.take_ready()?;
                    if !has_more {
                        open.linger_ends = Instant::now() + LINGER;
                    }
                }
                () = sleep_until(open.linger_ends), if has_more && !can_send => {}
                () = sleep_until(open.patience_ends), if is_waiting => {
                    return Err(Status::deadline_exceeded("no answer in time").into());
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Open, Stop> {
        let first_index = self.window.first_index();
        // Without a request_id the service remembers nothing, so what is left is a list of its own.
        let is_remembered = !self.header.request_id.is_empty();
        let (told, base) = if is_remembered {
            (first_index, 0)
        } else {
            (0, first_index)
        };
        let (requests, mut messages) = mpsc::channel(MESSAGES_AHEAD_MAX);
        let header = BulkCreateStreamHeader {
            first_index: told,
            ..self.header.clone()
        };
        let message = BulkCreateStreamRequest {
            header: Some(header),
            items: Vec::new(),
        };
        // There is room for it: the channel is new.
        let _ = requests.try_send(message);
        let messages = futures::stream::poll_fn(move |context| messages.poll_recv(context));
        let call = self.client.bulk_create_stream(endless(messages));
        let responses = tokio::time::timeout(self.patience, call)
            .await
            .map_err(|_| Status::deadline_exceeded("no answer in time"))??
            .into_inner();
        let now = Instant::now();
        Ok(Open {
            requests: Some(requests),
            responses,
            base,
            next: first_index,
            patience_ends: now + self.patience,
            linger_ends: now + LINGER,
        })
    }

    fn answered(
        &mut self,
        open: &mut Open,
        response: BulkCreateStreamResponse,
    ) -> Result<(), Stop> {
        open.patience_ends = Instant::now() + self.patience;
        self.was_open = true;
        self.listener.opened(&response.batch_id);
        let rows = self.window.answer(response, open.base, open.next);
        let rows = rows.map_err(|sentence| Stop::Other(CommandError::Refused(sentence)))?;
        self.tell(rows)
    }

    /// Waits for the next row, and takes others that are there.
    async fn read(&mut self) -> Result<(), Stop> {
        let row = self.source.next().await;
        self.take(row)?;
        self.take_ready()
    }

    fn take_ready(&mut self) -> Result<(), Stop> {
        while self.window.has_room() && !self.is_read {
            let Some(row) = self.source.next_ready() else {
                break;
            };
            self.take(Some(row))?;
        }
        let rows = self.window.take_unreadable();
        self.tell(rows)
    }

    fn take(&mut self, row: Option<Result<Entry, Trouble>>) -> Result<(), Stop> {
        match row {
            Some(Ok(entry)) => self.window.push(entry),
            Some(Err(trouble)) => return Err(Stop::Trouble(trouble)),
            None => self.is_read = true,
        }
        Ok(())
    }

    fn tell(&mut self, rows: Vec<Row>) -> Result<(), Stop> {
        if rows.is_empty() {
            return Ok(());
        }
        self.listener.rows(rows).map_err(Stop::Other)
    }
}

/// Room for one more message; `None` if the stream is over.
async fn reserve<T>(requests: Option<&mpsc::Sender<T>>) -> Option<mpsc::Permit<'_, T>> {
    requests?.reserve().await.ok()
}

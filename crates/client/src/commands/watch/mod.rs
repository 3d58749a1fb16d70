//! The command `watch`, which prints one line per event until it is interrupted.
//!
//! A broken stream is opened again with the last cursor. Events that the server repeats then are printed only once.

mod cursor_file;
mod event_line;

use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use invitations_command::error::{CommandError, Exit};
use tonic::{Status, Streaming};

use crate::commands::watch::cursor_file::CursorFile;
use crate::commands::watch::event_line::{json_line, text_line};
use crate::connection::{
    Connection, ConnectionArgs, InvitationClient, RetryCounter, as_lost_connection,
    without_deadline,
};
use crate::output::OutputFormat;
use crate::proto::{WatchRequest, WatchResponse};

/// Longest time between two responses. The server sends a response at least every 30 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Ids that are kept. The server repeats at most the events of one response.
const IDS_MAX: usize = 10_000;
const METHOD: &str = "Watch";

const AFTER_HELP: &str = "\
A line has the time, the type of the event, the invitation and its batch. With --format json, a line is an object with \
these and more values. Among them is a cursor: with --cursor, a later command continues after that event.

A broken stream is opened again automatically. With --cursor-file, a later command continues where this one ended. The \
last events may then be printed again, with the same id.

Exit status:
  0  the command was interrupted, or the reader of its output ended
  1  the call failed; for example, the server no longer has the events after the cursor
  2  the command line or the cursor file is wrong

Examples:
  invitectl watch --organization acme
  invitectl watch --organization acme --from-start --format json --cursor-file acme.cursor | consumer";

/// Print the events of invitations as they happen
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WatchArgs {
    /// Organization of the invitations
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Only events of this batch
    #[arg(long, value_name = "BATCH_ID")]
    batch: Option<String>,
    /// Start with the oldest event that the server has [default: with new events]
    #[arg(long)]
    from_start: bool,
    /// Start after the event with this cursor
    #[arg(long, conflicts_with_all = ["from_start", "cursor_file"])]
    cursor: Option<String>,
    /// Store the cursor in this file, and start with its cursor if the file exists
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    /// Format of the lines
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &WatchArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let file = args.cursor_file.as_deref().map(CursorFile::open);
    let file = file.transpose()?;
    let stored = file.as_ref().map_or("", CursorFile::cursor);
    let cursor = args.cursor.as_deref().unwrap_or(stored).to_owned();
    let connection = args.connection.connect().await?;
    let mut watcher = EventWatcher {
        client: connection.invitations(),
        connection,
        args,
        cursor,
        file,
        recent: RecentIds::default(),
        out,
    };
    let result = tokio::select! {
        result = watcher.run() => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    match result {
        Ok(()) => Ok(Exit::Done),
        Err(failure) if failure.is_broken_pipe() => Ok(Exit::Done),
        Err(failure) => Err(failure),
    }
}

struct EventWatcher<'run> {
    connection: Connection,
    client: InvitationClient,
    args: &'run WatchArgs,
    cursor: String,
    file: Option<CursorFile>,
    recent: RecentIds,
    out: &'run mut dyn Write,
}

impl EventWatcher<'_> {
    async fn run(&mut self) -> Result<(), CommandError> {
        let mut retries = RetryCounter::default();
        let mut was_open = false;
        loop {
            let mut stream = None;
            let status = loop {
                match self.next_response(&mut stream).await {
                    Ok(response) => {
                        self.print(response)?;
                        (retries, was_open) = (RetryCounter::default(), true);
                    }
                    Err(status) => break status,
                }
            };
            let (status, retry) = if was_open {
                let status = as_lost_connection(status);
                let retry = retries.next_unlimited(METHOD, &status);
                (status, retry)
            } else {
                let retry = retries.next(METHOD, &status);
                (status, retry)
            };
            let Some((delay, message)) = retry else {
                return Err(self.connection.refused(METHOD, &status));
            };
            eprintln!("{message}");
            tokio::time::sleep(delay).await;
        }
    }

    /// The next response. Opens the stream if it is not open.
    async fn next_response(
        &mut self,
        stream: &mut Option<Streaming<WatchResponse>>,
    ) -> Result<WatchResponse, Status> {
        let next = async {
            let stream = if let Some(stream) = stream {
                stream
            } else {
                let request = without_deadline(self.request());
                stream.insert(self.client.watch(request).await?.into_inner())
            };
            let response = stream.message().await?;
            response.ok_or_else(|| Status::unavailable("the stream ended"))
        };
        tokio::time::timeout(SILENCE_MAX, next)
            .await
            .unwrap_or_else(|_| Err(Status::unavailable("the server has stopped responding")))
    }

    fn request(&self) -> WatchRequest {
        WatchRequest {
            organization_id: self.args.organization.clone(),
            batch_id: self.args.batch.clone().unwrap_or_default(),
            cursor: self.cursor.clone(),
            from_now: !self.args.from_start,
        }
    }

    /// Prints the new events of a response, and then stores its cursor.
    fn print(&mut self, response: WatchResponse) -> Result<(), CommandError> {
        let last = response.events.len().saturating_sub(1);
        for (index, event) in response.events.iter().enumerate() {
            if !self.recent.add(&event.id) {
                continue;
            }
            // The cursor of a response is that of its last event. A reader that stops earlier must read the response again.
            let cursor = if index == last {
                &response.cursor
            } else {
                &self.cursor
            };
            let line = match self.args.format {
                OutputFormat::Text => text_line(event),
                OutputFormat::Json => json_line(event, cursor),
            };
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()?;
        if !response.cursor.is_empty() {
            self.cursor = response.cursor;
        }
        match &mut self.file {
            Some(file) => file.set(&self.cursor),
            None => Ok(()),
        }
    }
}

/// The ids of the latest events, to detect events that the server sends again.
#[derive(Default)]
struct RecentIds {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl RecentIds {
    /// Adds an id. Returns whether it is new.
    fn add(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

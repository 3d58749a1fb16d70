//! The command `watch`, which prints one line per event until it is interrupted.
//!
//! A broken stream is opened again with the last cursor. Events that the server repeats then are printed only once.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use invitations_command::error::{CommandError, CommandResult, Exit};
use invitations_command::secret_file;
use serde_json::json;
use tonic::{Status, Streaming};

use crate::connection::{
    Connection, ConnectionArgs, InvitationClient, RetryCounter, without_deadline,
};
use crate::enum_parser::{ArgumentText, enum_parser};
use crate::output::{OutputFormat, escaped, replace_file, short_name, time_text};
use crate::proto::{InvitationEvent, InvitationEventType, WatchRequest, WatchResponse};

/// Longest time between two responses. The server sends a response at least every 30 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Ids that are kept. The server repeats at most the events of one response.
const IDS_MAX: usize = 10_000;
const METHOD: &str = "Watch";

const AFTER_HELP: &str = "\
A line has the time, the type of the event, the invitation and its batch; without --organization also the organization. \
With --format json, a line is an object with \
these and more values. Among them is a cursor: with --cursor, a later command continues after that event. A cursor \
belongs to the organization, the batch and the types.

A broken stream is opened again automatically. With --cursor-file, a later command continues where this one ended. The \
last events may then be printed again, with the same id.

Exit status:
  0  the command was interrupted, or the reader of its output ended
  1  the call failed; for example, the server no longer has the events after the cursor
  2  the command line or the cursor file is wrong

Examples:
  invitectl watch --organization acme
  invitectl watch --type bounced --type failed
  invitectl watch --organization acme --from-start --format json --cursor-file acme.cursor | consumer";

/// Print the events of invitations as they happen
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct WatchArgs {
    /// Organization of the invitations [default: all that the caller may see]
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// Only events of this batch
    #[arg(long, value_name = "BATCH_ID", requires = "organization")]
    batch: Option<String>,
    /// Only events of this type; can be repeated
    #[arg(long = "type", value_name = "TYPE", value_parser = enum_parser(type_text))]
    types: Vec<InvitationEventType>,
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

fn type_text(event_type: InvitationEventType) -> ArgumentText {
    Some(match event_type {
        InvitationEventType::Created => ("created", "The invitation was created"),
        InvitationEventType::Sent => ("sent", "A mail server accepted its email"),
        InvitationEventType::Deferred => ("deferred", "The first attempt to send it failed"),
        InvitationEventType::Bounced => ("bounced", "Its email was returned"),
        InvitationEventType::Complained => ("complained", "Its email was reported as spam"),
        InvitationEventType::Failed => ("failed", "The server gave up on its email"),
        InvitationEventType::Suppressed => ("suppressed", "The address gets no emails"),
        InvitationEventType::Canceled => ("canceled", "Its email was not needed any more"),
        InvitationEventType::Accepted => ("accepted", "The person is a member now"),
        InvitationEventType::Declined => ("declined", "The person declined"),
        InvitationEventType::Revoked => ("revoked", "It was revoked"),
        InvitationEventType::Expired => ("expired", "It expired"),
        InvitationEventType::Resent => ("resent", "Its email is sent again on request"),
        InvitationEventType::Reminded => ("reminded", "A reminder was queued"),
        InvitationEventType::Requeued => ("requeued", "Its failed email was queued again"),
        InvitationEventType::Unspecified => return None,
    })
}

pub(crate) async fn run(args: &WatchArgs, out: &mut dyn Write) -> CommandResult {
    let file = args.cursor_file.as_deref().map(CursorFile::open);
    let file = file.transpose()?;
    let stored = file.as_ref().map_or("", |file| &file.cursor);
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
        Err(failure) if !failure.is_broken_pipe() => Err(failure),
        _ => Ok(Exit::Done),
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
        loop {
            let mut stream = None;
            let status = loop {
                match self.next_response(&mut stream).await {
                    Ok(response) => {
                        self.print(response)?;
                        retries = RetryCounter::default();
                        retries.is_unlimited = true;
                    }
                    Err(status) => break status,
                }
            };
            let retry = retries.wait(METHOD, status, |message| eprintln!("{message}"));
            let failure = |status| self.connection.refused(METHOD, &status);
            retry.await.map_err(failure)?;
        }
    }

    async fn next_response(
        &mut self,
        stream: &mut Option<Streaming<WatchResponse>>,
    ) -> Result<WatchResponse, Status> {
        let next = async {
            let stream = if let Some(stream) = stream {
                stream
            } else {
                let request = without_deadline(WatchRequest {
                    organization_id: self.args.organization.clone().unwrap_or_default(),
                    batch_id: self.args.batch.clone().unwrap_or_default(),
                    cursor: self.cursor.clone(),
                    from_now: !self.args.from_start,
                    types: self.args.types.iter().map(|it| (*it).into()).collect(),
                });
                stream.insert(self.client.watch(request).await?.into_inner())
            };
            let response = stream.message().await?;
            response.ok_or_else(|| Status::unavailable("the stream ended"))
        };
        tokio::time::timeout(SILENCE_MAX, next)
            .await
            .unwrap_or_else(|_| Err(Status::unavailable("the server has stopped responding")))
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
                OutputFormat::Text => text_line(event, self.args.organization.is_none()),
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

/// The file of `--cursor-file`, which stores how far the events were read.
struct CursorFile {
    path: PathBuf,
    /// The content of the file. Empty if there is no cursor.
    cursor: String,
}

impl CursorFile {
    fn open(path: &Path) -> Result<Self, CommandError> {
        Ok(Self {
            path: path.to_owned(),
            cursor: secret_file::read_or_empty(path)?.trim().to_owned(),
        })
    }

    fn set(&mut self, cursor: &str) -> Result<(), CommandError> {
        if cursor == self.cursor {
            return Ok(());
        }
        let write = |part: &Path| {
            let mut file = File::create(part)?;
            writeln!(file, "{cursor}")?;
            file.sync_all()
        };
        replace_file(&self.path, write)
            .map_err(|source| CommandError::file("write", &self.path, source))?;
        cursor.clone_into(&mut self.cursor);
        Ok(())
    }
}

fn text_line(event: &InvitationEvent, shows_organization: bool) -> String {
    let mut line = format!(
        "{} {:<10} {} {}",
        time_text(event.event_time),
        type_name(event).to_ascii_lowercase(),
        escaped(&event.invitation_id),
        escaped(&event.batch_id)
    );
    if shows_organization {
        line.push(' ');
        line.push_str(&escaped(&event.organization_id));
    }
    line
}

fn json_line(event: &InvitationEvent, cursor: &str) -> String {
    json!({
        "id": event.id,
        "type": type_name(event),
        "time": time_text(event.event_time),
        "organization_id": event.organization_id,
        "batch_id": event.batch_id,
        "invitation_id": event.invitation_id,
        "cursor": cursor,
    })
    .to_string()
}

/// A type that this version does not know becomes `TYPE_` and its number.
fn type_name(event: &InvitationEvent) -> String {
    InvitationEventType::try_from(event.r#type).map_or_else(
        |_| format!("TYPE_{}", event.r#type),
        |known| short_name(known.as_str_name(), "INVITATION_EVENT_TYPE_"),
    )
}

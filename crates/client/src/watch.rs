//! `watch`: what happens to invitations, a line for each event, for as long as somebody reads.
//!
//! A break is none of the reader's business: the stream is taken up from the last cursor, and what comes twice is shown
//! once. It keeps nothing but a cursor and the ids of the latest events.

use std::collections::{HashSet, VecDeque};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tonic::{Status, Streaming};

use super::batch::Format;
use super::connection::{Connection, ConnectionArgs, endless};
use super::cursor_file::CursorFile;
use super::retry::{Retries, broken};
use super::status::{refused, short_name};
use super::visible::visible;
use crate::proto::invitation_service_client::InvitationServiceClient;
use crate::proto::{Event, WatchRequest, WatchResponse};
use invitations_command::error::{CommandError, Exit};

/// How long the service may say nothing: it promises a word every 30 seconds.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// How many events are known again when they come again: more than a few responses hold.
const KNOWN_MAX: usize = 10_000;
const NAME: &str = "Watch";

const AFTER_HELP: &str = "\
A line is the time, what happened, the invitation and its batch; with --format json an object with those and more. Its \
cursor goes on after that event: --cursor with the last one misses nothing.

A broken stream is taken up by itself. With --cursor-file a command that was ended goes on where it ended; an event that \
was shown in its last moment may be shown again, with the same id.

Exit status:
  0  interrupted, or nobody reads any more
  1  the call failed: among others, the cursor is older than the events that are kept
  2  the command line or the cursor file is wrong

Examples:
  invitations watch --organization acme
  invitations watch --organization acme --from-start --format json --cursor-file acme.cursor | consumer";

/// Show what happens to invitations, as it happens
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct WatchArgs {
    /// Organization of the invitations
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Only those that one call made
    #[arg(
        long,
        value_name = "BATCH_ID",
        default_value = "",
        hide_default_value = true
    )]
    batch: String,
    /// Begin with the oldest event that is kept [default: with what happens from now on]
    #[arg(long)]
    from_start: bool,
    /// Begin after an event that was shown before
    #[arg(long, conflicts_with_all = ["from_start", "cursor_file"])]
    cursor: Option<String>,
    /// Keep in this file how far it came, and begin there if the file is there
    #[arg(long, value_name = "FILE")]
    cursor_file: Option<PathBuf>,
    /// How lines are written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs the command.
pub async fn run(args: &WatchArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let file = args
        .cursor_file
        .as_deref()
        .map(CursorFile::open)
        .transpose()?;
    let kept = file.as_ref().map_or("", CursorFile::cursor);
    let cursor = args.cursor.as_deref().unwrap_or(kept).to_owned();
    let mut watching = Watching {
        client: args.connection.invitations().await?,
        args,
        cursor,
        file,
        known: Known::default(),
        out,
    };
    let result = tokio::select! {
        result = watching.run() => result,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    match result {
        Ok(()) => Ok(Exit::Done),
        // Whoever read has read enough.
        Err(failure) if failure.is_broken_pipe() => Ok(Exit::Done),
        Err(failure) => Err(failure),
    }
}

struct Watching<'run> {
    client: InvitationServiceClient<Connection>,
    args: &'run WatchArgs,
    cursor: String,
    file: Option<CursorFile>,
    known: Known,
    out: &'run mut dyn Write,
}

impl Watching<'_> {
    async fn run(&mut self) -> Result<(), CommandError> {
        let mut retries = Retries::default();
        let mut was_open = false;
        loop {
            let mut stream = None;
            let status = loop {
                match self.next(&mut stream).await {
                    Ok(response) => {
                        self.show(response)?;
                        (retries, was_open) = (Retries::default(), true);
                    }
                    Err(status) => break status,
                }
            };
            let status = if was_open { broken(status) } else { status };
            let again = if was_open {
                retries.next_of_many(NAME, &status)
            } else {
                retries.next(NAME, &status)
            };
            let Some((delay, sentence)) = again else {
                return Err(refused(NAME, self.args.connection.server(), &status));
            };
            eprintln!("{sentence}");
            tokio::time::sleep(delay).await;
        }
    }

    /// The next response, of a new stream if there is none.
    async fn next(
        &mut self,
        stream: &mut Option<Streaming<WatchResponse>>,
    ) -> Result<WatchResponse, Status> {
        let next = async {
            if stream.is_none() {
                let request = endless(self.request());
                *stream = Some(self.client.watch(request).await?.into_inner());
            }
            let Some(stream) = stream else {
                return Err(Status::unavailable("the stream did not begin"));
            };
            let response = stream.message().await?;
            response.ok_or_else(|| Status::unavailable("the stream ended"))
        };
        tokio::time::timeout(SILENCE_MAX, next)
            .await
            .unwrap_or_else(|_| Err(Status::unavailable("the service says nothing any more")))
    }

    fn request(&self) -> WatchRequest {
        WatchRequest {
            organization_id: self.args.organization.clone(),
            batch_id: self.args.batch.clone(),
            cursor: self.cursor.clone(),
            from_now: !self.args.from_start,
        }
    }

    /// Writes the events of a response that are new, and then how far that is.
    fn show(&mut self, response: WatchResponse) -> Result<(), CommandError> {
        let last = response.events.len().saturating_sub(1);
        for (index, event) in response.events.iter().enumerate() {
            if self.known.add(&event.id) {
                // The cursor of a response is that of its last event: whoever stops before it reads all of it again.
                let is_last = index == last;
                let cursor = if is_last {
                    &response.cursor
                } else {
                    &self.cursor
                };
                let line = match self.args.format {
                    Format::Text => text(event),
                    Format::Json => json(event, cursor),
                };
                writeln!(self.out, "{line}")?;
            }
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

/// The ids of the latest events.
#[derive(Default)]
struct Known {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Known {
    /// Whether this id is new.
    fn add(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > KNOWN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// What happened, in one word; a kind that is newer than this command shows as its number.
fn kind(event: &Event) -> String {
    crate::proto::EventType::try_from(event.r#type).map_or_else(
        |_| format!("TYPE_{}", event.r#type),
        |known| short_name(known.as_str_name(), "EVENT_TYPE_"),
    )
}

fn time(event: &Event) -> String {
    event
        .event_time
        .map(|time| time.to_string())
        .unwrap_or_default()
}

fn text(event: &Event) -> String {
    format!(
        "{} {:<10} {} {}",
        time(event),
        kind(event).to_ascii_lowercase(),
        visible(&event.invitation_id),
        visible(&event.batch_id)
    )
}

fn json(event: &Event, cursor: &str) -> String {
    json!({
        "id": event.id,
        "type": kind(event),
        "time": time(event),
        "organization_id": event.organization_id,
        "batch_id": event.batch_id,
        "invitation_id": event.invitation_id,
        "cursor": cursor,
    })
    .to_string()
}

#[cfg(test)]
mod tests;

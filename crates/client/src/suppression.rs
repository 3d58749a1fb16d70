//! `suppression`: the list of addresses that get no more invitations, from the command line.
//!
//! The service keeps no address, so a list shows none: whoever wants to know of one names it.

use std::fs;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use comfy_table::Table;
use prost_types::Timestamp;
use serde_json::{Value, json};

use super::chunks;
use super::connection::{Connection, ConnectionArgs};
use super::retry::retrying;
use super::status::{reason_name, refused, short_name};
use super::table;
use super::visible::visible;
use crate::clock::now;
use crate::proto::suppression_service_client::SuppressionServiceClient;
use crate::proto::{
    ItemError, Suppression, SuppressionReason, SuppressionServiceAddRequest,
    SuppressionServiceLiftRequest, SuppressionServiceListRequest,
};
use invitations_command::error::{CommandError, Exit};

/// Entries asked for at once.
const PAGE_SIZE: i32 = 1_000;
/// What `--from` calls the standard input.
const STDIN: &str = "-";

const CHANGE_AFTER_HELP: &str = "\
Exit status:
  0  every address was taken, whether or not that changed anything
  1  a call failed
  2  the command line or the file is wrong; nothing was sent
  3  some addresses were refused

Examples:
  invitations suppression add ada@example.com --organization acme --expires-in 30d
  invitations suppression lift --from addresses.txt";

const LIST_AFTER_HELP: &str = "\
Exit status:
  0  the list was shown, be it empty
  1  a call failed, or the address of --email is not on the list
  2  the command line is wrong

Example:
  invitations suppression list --email ada@example.com --json";

/// What can be done with the suppression list.
#[derive(Clone, clap::Subcommand)]
pub enum SuppressionCommand {
    /// Put addresses on the list, so that they get no more invitations
    #[command(after_help = CHANGE_AFTER_HELP)]
    Add(SuppressionAddArgs),
    /// Show what is on the list
    #[command(after_help = LIST_AFTER_HELP)]
    List(SuppressionListArgs),
    /// Take addresses off the list, whatever they were on it for
    #[command(after_help = CHANGE_AFTER_HELP)]
    Lift(SuppressionLiftArgs),
}

/// The arguments of `suppression add`.
#[derive(Clone, clap::Args)]
pub struct SuppressionAddArgs {
    // Before the others: those end under a heading of their own.
    /// When it ends, such as 30d from now [default: when it is lifted]
    #[arg(long, value_name = "TIME")]
    expires_in: Option<humantime::Duration>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The arguments of `suppression lift`.
#[derive(Clone, clap::Args)]
pub struct SuppressionLiftArgs {
    #[command(flatten)]
    change: ChangeArgs,
}

/// The arguments of `suppression list`.
#[derive(Clone, clap::Args)]
pub struct SuppressionListArgs {
    /// Only what was suppressed for this organization [default: everything]
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    organization: String,
    /// Only what was suppressed for this address
    #[arg(
        long,
        value_name = "EMAIL",
        default_value = "",
        hide_default_value = true
    )]
    email: String,
    /// Only what was suppressed for this reason
    #[arg(long, value_enum)]
    reason: Option<Reason>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What adding and lifting have in common.
#[derive(Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("addresses").required(true).args(["emails", "from"])))]
struct ChangeArgs {
    /// Addresses
    #[arg(value_name = "EMAIL")]
    emails: Vec<String>,
    /// Read addresses from this file, one on each line; - is stdin
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Organization whose invitations are meant [default: those of all]
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    organization: String,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Reason {
    /// There is no such mailbox
    HardBounce,
    /// A mail was reported as unwanted
    Complaint,
    /// Its reader followed the link that stops mails
    Unsubscribed,
    /// Its reader declined and wants no other
    Declined,
    /// Somebody put it on the list
    Manual,
}

/// What became of one address.
struct Row {
    email: String,
    outcome: String,
    error: Option<ItemError>,
}

/// Runs a suppression command.
pub async fn run(command: &SuppressionCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    match command {
        SuppressionCommand::Add(args) => add(args, out).await,
        SuppressionCommand::List(args) => list(args, out).await,
        SuppressionCommand::Lift(args) => lift(&args.change, out).await,
    }
}

async fn add(args: &SuppressionAddArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let expire_time = args.expires_in.map(|life| end_of(*life)).transpose()?;
    let change = &args.change;
    let emails = change.emails()?;
    let mut client = change.connection.suppressions().await?;
    let mut rows = Vec::new();
    for chunk in chunks::of(emails, |email| email) {
        let request = SuppressionServiceAddRequest {
            emails: chunk.clone(),
            organization_id: change.organization.clone(),
            expire_time,
        };
        let response = retrying("Add", async || client.add(request.clone()).await)
            .await
            .map_err(|status| refused("Add", change.connection.server(), &status))?;
        let results = response.results.into_iter().map(|result| {
            let outcome = short_name(result.outcome().as_str_name(), "ADD_OUTCOME_");
            (outcome, result.error)
        });
        rows.extend(rows_of(chunk, results));
    }
    change.report(&rows, out)
}

async fn lift(change: &ChangeArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let emails = change.emails()?;
    let mut client = change.connection.suppressions().await?;
    let mut rows = Vec::new();
    for chunk in chunks::of(emails, |email| email) {
        let request = SuppressionServiceLiftRequest {
            emails: chunk.clone(),
            organization_id: change.organization.clone(),
        };
        let response = retrying("Lift", async || client.lift(request.clone()).await)
            .await
            .map_err(|status| refused("Lift", change.connection.server(), &status))?;
        let results = response.results.into_iter().map(|result| {
            let outcome = short_name(result.outcome().as_str_name(), "LIFT_OUTCOME_");
            (outcome, result.error)
        });
        rows.extend(rows_of(chunk, results));
    }
    change.report(&rows, out)
}

async fn list(args: &SuppressionListArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let mut client = args.connection.suppressions().await?;
    let found = pages(args, &mut client).await?;
    if args.json {
        let entries: Vec<Value> = found.iter().map(entry_to_json).collect();
        writeln!(out, "{:#}", json!({"suppressions": entries}))?;
    } else {
        write_entries(&found, out)?;
    }
    let is_missing = found.is_empty() && !args.email.is_empty();
    Ok(if is_missing {
        Exit::Negative
    } else {
        Exit::Done
    })
}

async fn pages(
    args: &SuppressionListArgs,
    client: &mut SuppressionServiceClient<Connection>,
) -> Result<Vec<Suppression>, CommandError> {
    let reason = args
        .reason
        .map_or(SuppressionReason::Unspecified, Reason::into_proto);
    let mut request = SuppressionServiceListRequest {
        organization_id: args.organization.clone(),
        email: args.email.clone(),
        reason: reason.into(),
        page_size: PAGE_SIZE,
        page_token: String::new(),
    };
    let mut found = Vec::new();
    loop {
        let page = retrying("List", async || client.list(request.clone()).await)
            .await
            .map_err(|status| refused("List", args.connection.server(), &status))?;
        found.extend(page.suppressions);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}

impl ChangeArgs {
    fn emails(&self) -> Result<Vec<String>, CommandError> {
        let Some(path) = &self.from else {
            return Ok(self.emails.clone());
        };
        let text = if path == Path::new(STDIN) {
            let mut text = String::new();
            io::stdin().lock().read_to_string(&mut text).map(|_| text)
        } else {
            fs::read_to_string(path)
        };
        let emails = lines(&text.map_err(|source| CommandError::file("read", path, source))?);
        if emails.is_empty() {
            let message = format!("nothing was sent, {} holds no address", path.display());
            return Err(CommandError::Usage(message));
        }
        Ok(emails)
    }

    fn report(&self, rows: &[Row], out: &mut dyn Write) -> Result<Exit, CommandError> {
        if self.json {
            let results: Vec<Value> = rows.iter().map(row_to_json).collect();
            writeln!(out, "{:#}", json!({"results": results}))?;
        } else {
            write_rows(rows, out)?;
        }
        let is_partly = rows.iter().any(|row| row.error.is_some());
        Ok(if is_partly { Exit::Partly } else { Exit::Done })
    }
}

impl Reason {
    const fn into_proto(self) -> SuppressionReason {
        match self {
            Self::HardBounce => SuppressionReason::HardBounce,
            Self::Complaint => SuppressionReason::Complaint,
            Self::Unsubscribed => SuppressionReason::Unsubscribed,
            Self::Declined => SuppressionReason::Declined,
            Self::Manual => SuppressionReason::Manual,
        }
    }
}

/// The addresses of a file: its lines as they stand, without the empty ones.
fn lines(text: &str) -> Vec<String> {
    text.trim_start_matches('\u{feff}')
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect()
}

fn end_of(life: std::time::Duration) -> Result<Timestamp, CommandError> {
    let end = time::Duration::try_from(life)
        .ok()
        .and_then(|life| now().checked_add(life))
        .ok_or_else(|| CommandError::Usage("--expires-in is too long".to_owned()))?;
    Ok(Timestamp {
        seconds: end.unix_timestamp(),
        nanos: i32::try_from(end.nanosecond()).unwrap_or(0),
    })
}

fn rows_of(
    chunk: Vec<String>,
    results: impl Iterator<Item = (String, Option<ItemError>)>,
) -> impl Iterator<Item = Row> {
    chunk
        .into_iter()
        .zip(results)
        .map(|(email, (outcome, error))| Row {
            email,
            outcome,
            error,
        })
}

fn write_rows(rows: &[Row], out: &mut dyn Write) -> io::Result<()> {
    let mut shown = table::with_header(["Address", "Outcome", "Reason", "Explanation"], &[]);
    for row in rows {
        let (reason, sentence) = row.error.as_ref().map_or_else(Default::default, |error| {
            (reason_name(error.reason), visible(&error.message))
        });
        shown.add_row([visible(&row.email), row.outcome.clone(), reason, sentence]);
    }
    write_table(&shown, out)
}

fn write_entries(found: &[Suppression], out: &mut dyn Write) -> io::Result<()> {
    let mut shown = table::with_header(["Tag", "Organization", "Reason", "Since", "Until"], &[]);
    for entry in found {
        let organization = match entry.organization_id.as_str() {
            "" => "(all)".to_owned(),
            id => visible(id),
        };
        shown.add_row([
            visible(&entry.tag),
            organization,
            reason_of(entry),
            entry
                .create_time
                .map(|time| time.to_string())
                .unwrap_or_default(),
            entry
                .expire_time
                .map_or_else(|| "until lifted".to_owned(), |time| time.to_string()),
        ]);
    }
    if !shown.is_empty() {
        write_table(&shown, out)?;
    }
    let entries = if found.len() == 1 { "entry" } else { "entries" };
    writeln!(out, "{} {entries}", found.len())
}

fn write_table(shown: &Table, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", shown.trim_fmt())
}

fn row_to_json(row: &Row) -> Value {
    json!({
        "email": row.email,
        "outcome": row.outcome,
        "reason": row.error.as_ref().map(|error| reason_name(error.reason)),
    })
}

fn entry_to_json(entry: &Suppression) -> Value {
    json!({
        "tag": entry.tag,
        "organization_id": entry.organization_id,
        "reason": reason_of(entry),
        "create_time": entry.create_time.map(|time| time.to_string()),
        "expire_time": entry.expire_time.map(|time| time.to_string()),
    })
}

fn reason_of(entry: &Suppression) -> String {
    short_name(entry.reason().as_str_name(), "SUPPRESSION_REASON_")
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[test]
    fn a_file_has_an_address_on_each_line() {
        let text = "\u{feff}a@b.co\r\n\n  \n c@d.co\nwhat is this";
        assert_eq!(lines(text), ["a@b.co", " c@d.co", "what is this"]);
    }

    #[test]
    fn what_was_refused_is_told_with_its_reason() {
        let row = |email: &str, outcome: &str, error| Row {
            email: email.to_owned(),
            outcome: outcome.to_owned(),
            error,
        };
        let error = ItemError {
            reason: crate::proto::ErrorReason::EmailInvalid.into(),
            message: "is no address".to_owned(),
            ..Default::default()
        };
        let rows = [
            row("a@b.co", "ADDED", None),
            row("what", "FAILED", Some(error)),
        ];
        let mut out = Vec::new();
        write_rows(&rows, &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        for words in [
            &["a@b.co", "ADDED"][..],
            &["what", "FAILED", "EMAIL_INVALID"],
        ] {
            assert!(
                shown.lines().any(|line| line
                    .split_whitespace()
                    .take(words.len())
                    .eq(words.iter().copied())),
                "{shown}"
            );
        }
    }

    #[test]
    fn addresses_are_named_or_read_from_a_file() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(subcommand)]
            _command: SuppressionCommand,
        }
        let refusal = |line: &str| {
            Line::try_parse_from(line.split(' '))
                .err()
                .map(|error| error.to_string())
        };
        let told = refusal("suppression add").unwrap();
        assert!(told.contains("--from <FILE>"), "{told}");
        assert!(refusal("suppression add a@b.co --from x").is_some());
        assert_eq!(refusal("suppression add a@b.co c@b.co"), None);
        assert_eq!(refusal("suppression lift --from -"), None);
        let help = refusal("suppression add --help").unwrap();
        assert!(
            help.find("--expires-in") < help.find("Connection:"),
            "{help}"
        );
    }

    #[test]
    fn an_end_beyond_the_calendar_is_refused() {
        assert!(end_of(std::time::Duration::MAX).is_err());
        assert!(end_of(std::time::Duration::from_hours(24)).is_ok());
    }
}

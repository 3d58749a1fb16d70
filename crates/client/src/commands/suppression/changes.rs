//! `suppression add` and `suppression lift`.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use invitations_command::error::{CommandError, CommandResult, Exit};
use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::clock::now;
use crate::connection::{Connection, ConnectionArgs, split_into_calls};
use crate::output::{Table, escaped, reason_name, short_name};
use crate::proto::{
    AddSuppressionResult, AddSuppressionsRequest, ItemError, LiftSuppressionResult,
    LiftSuppressionsRequest,
};

pub(super) const AFTER_HELP: &str = "\
Exit status:
  0  every address was accepted, even if it was already on the list or already off it
  1  a call failed
  2  the command line or the file is wrong; nothing was sent
  3  some addresses were refused

Examples:
  invitectl suppression add ada@example.com --organization acme --expires-in 30d
  invitectl suppression lift --from addresses.txt";

/// Add addresses to the list, so that they get no more invitations
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SuppressionAddArgs {
    // Before `change`, because later options appear in the help below the heading of the connection.
    /// When the entries end, such as 30d from now [default: when they are lifted]
    #[arg(long, value_name = "TIME")]
    expires_in: Option<humantime::Duration>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("addresses").required(true).args(["emails", "from"])))]
pub(crate) struct ChangeArgs {
    /// Addresses
    #[arg(value_name = "EMAIL")]
    emails: Vec<String>,
    /// Read addresses from this file, one per line; - is stdin
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Organization whose invitations are suppressed [default: all organizations]
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// An address, the name of the outcome, and the error of a refused address.
type AddressResult = (String, String, Option<ItemError>);

/// The results of one call: the name of each outcome, and the error of a refused address.
type Outcomes = Vec<(String, Option<ItemError>)>;

pub(crate) async fn add(args: &SuppressionAddArgs, out: &mut dyn Write) -> CommandResult {
    let expire_time = args.expires_in.map(|life| end_of(*life)).transpose()?;
    let call = async |connection: &Connection, emails, organization_id| {
        let request = AddSuppressionsRequest {
            emails,
            organization_id,
            expire_time,
        };
        let mut client = connection.suppressions();
        let call = async || client.add(request.clone()).await;
        let results = connection.call("Add", call).await?.results.into_iter();
        let outcome =
            |it: &AddSuppressionResult| short_name(it.outcome().as_str_name(), "ADD_OUTCOME_");
        Ok(results.map(|it| (outcome(&it), it.error)).collect())
    };
    args.change.run(call, out).await
}

pub(crate) async fn lift(args: &ChangeArgs, out: &mut dyn Write) -> CommandResult {
    let call = async |connection: &Connection, emails, organization_id| {
        let request = LiftSuppressionsRequest {
            emails,
            organization_id,
        };
        let mut client = connection.suppressions();
        let call = async || client.lift(request.clone()).await;
        let results = connection.call("Lift", call).await?.results.into_iter();
        let outcome =
            |it: &LiftSuppressionResult| short_name(it.outcome().as_str_name(), "LIFT_OUTCOME_");
        Ok(results.map(|it| (outcome(&it), it.error)).collect())
    };
    args.run(call, out).await
}

impl ChangeArgs {
    /// Makes as many calls as the addresses need, and writes the results.
    async fn run(
        &self,
        call: impl AsyncFn(&Connection, Vec<String>, String) -> Result<Outcomes, CommandError>,
        out: &mut dyn Write,
    ) -> CommandResult {
        let emails = self.emails()?;
        let connection = self.connection.connect().await?;
        let mut results = Vec::new();
        for chunk in split_into_calls(emails) {
            let organization_id = self.organization.clone().unwrap_or_default();
            let outcomes = call(&connection, chunk.clone(), organization_id).await?;
            let rows = chunk.into_iter().zip(outcomes);
            results.extend(rows.map(|(email, (outcome, error))| (email, outcome, error)));
        }
        if self.json {
            let to_json = |(email, outcome, error): &AddressResult| {
                let reason = error.as_ref().map(|error| reason_name(error.reason));
                json!({"email": email, "outcome": outcome, "reason": reason})
            };
            let results: Vec<Value> = results.iter().map(to_json).collect();
            writeln!(out, "{:#}", json!({"results": results}))?;
        } else {
            write_results(&results, out)?;
        }
        let has_refused = results.iter().any(|(_, _, error)| error.is_some());
        Ok(Exit::partial_if(has_refused))
    }

    fn emails(&self) -> Result<Vec<String>, CommandError> {
        let Some(path) = &self.from else {
            return Ok(self.emails.clone());
        };
        let text = if path == Path::new("-") {
            io::read_to_string(io::stdin().lock())
        } else {
            fs::read_to_string(path)
        };
        let emails = lines(&text.map_err(|source| CommandError::file("read", path, source))?);
        if emails.is_empty() {
            let path = path.display();
            let message = format!("nothing was sent, because {path} has no addresses");
            return Err(CommandError::Usage(message));
        }
        Ok(emails)
    }
}

/// The lines of a file without its empty lines. Addresses are not trimmed.
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

fn write_results(results: &[AddressResult], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["Address", "Outcome", "Reason", "Explanation"], &[]);
    for (email, outcome, error) in results {
        let (reason, message) = match error {
            Some(error) => (reason_name(error.reason), escaped(&error.message)),
            None => Default::default(),
        };
        table.add_row([escaped(email), outcome.clone(), reason, message]);
    }
    table.write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_address_per_line() {
        let text = "\u{feff}a@b.co\r\n\n  \n c@d.co\nnot an address";
        assert_eq!(lines(text), ["a@b.co", " c@d.co", "not an address"]);
    }

    #[test]
    fn a_refused_address_is_printed_with_its_reason() {
        let result =
            |email: &str, outcome: &str, error| (email.to_owned(), outcome.to_owned(), error);
        let error = ItemError {
            reason: crate::proto::ErrorReason::EmailInvalid.into(),
            message: "is not an address".to_owned(),
            ..Default::default()
        };
        let results = [
            result("a@b.co", "ADDED", None),
            result("what", "FAILED", Some(error)),
        ];
        let mut out = Vec::new();
        write_results(&results, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for words in [
            &["a@b.co", "ADDED"][..],
            &["what", "FAILED", "EMAIL_INVALID"],
        ] {
            assert!(
                text.lines().any(|line| line
                    .split_whitespace()
                    .take(words.len())
                    .eq(words.iter().copied())),
                "{text}"
            );
        }
    }

    #[test]
    fn an_end_beyond_the_calendar_is_refused() {
        assert!(end_of(std::time::Duration::MAX).is_err());
        assert!(end_of(std::time::Duration::from_hours(24)).is_ok());
    }
}

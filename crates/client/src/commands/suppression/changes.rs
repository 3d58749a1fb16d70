//! `suppression add` and `suppression lift`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use invitations_command::bounded_file::{self, ROWS_FILE_BYTES_MAX};
use invitations_command::error::{CommandError, CommandResult, Exit};
use prost::Message;
use prost_types::Timestamp;
use serde_json::{Value, json};

use crate::acting_user::ActingUserArgs;
use crate::commands::suppression::address_file::{AddressRow, parse_addresses};
use crate::commands::suppression::suppression_reason::reason_text;
use crate::connection::{Connection, ConnectionArgs, split_into_calls};
use crate::enum_parser::enum_parser;
use crate::output::{Table, escaped, reason_name, short_name};
use crate::proto::{
    AddSuppressionResult, AddSuppressionsRequest, ItemError, LiftSuppressionResult,
    LiftSuppressionsRequest, NewSuppression, SuppressionReason,
};
use crate::time_argument::parse_end;

const ADD_AFTER_HELP: &str = "\
A file has one address per line. If its first line has a column email, it is CSV, separated by commas, semicolons or tabs:
  email        the address
  reason       why it is suppressed, such as complaint or HARD_BOUNCE
  expire_time  when the entry ends: a time such as 2027-01-31T12:00:00Z, or 30d from now
An empty cell takes the value of --reason or --expires. To import the list of another system, keep its reasons: an entry \
with a reason other than manual counts as one that the server recorded itself.

Adding an address never makes an entry end earlier: of two entries the one that ends later stays (KEPT).

Exit status:
  0  every address was accepted, even if it was already on the list
  1  a call failed
  2  the command line or the file is wrong; nothing was sent
  3  some addresses were refused

Examples:
  invitectl suppression add ada@example.com --organization acme --expires 30d
  invitectl suppression add --from complaints.csv --reason complaint";

const LIFT_AFTER_HELP: &str = "\
A file has one address per line. If its first line has a column email, it is CSV, and its columns reason and expire_time \
are ignored.

Exit status:
  0  every address was accepted, even if it was not on the list
  1  a call failed
  2  the command line or the file is wrong; nothing was sent
  3  some addresses were refused

Example:
  invitectl suppression lift --from addresses.txt";

/// Add addresses to the list, so that they get no more invitations
#[derive(Clone, clap::Args)]
#[command(after_help = ADD_AFTER_HELP)]
pub(crate) struct SuppressionAddArgs {
    // Before `change`, because later options appear in the help below the heading of the connection.
    /// Why the addresses are suppressed [default: manual]
    #[arg(long, value_parser = enum_parser(reason_text))]
    reason: Option<SuppressionReason>,
    /// When the entries end: 30d from now, or a time such as 2027-01-31T12:00:00Z [default: when they are lifted;
    /// hard-bounce: 180d]
    #[arg(long, value_name = "TIME", value_parser = parse_end)]
    expires: Option<Timestamp>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Remove addresses from the list, whatever the reason of their entries
#[derive(Clone, clap::Args)]
#[command(after_help = LIFT_AFTER_HELP)]
pub(crate) struct SuppressionLiftArgs {
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("addresses").required(true).args(["emails", "from"])))]
struct ChangeArgs {
    /// Addresses
    #[arg(value_name = "EMAIL")]
    emails: Vec<String>,
    /// Read addresses from this file; - is stdin
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Organization whose invitations are suppressed [default: all organizations]
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    acting_user: ActingUserArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// An address, the name of the outcome, and the error of a refused address.
type AddressResult = (String, String, Option<ItemError>);

/// The results of one call: the name of each outcome, and the error of a refused address.
type Outcomes = Vec<(String, Option<ItemError>)>;

pub(crate) async fn add(args: &SuppressionAddArgs, out: &mut dyn Write) -> CommandResult {
    let to_message = |row: AddressRow| NewSuppression {
        email: row.email,
        reason: row.reason.or(args.reason).unwrap_or_default().into(),
        expire_time: row.expire_time.or(args.expires),
    };
    let rows = args.change.rows()?.into_iter();
    let call = async |connection: &Connection, suppressions| {
        let request = AddSuppressionsRequest {
            suppressions,
            organization_id: args.change.organization_id(),
            acting_user_id: args.change.acting_user.id(),
            ..Default::default()
        };
        let mut client = connection.suppressions();
        let call = async || client.add_suppressions(request.clone()).await;
        let results = connection.call("AddSuppressions", call).await?.results;
        let outcome = |it: &AddSuppressionResult| {
            short_name(it.outcome().as_str_name(), "ADD_SUPPRESSION_OUTCOME_")
        };
        let results = results.into_iter();
        Ok(results.map(|it| (outcome(&it), it.error)).collect())
    };
    let items = rows.map(to_message).collect();
    args.change.run(items, |item| &item.email, call, out).await
}

pub(crate) async fn lift(args: &SuppressionLiftArgs, out: &mut dyn Write) -> CommandResult {
    let rows = args.change.rows()?.into_iter();
    let call = async |connection: &Connection, emails| {
        let request = LiftSuppressionsRequest {
            emails,
            organization_id: args.change.organization_id(),
            acting_user_id: args.change.acting_user.id(),
            ..Default::default()
        };
        let mut client = connection.suppressions();
        let call = async || client.lift_suppressions(request.clone()).await;
        let results = connection.call("LiftSuppressions", call).await?.results;
        let outcome = |it: &LiftSuppressionResult| {
            short_name(it.outcome().as_str_name(), "LIFT_SUPPRESSION_OUTCOME_")
        };
        let results = results.into_iter();
        Ok(results.map(|it| (outcome(&it), it.error)).collect())
    };
    let items = rows.map(|row| row.email).collect();
    args.change.run(items, |email| email, call, out).await
}

impl ChangeArgs {
    /// Makes as many calls as the items need, and writes the results.
    async fn run<T: Message>(
        &self,
        items: Vec<T>,
        email_of: impl Fn(&T) -> &String,
        call: impl AsyncFn(&Connection, Vec<T>) -> Result<Outcomes, CommandError>,
        out: &mut dyn Write,
    ) -> CommandResult {
        let connection = self.connection.connect().await?;
        let mut results = Vec::new();
        for chunk in split_into_calls(items) {
            let emails: Vec<String> = chunk.iter().map(|it| email_of(it).clone()).collect();
            let outcomes = call(&connection, chunk).await?;
            let rows = emails.into_iter().zip(outcomes);
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

    fn organization_id(&self) -> String {
        self.organization.clone().unwrap_or_default()
    }

    fn rows(&self) -> Result<Vec<AddressRow>, CommandError> {
        let Some(path) = &self.from else {
            return Ok(self.emails.iter().cloned().map(AddressRow::new).collect());
        };
        let text = if path == Path::new("-") {
            io::read_to_string(io::stdin().lock())
        } else {
            bounded_file::read(path, ROWS_FILE_BYTES_MAX).and_then(bounded_file::into_text)
        };
        let text = text.map_err(|source| CommandError::file("read", path, source))?;
        parse_addresses(&text).map_err(|problems| {
            let path = path.display();
            CommandError::Usage(format!(
                "nothing was sent, because {path} has problems:\n  {problems}"
            ))
        })
    }
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
}

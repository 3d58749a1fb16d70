//! The command `suppression`, which manages the addresses that get no more invitations.
//!
//! The service stores a tag of each address instead of the address, so the list shows tags.

mod address_file;
pub(crate) mod changes;
mod suppression_reason;

use std::io::{self, Write};

use invitations_command::error::{CommandResult, Exit};
use serde_json::{Value, json};

use crate::commands::suppression::changes::{SuppressionAddArgs, SuppressionLiftArgs};
use crate::commands::suppression::suppression_reason::reason_text;
use crate::connection::{ConnectionArgs, read_pages};
use crate::enum_parser::enum_parser;
use crate::output::{Table, escaped, short_name, time_text};
use crate::proto::{ListSuppressionsRequest, Suppression, SuppressionReason};

#[derive(Clone, clap::Subcommand)]
pub(crate) enum SuppressionCommand {
    Add(SuppressionAddArgs),
    List(SuppressionListArgs),
    Lift(SuppressionLiftArgs),
}

const LIST_AFTER_HELP: &str = "\
Exit status:
  0  the list was shown, or it is empty
  1  a call failed, or the address of --email is not on the list
  2  the command line is wrong

Example:
  invitectl suppression list --email ada@example.com --json";

/// Show the suppression list
#[derive(Clone, clap::Args)]
#[command(after_help = LIST_AFTER_HELP)]
pub(crate) struct SuppressionListArgs {
    /// Only entries of this organization [default: all entries]
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// Only entries of this address
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    /// Only entries with this reason
    #[arg(long, value_parser = enum_parser(reason_text))]
    reason: Option<SuppressionReason>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn list(args: &SuppressionListArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.connection.connect().await?;
    let mut client = connection.suppressions();
    let mut request = ListSuppressionsRequest {
        organization_id: args.organization.clone().unwrap_or_default(),
        email: args.email.clone().unwrap_or_default(),
        reason: args.reason.unwrap_or_default().into(),
        ..Default::default()
    };
    let pages = read_pages(usize::MAX, async |page_size, page_token| {
        (request.page_size, request.page_token) = (page_size, page_token);
        let call = async || client.list_suppressions(request.clone()).await;
        let page = connection.call("ListSuppressions", call).await?;
        Ok((page.suppressions, page.next_page_token))
    });
    let (entries, _) = pages.await?;
    if args.json {
        let entries: Vec<Value> = entries.iter().map(entry_to_json).collect();
        writeln!(out, "{:#}", json!({"suppressions": entries}))?;
    } else {
        write_entries(&entries, out)?;
    }
    Ok(Exit::negative_if(
        entries.is_empty() && args.email.is_some(),
    ))
}

fn write_entries(entries: &[Suppression], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["Tag", "Organization", "Reason", "Since", "Until"], &[]);
    for entry in entries {
        let organization = match entry.organization_id.as_str() {
            "" => "(all)".to_owned(),
            id => escaped(id),
        };
        let since = time_text(entry.create_time);
        let until = entry.expire_time.map(|time| time.to_string());
        let until = until.unwrap_or_else(|| "lifted".to_owned());
        table.add_row([
            escaped(&entry.tag),
            organization,
            reason_of(entry),
            since,
            until,
        ]);
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    match entries.len() {
        1 => writeln!(out, "1 entry"),
        count => writeln!(out, "{count} entries"),
    }
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

    #[derive(clap::Parser)]
    struct SuppressionLine {
        #[command(subcommand)]
        _command: SuppressionCommand,
    }

    #[test]
    fn addresses_are_arguments_or_lines_of_a_file() {
        let refusal = |line: &str| {
            SuppressionLine::try_parse_from(line.split(' '))
                .err()
                .map(|error| error.to_string())
        };
        let message = refusal("suppression add").unwrap();
        assert!(message.contains("--from <FILE>"), "{message}");
        assert!(refusal("suppression add a@b.co --from x").is_some());
        assert_eq!(refusal("suppression add a@b.co c@b.co"), None);
        assert_eq!(refusal("suppression lift --from -"), None);
        let help = refusal("suppression add --help").unwrap();
        assert!(help.find("--expires") < help.find("Connection:"), "{help}");
    }
}

//! `suppression list`.

use std::io::{self, Write};

use invitations_command::error::{CommandError, Exit};
use serde_json::{Value, json};

use crate::connection::{ConnectionArgs, read_pages};
use crate::enum_parser::{EnumValue, enum_parser};
use crate::output::{Table, escaped, short_name, time_text};
use crate::proto::{Suppression, SuppressionReason, SuppressionServiceListRequest};

const AFTER_HELP: &str = "\
Exit status:
  0  the list was shown, or it is empty
  1  a call failed, or the address of --email is not on the list
  2  the command line is wrong

Example:
  invitectl suppression list --email ada@example.com --json";

/// Show the suppression list
#[derive(Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct SuppressionListArgs {
    /// Only entries of this organization [default: all entries]
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// Only entries of this address
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    /// Only entries with this reason
    #[arg(long, value_parser = enum_parser(&REASONS))]
    reason: Option<SuppressionReason>,
    /// Print the list as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

const REASONS: [EnumValue<SuppressionReason>; 5] = [
    (
        SuppressionReason::HardBounce,
        "hard-bounce",
        "The mailbox does not exist",
    ),
    (
        SuppressionReason::Complaint,
        "complaint",
        "The recipient reported an email as spam",
    ),
    (
        SuppressionReason::Unsubscribed,
        "unsubscribed",
        "The recipient used the unsubscribe link",
    ),
    (
        SuppressionReason::Declined,
        "declined",
        "The recipient declined and wants no more invitations",
    ),
    (
        SuppressionReason::Manual,
        "manual",
        "A caller added the address",
    ),
];

pub(crate) async fn run(
    args: &SuppressionListArgs,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let connection = args.connection.connect().await?;
    let mut client = connection.suppressions();
    let mut request = SuppressionServiceListRequest {
        organization_id: args.organization.clone().unwrap_or_default(),
        email: args.email.clone().unwrap_or_default(),
        reason: args.reason.unwrap_or_default().into(),
        ..Default::default()
    };
    let pages = read_pages(usize::MAX, async |page_size, page_token| {
        (request.page_size, request.page_token) = (page_size, page_token);
        let call = async || client.list(request.clone()).await;
        let page = connection.call("List", call).await?;
        Ok((page.suppressions, page.next_page_token))
    });
    let (entries, _) = pages.await?;
    if args.json {
        let entries: Vec<Value> = entries.iter().map(entry_to_json).collect();
        writeln!(out, "{:#}", json!({"suppressions": entries}))?;
    } else {
        write_entries(&entries, out)?;
    }
    let is_missing = entries.is_empty() && args.email.is_some();
    Ok(Exit::negative_if(is_missing))
}

fn write_entries(entries: &[Suppression], out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new(["Tag", "Organization", "Reason", "Since", "Until"], &[]);
    for entry in entries {
        let organization = match entry.organization_id.as_str() {
            "" => "(all)".to_owned(),
            id => escaped(id),
        };
        let until = match entry.expire_time {
            Some(time) => time.to_string(),
            None => "lifted".to_owned(),
        };
        table.add_row([
            escaped(&entry.tag),
            organization,
            reason_of(entry),
            time_text(entry.create_time),
            until,
        ]);
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    let noun = if entries.len() == 1 {
        "entry"
    } else {
        "entries"
    };
    writeln!(out, "{} {noun}", entries.len())
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

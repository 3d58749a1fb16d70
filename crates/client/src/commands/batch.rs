//! The command `batch`, which counts the invitations of one call by their state.

use std::io::{self, Write};

use invitations_command::error::{CommandResult, Exit};
use serde_json::{Value, json};

use crate::connection::ConnectionArgs;
use crate::output::{OutputFormat, Table, delivery_state_name, escaped, short_name, time_text};
use crate::proto::{Batch, GetBatchRequest};

const AFTER_HELP: &str = "\
Example:
  invitectl batch 01a204dc-9b39-7001-8c82-6b5f4d3569e3 --organization acme";

/// Count the invitations of one batch by state
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct BatchArgs {
    /// Id of the batch, which is in the report of send
    #[arg(value_name = "BATCH_ID")]
    id: String,
    /// Organization of the batch
    #[arg(long, value_name = "ID")]
    organization: String,
    /// Format of the output
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &BatchArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.connection.connect().await?;
    let mut client = connection.invitations();
    let request = GetBatchRequest {
        organization_id: args.organization.clone(),
        batch_id: args.id.clone(),
    };
    let call = async || client.get_batch(request.clone()).await;
    let response = connection.call("GetBatch", call).await?;
    let batch = response.batch.unwrap_or_default();
    match args.format {
        OutputFormat::Text => write_text(&batch, out)?,
        OutputFormat::Json => writeln!(out, "{}", to_json(&batch))?,
    }
    Ok(Exit::Done)
}

fn states(batch: &Batch) -> Vec<(String, i64)> {
    let counts = batch.state_counts.iter().map(|it| {
        let name = short_name(it.state().as_str_name(), "INVITATION_STATE_");
        (name.to_ascii_lowercase(), it.count)
    });
    counts.collect()
}

fn delivery_states(batch: &Batch) -> Vec<(String, i64)> {
    let counts = batch.delivery_state_counts.iter();
    let counts = counts.map(|it| (delivery_state_name(it.delivery_state()), it.count));
    counts.collect()
}

fn write_text(batch: &Batch, out: &mut dyn Write) -> io::Result<()> {
    let facts = Table::of_facts([
        ("Batch", escaped(&batch.id)),
        ("Organization", escaped(&batch.organization_id)),
        ("Created", time_text(batch.create_time)),
        ("Updated", time_text(batch.update_time)),
        ("Items", batch.item_count.to_string()),
        ("Refused", batch.failed_count.to_string()),
        ("Invitations", batch.invitation_count.to_string()),
    ]);
    facts.write(out)?;
    for (title, counts) in [
        ("Invitations", states(batch)),
        ("Emails", delivery_states(batch)),
    ] {
        if counts.is_empty() {
            continue;
        }
        let mut table = Table::new([title, ""], &[0]);
        for (name, count) in counts {
            table.add_row([count.to_string(), name]);
        }
        writeln!(out)?;
        table.write(out)?;
    }
    Ok(())
}

fn to_json(batch: &Batch) -> Value {
    json!({
        "id": batch.id,
        "organization_id": batch.organization_id,
        "create_time": batch.create_time.map(|time| time.to_string()),
        "update_time": batch.update_time.map(|time| time.to_string()),
        "item_count": batch.item_count,
        "failed_count": batch.failed_count,
        "invitation_count": batch.invitation_count,
        "states": Value::from_iter(states(batch)),
        "delivery_states": Value::from_iter(delivery_states(batch)),
    })
}

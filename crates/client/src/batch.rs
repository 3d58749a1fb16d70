//! `batch`: how far the invitations of one call are, counted.

use std::io::Write;

use serde_json::json;

use super::connection::ConnectionArgs;
use super::retry::retrying;
use super::status::{refused, short_name};
use super::table;
use super::visible::visible;
use crate::proto::{Batch, GetBatchRequest};
use invitations_command::error::{CommandError, Exit};

/// Count the invitations of one call by what became of them
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = "Example:\n  invitations batch 01a204dc-9b39-7001-8c82-6b5f4d3569e3 --organization acme"
)]
pub struct BatchArgs {
    /// Id of the batch, which reports of send show
    #[arg(value_name = "BATCH_ID")]
    id: String,
    /// Organization of the batch
    #[arg(long, value_name = "ID")]
    organization: String,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// How counts and events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// A JSON object a line
    Json,
}

/// Runs the command.
pub async fn run(args: &BatchArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let mut client = args.connection.invitations().await?;
    let request = GetBatchRequest {
        organization_id: args.organization.clone(),
        batch_id: args.id.clone(),
    };
    let response = retrying("GetBatch", async || client.get_batch(request.clone()).await)
        .await
        .map_err(|status| refused("GetBatch", args.connection.server(), &status))?;
    let batch = response.batch.unwrap_or_default();
    match args.format {
        Format::Text => write_text(&batch, out)?,
        Format::Json => writeln!(out, "{}", to_json(&batch))?,
    }
    Ok(Exit::Done)
}

/// The states that have invitations, and how many.
fn states(batch: &Batch) -> Vec<(String, i64)> {
    let counts = batch.state_counts.iter();
    let name = |it: &crate::proto::StateCount| {
        short_name(it.state().as_str_name(), "INVITATION_STATE_").to_ascii_lowercase()
    };
    counts.map(|it| (name(it), it.count)).collect()
}

/// The states that have mails, and how many.
fn delivery_states(batch: &Batch) -> Vec<(String, i64)> {
    let counts = batch.delivery_state_counts.iter();
    let name = |it: &crate::proto::DeliveryStateCount| {
        short_name(it.delivery_state().as_str_name(), "DELIVERY_STATE_").to_ascii_lowercase()
    };
    counts.map(|it| (name(it), it.count)).collect()
}

fn write_text(batch: &Batch, out: &mut dyn Write) -> std::io::Result<()> {
    let time = |time: Option<prost_types::Timestamp>| {
        time.map(|time| time.to_string()).unwrap_or_default()
    };
    let facts = table::of_facts([
        ("Batch", visible(&batch.id)),
        ("Organization", visible(&batch.organization_id)),
        ("First asked for", time(batch.create_time)),
        ("Last done", time(batch.update_time)),
        ("Items", batch.item_count.to_string()),
        ("Refused", batch.failed_count.to_string()),
        ("Invitations", batch.invitation_count.to_string()),
    ]);
    writeln!(out, "{}", facts.trim_fmt())?;
    for (title, counts) in [
        ("Invitations", states(batch)),
        ("Mails", delivery_states(batch)),
    ] {
        if counts.is_empty() {
            continue;
        }
        let mut table = table::with_header([title, ""], &[0]);
        for (name, count) in counts {
            table.add_row([count.to_string(), name]);
        }
        writeln!(out, "\n{}", table.trim_fmt())?;
    }
    Ok(())
}

fn to_json(batch: &Batch) -> serde_json::Value {
    let object = |counts: Vec<(String, i64)>| {
        let members = counts.into_iter().map(|(name, count)| (name, count.into()));
        serde_json::Value::Object(members.collect())
    };
    json!({
        "id": batch.id,
        "organization_id": batch.organization_id,
        "create_time": batch.create_time.map(|time| time.to_string()),
        "update_time": batch.update_time.map(|time| time.to_string()),
        "item_count": batch.item_count,
        "failed_count": batch.failed_count,
        "invitation_count": batch.invitation_count,
        "states": object(states(batch)),
        "delivery_states": object(delivery_states(batch)),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::fake_server::{FakeServer, TOKEN, serve};
    use crate::proto::{Delivery, DeliveryState, Invitation};

    async fn shown(id: &str, format: Format) -> (Result<Exit, CommandError>, String) {
        let server = Arc::new(FakeServer::default());
        for state in [
            DeliveryState::Sent,
            DeliveryState::Sent,
            DeliveryState::Bounced,
        ] {
            let invitation = Invitation {
                delivery: Some(Delivery {
                    state: state.into(),
                    ..Default::default()
                }),
                ..Default::default()
            };
            server.memory.invitations.lock().unwrap().push(invitation);
        }
        let (address, serving) = serve(server);
        let args = BatchArgs {
            id: id.to_owned(),
            organization: "acme".to_owned(),
            format,
            connection: ConnectionArgs::for_tests(&address, Some(TOKEN)),
        };
        let mut out = Vec::new();
        let result = tokio::select! {
            result = run(&args, &mut out) => result,
            end = serving => panic!("the service ended: {end:?}"),
        };
        (result, String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn a_batch_is_counted_by_state() {
        let (result, out) = shown("batch-1", Format::Text).await;
        assert_eq!(result.unwrap(), Exit::Done);
        let words: Vec<_> = out.split_whitespace().collect();
        let text = words.join(" ");
        for part in [
            "Batch batch-1",
            "Items 3",
            "3 pending",
            "2 sent",
            "1 bounced",
        ] {
            assert!(text.contains(part), "{part}: {out}");
        }
        let (_, out) = shown("batch-1", Format::Json).await;
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(value["delivery_states"]["bounced"], 1);
        assert_eq!(value["invitation_count"], 3);
    }

    #[tokio::test]
    async fn a_batch_that_is_not_there_is_told() {
        let (result, out) = shown("other", Format::Text).await;
        let message = result.unwrap_err().to_string();
        assert!(
            message.starts_with("GetBatch failed: NOT_FOUND"),
            "{message}"
        );
        assert_eq!(out, "");
    }
}

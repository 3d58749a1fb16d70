//! The command `audit`, which shows what callers did.

use std::io::{self, Write};

use invitations_command::error::{CommandResult, Exit};
use prost_types::Timestamp;
use serde_json::{Map, Value, json};

use crate::connection::{ConnectionArgs, read_pages};
use crate::output::{Table, escaped, reason_name, short_name, time_text};
use crate::proto::{AuditAction, AuditEvent, ListAuditEventsRequest};
use crate::time_argument::parse_time;

/// Events that are shown by default. They take one call.
const LIMIT_DEFAULT: usize = 100;
const ACTION_PREFIX: &str = "AUDIT_ACTION_";

const LIST_AFTER_HELP: &str = "\
Actions:
  bulk-create, accept, decline, revoke, bulk-revoke, resend, bulk-resend, requeue,
  upsert-organizations, upsert-users, upsert-memberships,
  delete-organization, delete-user, delete-membership, suspend-organization, resume-organization, erase-address,
  add-suppressions, lift-suppressions, unsubscribe

Examples:
  invitectl audit list --organization acme --action accept
  invitectl audit list --user u-1 --since 2026-11-01T00:00:00Z --limit 1000 --json";

#[derive(Clone, clap::Subcommand)]
pub(crate) enum AuditCommand {
    /// Show what callers did, newest first
    #[command(after_help = LIST_AFTER_HELP)]
    List(AuditListArgs),
}

#[derive(Clone, clap::Args)]
pub(crate) struct AuditListArgs {
    /// Only events of this organization [default: all events]
    #[arg(long, value_name = "ID")]
    organization: Option<String>,
    /// Only events with this action
    #[arg(long, value_parser = parse_action)]
    action: Option<AuditAction>,
    /// Only events of this caller
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// Only events on behalf of this user or about this user
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Only events about this invitation
    #[arg(long, value_name = "ID")]
    invitation: Option<String>,
    /// Only the event that created this batch
    #[arg(long, value_name = "ID")]
    batch: Option<String>,
    /// Only events at or after this time, such as 2026-11-22T18:48:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Only events before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Most events to show
    #[arg(long, value_name = "COUNT", default_value_t = LIMIT_DEFAULT)]
    limit: usize,
    /// Print the events as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &AuditListArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.connection.connect().await?;
    let mut client = connection.audit();
    let mut request = ListAuditEventsRequest {
        organization_id: args.organization.clone().unwrap_or_default(),
        action: args.action.unwrap_or_default().into(),
        caller: args.caller.clone().unwrap_or_default(),
        user_id: args.user.clone().unwrap_or_default(),
        invitation_id: args.invitation.clone().unwrap_or_default(),
        batch_id: args.batch.clone().unwrap_or_default(),
        start_time: args.since,
        end_time: args.until,
        ..ListAuditEventsRequest::default()
    };
    let pages = read_pages(args.limit, async |page_size, page_token| {
        (request.page_size, request.page_token) = (page_size, page_token);
        let call = async || client.list_audit_events(request.clone()).await;
        let page = connection.call("ListAuditEvents", call).await?;
        Ok((page.events, page.next_page_token))
    });
    let (events, has_more) = pages.await?;
    if args.json {
        let events: Vec<Value> = events.iter().map(event_to_json).collect();
        writeln!(out, "{:#}", json!({"events": events, "has_more": has_more}))?;
    } else {
        write_events(&events, has_more, out)?;
    }
    Ok(Exit::Done)
}

fn parse_action(text: &str) -> Result<AuditAction, String> {
    let name = text.to_ascii_uppercase().replace('-', "_");
    AuditAction::from_str_name(&format!("{ACTION_PREFIX}{name}"))
        .filter(|action| *action != AuditAction::Unspecified)
        .ok_or_else(|| "not an action; `invitectl audit list --help` lists the actions".to_owned())
}

fn write_events(events: &[AuditEvent], has_more: bool, out: &mut dyn Write) -> io::Result<()> {
    let header = [
        "Time",
        "Organization",
        "Action",
        "Outcome",
        "Caller",
        "On behalf of",
        "About",
        "Counts",
    ];
    let mut table = Table::new(header, &[]);
    for event in events {
        let organization = match event.organization_id.as_str() {
            "" => "(none)".to_owned(),
            id => escaped(id),
        };
        let counts = counts_of(event).into_iter();
        let counts: Vec<_> = counts
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        table.add_row([
            time_text(event.create_time),
            organization,
            action_of(event),
            outcome_of(event),
            escaped(&event.caller),
            escaped(&event.on_behalf_of_user_id),
            subject(event),
            counts.join(", "),
        ]);
    }
    if !table.is_empty() {
        table.write(out)?;
    }
    let more = if has_more { ", and there are more" } else { "" };
    let noun = if events.len() == 1 { "event" } else { "events" };
    writeln!(out, "{} {noun}{more}", events.len())
}

/// The invitation, batch or user that the event is about, or an empty text.
fn subject(event: &AuditEvent) -> String {
    let subjects = [
        ("invitation", &event.invitation_id),
        ("batch", &event.batch_id),
        ("user", &event.subject_user_id),
    ];
    let subject = subjects.into_iter().find(|(_, id)| !id.is_empty());
    subject.map_or_else(String::new, |(noun, id)| format!("{noun} {}", escaped(id)))
}

fn event_to_json(event: &AuditEvent) -> Value {
    json!({
        "id": event.id,
        "create_time": time_text(event.create_time),
        "organization_id": event.organization_id,
        "action": action_of(event),
        "outcome": outcome_of(event),
        "caller": event.caller,
        "on_behalf_of_user_id": event.on_behalf_of_user_id,
        "subject_user_id": event.subject_user_id,
        "invitation_id": event.invitation_id,
        "batch_id": event.batch_id,
        "request_id": event.request_id,
        "counts": counts_of(event),
    })
}

fn action_of(event: &AuditEvent) -> String {
    short_name(event.action().as_str_name(), ACTION_PREFIX)
}

fn outcome_of(event: &AuditEvent) -> String {
    event.refusal.map_or_else(|| "OK".to_owned(), reason_name)
}

/// The counts that are not zero, by the name of their field.
fn counts_of(event: &AuditEvent) -> Map<String, Value> {
    match serde_json::to_value(event.counts.unwrap_or_default()) {
        Ok(Value::Object(mut counts)) => {
            counts.retain(|_, count| count.as_i64() != Some(0));
            counts
        }
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::AuditCounts;

    #[test]
    fn an_event_is_one_row_with_all_facts() {
        let event = AuditEvent {
            organization_id: "acme".to_owned(),
            action: AuditAction::Accept.into(),
            refusal: Some(crate::proto::ErrorReason::EmailMismatch.into()),
            caller: "portal".to_owned(),
            on_behalf_of_user_id: "u-2".to_owned(),
            invitation_id: "019aacd0-0000-7000-8000-000000000001".to_owned(),
            counts: Some(AuditCounts {
                created: 2,
                ..AuditCounts::default()
            }),
            ..AuditEvent::default()
        };
        let mut out = Vec::new();
        write_events(std::slice::from_ref(&event), true, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        for word in [
            "acme",
            "ACCEPT",
            "EMAIL_MISMATCH",
            "portal",
            "u-2",
            "invitation 019aacd0",
            "created 2",
            "1 event, and there are more",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert_eq!(event_to_json(&event)["outcome"], "EMAIL_MISMATCH");
    }

    #[test]
    fn every_action_of_the_protocol_is_accepted_and_documented() {
        let actions: Vec<AuditAction> = (1..)
            .map_while(|number| AuditAction::try_from(number).ok())
            .collect();
        assert!(actions.len() > 10);
        for action in actions {
            let name = short_name(action.as_str_name(), ACTION_PREFIX);
            let flag = name.to_ascii_lowercase().replace('_', "-");
            assert_eq!(parse_action(&flag).unwrap(), action);
            assert!(LIST_AFTER_HELP.contains(&flag), "{flag}");
        }
        assert!(parse_action("unspecified").is_err() && parse_action("explode").is_err());
    }
}

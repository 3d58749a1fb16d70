//! `audit`: what callers did, from the command line.

use std::io::{self, Write};

use prost_types::Timestamp;
use serde_json::{Map, Value, json};

use super::connection::ConnectionArgs;
use super::retry::retrying;
use super::status::{reason_name, refused, short_name};
use super::table;
use super::visible::visible;
use crate::proto::{AuditAction, AuditCounts, AuditEvent, AuditServiceListRequest};
use invitations_command::error::{CommandError, Exit};

/// Most events of one call, as the service has it.
const PAGE_SIZE_MAX: usize = 1_000;
/// Events shown unless more are asked for: a screen or two, and one call.
const LIMIT_DEFAULT: usize = 100;
/// What the names of actions begin with in the protocol.
const ACTION_PREFIX: &str = "AUDIT_ACTION_";

const LIST_AFTER_HELP: &str = "\
Actions:
  bulk-create, accept, decline, revoke, bulk-revoke, resend, bulk-resend, requeue,
  upsert-organizations, upsert-users, upsert-memberships,
  delete-organization, delete-user, delete-membership, suspend-organization, resume-organization, erase-address,
  add-suppressions, lift-suppressions, unsubscribe

Exit status:
  0  the log was shown, be it empty
  1  a call failed
  2  the command line is wrong

Examples:
  invitations audit list --organization acme --action accept
  invitations audit list --user u-1 --since 2026-11-01T00:00:00Z --limit 1000 --json";

/// What can be done with the audit log.
#[derive(Clone, clap::Subcommand)]
pub enum AuditCommand {
    /// Show what callers did, newest first
    #[command(after_help = LIST_AFTER_HELP)]
    List(AuditListArgs),
}

/// The arguments of `audit list`.
#[derive(Clone, clap::Args)]
pub struct AuditListArgs {
    /// Only what was done in this organization [default: everything]
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    organization: String,
    /// Only this action
    #[arg(long, value_parser = parse_action)]
    action: Option<AuditAction>,
    /// Only what this caller did
    #[arg(
        long,
        value_name = "NAME",
        default_value = "",
        hide_default_value = true
    )]
    caller: String,
    /// Only what was done for this user, or about them
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    user: String,
    /// Only what was about this invitation
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    invitation: String,
    /// Only what made this batch
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    batch: String,
    /// Only what was done then or later, such as 2026-11-22T18:48:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Timestamp>,
    /// Only what was done before
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<Timestamp>,
    /// Show at most so many events
    #[arg(long, value_name = "COUNT", default_value_t = LIMIT_DEFAULT)]
    limit: usize,
    /// Print the events as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs an audit command.
pub async fn run(command: &AuditCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let AuditCommand::List(args) = command;
    let (events, has_more) = pages(args).await?;
    if args.json {
        let shown: Vec<Value> = events.iter().map(event_to_json).collect();
        writeln!(out, "{:#}", json!({"events": shown, "has_more": has_more}))?;
    } else {
        write_events(&events, has_more, out)?;
    }
    Ok(Exit::Done)
}

/// As many events as are asked for, and whether there are more.
async fn pages(args: &AuditListArgs) -> Result<(Vec<AuditEvent>, bool), CommandError> {
    let mut client = args.connection.audit().await?;
    let mut request = AuditServiceListRequest {
        organization_id: args.organization.clone(),
        action: args.action.unwrap_or_default().into(),
        caller: args.caller.clone(),
        user_id: args.user.clone(),
        invitation_id: args.invitation.clone(),
        batch_id: args.batch.clone(),
        start_time: args.since,
        end_time: args.until,
        ..AuditServiceListRequest::default()
    };
    let mut events = Vec::new();
    loop {
        // 0 would mean the service's own page size.
        let left = (args.limit.saturating_sub(events.len())).clamp(1, PAGE_SIZE_MAX);
        request.page_size = i32::try_from(left).unwrap_or(i32::MAX);
        let page = retrying("List", async || client.list(request.clone()).await)
            .await
            .map_err(|status| refused("List", args.connection.server(), &status))?;
        events.extend(page.events);
        let has_more = !page.next_page_token.is_empty() || events.len() > args.limit;
        if page.next_page_token.is_empty() || events.len() >= args.limit {
            events.truncate(args.limit);
            return Ok((events, has_more));
        }
        request.page_token = page.next_page_token;
    }
}

fn parse_action(text: &str) -> Result<AuditAction, String> {
    let name = text.to_ascii_uppercase().replace('-', "_");
    AuditAction::from_str_name(&format!("{ACTION_PREFIX}{name}"))
        .filter(|action| *action != AuditAction::Unspecified)
        .ok_or_else(|| "no such action".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| "no time as RFC 3339 spells it".to_owned())
}

fn write_events(events: &[AuditEvent], has_more: bool, out: &mut dyn Write) -> io::Result<()> {
    let mut shown = table::with_header(
        [
            "Time",
            "Organization",
            "Action",
            "Outcome",
            "Caller",
            "For",
            "About",
            "Counts",
        ],
        &[],
    );
    for event in events {
        let organization = match event.organization_id.as_str() {
            "" => "(none)".to_owned(),
            id => visible(id),
        };
        let counts: Vec<String> = counts_of(event)
            .into_iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        shown.add_row([
            time_of(event),
            organization,
            action_of(event),
            outcome_of(event),
            visible(&event.caller),
            visible(&event.on_behalf_of_user_id),
            about(event),
            counts.join(", "),
        ]);
    }
    if !shown.is_empty() {
        writeln!(out, "{}", shown.trim_fmt())?;
    }
    let more = if has_more { ", and there are more" } else { "" };
    let noun = if events.len() == 1 { "event" } else { "events" };
    writeln!(out, "{} {noun}{more}", events.len())
}

/// The one thing it was about, if it was about one.
fn about(event: &AuditEvent) -> String {
    let things = [
        ("invitation", &event.invitation_id),
        ("batch", &event.batch_id),
        ("user", &event.subject_user_id),
    ];
    things
        .into_iter()
        .find(|(_, id)| !id.is_empty())
        .map(|(noun, id)| format!("{noun} {}", visible(id)))
        .unwrap_or_default()
}

fn event_to_json(event: &AuditEvent) -> Value {
    let counts: Map<String, Value> = counts_of(event)
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect();
    json!({
        "id": event.id,
        "create_time": time_of(event),
        "organization_id": event.organization_id,
        "action": action_of(event),
        "outcome": outcome_of(event),
        "caller": event.caller,
        "on_behalf_of_user_id": event.on_behalf_of_user_id,
        "subject_user_id": event.subject_user_id,
        "invitation_id": event.invitation_id,
        "batch_id": event.batch_id,
        "request_id": event.request_id,
        "counts": counts,
    })
}

fn time_of(event: &AuditEvent) -> String {
    event
        .create_time
        .map(|time| time.to_string())
        .unwrap_or_default()
}

fn action_of(event: &AuditEvent) -> String {
    short_name(event.action().as_str_name(), ACTION_PREFIX)
}

fn outcome_of(event: &AuditEvent) -> String {
    event.refusal.map_or_else(|| "OK".to_owned(), reason_name)
}

/// The counts that are not zero.
fn counts_of(event: &AuditEvent) -> Vec<(&'static str, i64)> {
    let counts = event.counts.unwrap_or_default();
    let AuditCounts {
        created,
        updated,
        replaced,
        resent,
        rotated,
        requeued,
        revoked,
        deleted,
        erased,
        suppressed,
        unchanged,
        failed,
        role_denied,
    } = counts;
    [
        ("created", created),
        ("updated", updated),
        ("replaced", replaced),
        ("resent", resent),
        ("rotated", rotated),
        ("requeued", requeued),
        ("revoked", revoked),
        ("deleted", deleted),
        ("erased", erased),
        ("suppressed", suppressed),
        ("unchanged", unchanged),
        ("failed", failed),
        ("role_denied", role_denied),
    ]
    .into_iter()
    .filter(|(_, count)| *count != 0)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_row_that_says_everything() {
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
        let shown = String::from_utf8(out).unwrap();
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
            assert!(shown.contains(word), "{word}: {shown}");
        }
        assert_eq!(event_to_json(&event)["outcome"], "EMAIL_MISMATCH");
    }

    #[test]
    fn actions_are_named_as_flags_are() {
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

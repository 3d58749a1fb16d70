//! The command `outbox`, which shows the queue of emails and queues failed emails again.

use std::io::Write;

use invitations_command::error::{CommandResult, Exit};

use crate::acting_user::ActingUserArgs;
use crate::connection::ConnectionArgs;
use crate::output::Table;
use crate::proto::{GetBacklogRequest, GetBacklogResponse, MessageCount, RequeueMessagesRequest};
use crate::report::ItemReport;
use crate::selection::{SelectedPage, SelectionArgs};

/// If the oldest due email waits longer, emails are not being sent, and an operator has to look.
const OLDEST_WAITING_SECONDS_MAX: i64 = 300;

const REQUEUE_AFTER_HELP: &str = "\
Select invitations with --id, with a filter (--batch, --inviter, --email), or with --all: every failed email of the \
organization that can be queued again. The server sends the same messages with their Message-ID, date and link. It can only queue the latest email of an \
invitation that is pending and not expired; for other invitations, invitectl resend creates a new email. Fix the cause \
first, because an email that is rejected again is given up again.

Exit status:
  0  every email was queued again, or there was none
  1  a call failed
  2  the command line is wrong; nothing was changed
  3  some emails could not be queued again

Example:
  invitectl outbox requeue --organization acme --all";

const BACKLOG_AFTER_HELP: &str = "\
Exit status:
  0  no email has been due for more than 300 s
  1  an email has been due for longer, or the call failed
  2  the command line is wrong

Example:
  invitectl outbox backlog";

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum OutboxCommand {
    /// Queue emails again that the server gave up
    #[command(after_help = REQUEUE_AFTER_HELP)]
    Requeue(OutboxRequeueArgs),
    /// Show how many emails wait, and how long the oldest one has waited
    #[command(after_help = BACKLOG_AFTER_HELP)]
    Backlog(ConnectionArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OutboxRequeueArgs {
    /// Organization of the invitations
    #[arg(long, value_name = "ID")]
    organization: String,
    #[command(flatten)]
    selection: SelectionArgs,
    /// Report what would happen, and change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    acting_user: ActingUserArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn requeue(args: &OutboxRequeueArgs, out: &mut dyn Write) -> CommandResult {
    let first_page = args.selection.first_page(&[], &[])?;
    let connection = args.connection.connect().await?;
    let mut client = connection.mails();
    let verb = if args.dry_run {
        "would requeue"
    } else {
        "requeued"
    };
    let mut report = ItemReport::default();
    let requeue = async |page: SelectedPage| {
        let request = RequeueMessagesRequest {
            organization_id: args.organization.clone(),
            invitation_ids: page.invitation_ids,
            all: page.all,
            filter: page.filter,
            validate_only: args.dry_run,
            page_token: page.page_token,
            acting_user_id: args.acting_user.id(),
            ..Default::default()
        };
        let call = async || client.requeue_messages(request.clone()).await;
        let response = connection.call("RequeueMessages", call).await;
        let response = response.map_err(|failure| report.interrupted(failure, verb))?;
        for result in response.results {
            report.add(result.invitation_id, result.error);
        }
        Ok(response.next_page_token)
    };
    args.selection.for_each_page(first_page, requeue).await?;
    report.write(verb, out)?;
    Ok(report.exit())
}

pub(crate) async fn backlog(args: &ConnectionArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.connect().await?;
    let mut client = connection.mails();
    let call = async || client.get_backlog(GetBacklogRequest {}).await;
    let backlog = connection.call("GetBacklog", call).await?;
    write_backlog(&backlog, out)
}

fn write_backlog(backlog: &GetBacklogResponse, out: &mut dyn Write) -> CommandResult {
    let count = |count: &Option<MessageCount>| match count {
        Some(count) if count.capped => format!("over {}", count.value),
        Some(count) => count.value.to_string(),
        None => "unknown".to_owned(),
    };
    let oldest = backlog.oldest_waiting.as_ref().map(|age| age.seconds);
    let oldest_text = oldest.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s"));
    let facts = [
        ("queued", count(&backlog.queued)),
        ("due now", count(&backlog.due)),
        ("sending", count(&backlog.sending)),
        ("failed", count(&backlog.failed)),
        ("oldest waiting", oldest_text),
    ];
    Table::of_facts(facts).write(out)?;
    Ok(Exit::negative_if(oldest > Some(OLDEST_WAITING_SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_backlog_makes_the_exit_status_negative() {
        let count = |value, capped| Some(MessageCount { value, capped });
        let backlog = |oldest: Option<i64>| GetBacklogResponse {
            queued: count(10_000, true),
            due: count(7, false),
            sending: count(0, false),
            failed: count(0, false),
            oldest_waiting: oldest.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        };
        for (oldest, expected, exit) in [
            (None, "none", Exit::Done),
            (Some(300), "300 s", Exit::Done),
            (Some(301), "301 s", Exit::Negative),
        ] {
            let mut out = Vec::new();
            assert_eq!(write_backlog(&backlog(oldest), &mut out).unwrap(), exit);
            let out = String::from_utf8(out).unwrap();
            assert!(
                out.contains("over 10000") && out.contains(expected),
                "{out}"
            );
        }
    }
}

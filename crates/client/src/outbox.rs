//! `outbox`: the mails that are owed, for whoever runs the service: how many wait, and a second chance for those that
//! were given up.

use std::io::Write;

use super::chunks::ITEMS_MAX;
use super::connection::ConnectionArgs;
use super::retry::retrying;
use super::status::refused;
use super::table;
use super::tally::{Tally, invitation_id};
use crate::proto::{
    GetBacklogRequest, GetBacklogResponse, MailCount, RequeueRequest, RequeueResponse,
};
use invitations_command::error::{CommandError, Exit};

/// From this age on mails do not get out, and somebody has to look.
const OLDEST_WAITING_SECONDS_MAX: i64 = 300;

const REQUEUE_AFTER_HELP: &str = "\
The same mails go out, with the Message-ID, Date and link they had. Only the latest mail of an invitation that is \
pending and not expired can be queued again; invitations resend makes a new one for others. Mend first what was wrong: \
a mail that is refused again is given up again.

Exit status:
  0  every mail was queued again, or none was found
  1  a call failed
  2  the command line is wrong; nothing was done
  3  some could not be queued again

Example:
  invitations outbox requeue --organization acme --all-dead";

const BACKLOG_AFTER_HELP: &str = "\
Exit status:
  0  no mail has been due for more than 300 s
  1  the call failed, or one has

Example:
  invitations outbox backlog";

/// What can be done with the mails that are owed.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum OutboxCommand {
    /// Queue mails again that were given up
    #[command(after_help = REQUEUE_AFTER_HELP)]
    Requeue(OutboxRequeueArgs),
    /// Tell how many mails wait, and for how long
    #[command(after_help = BACKLOG_AFTER_HELP)]
    Backlog(OutboxBacklogArgs),
}

/// The arguments of `outbox requeue`.
#[derive(Debug, Clone, clap::Args)]
#[command(group(clap::ArgGroup::new("which").required(true).args(["ids", "all_dead"])))]
pub struct OutboxRequeueArgs {
    /// Organization of the invitations
    #[arg(long, value_name = "ID")]
    organization: String,
    /// An invitation whose mail to queue again; may be given many times
    #[arg(long = "id", value_name = "ID", value_parser = invitation_id)]
    ids: Vec<String>,
    /// Every mail of the organization that can be
    #[arg(long)]
    all_dead: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// The arguments of `outbox backlog`.
#[derive(Debug, Clone, clap::Args)]
pub struct OutboxBacklogArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs the command.
pub async fn run(command: &OutboxCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    match command {
        OutboxCommand::Requeue(args) => requeue(args, out).await,
        OutboxCommand::Backlog(args) => backlog(args, out).await,
    }
}

async fn requeue(args: &OutboxRequeueArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let mut client = args.connection.mails().await?;
    let mut call = async |invitation_ids: &[String]| {
        let request = RequeueRequest {
            organization_id: args.organization.clone(),
            invitation_ids: invitation_ids.to_vec(),
            all_dead: args.all_dead,
        };
        retrying("Requeue", async || client.requeue(request.clone()).await)
            .await
            .map_err(|status| refused("Requeue", args.connection.server(), &status))
    };
    let mut tally = Tally::default();
    if args.all_dead {
        loop {
            let response = call(&[]).await?;
            // A call that queued none would find the same ones again.
            let has_more = response.has_more && response.requeued_count > 0;
            add(&mut tally, response);
            if !has_more {
                break;
            }
        }
    } else {
        for ids in args.ids.chunks(ITEMS_MAX) {
            let response = call(ids).await?;
            add(&mut tally, response);
        }
    }
    tally.write("requeued", out)?;
    Ok(tally.exit())
}

async fn backlog(args: &OutboxBacklogArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let mut client = args.connection.mails().await?;
    let backlog = retrying("GetBacklog", async || {
        client.get_backlog(GetBacklogRequest {}).await
    })
    .await
    .map_err(|status| refused("GetBacklog", args.connection.server(), &status))?;
    write_backlog(&backlog, out)
}

fn write_backlog(backlog: &GetBacklogResponse, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let count = |count: &Option<MailCount>| match count {
        Some(count) if count.capped => format!("over {}", count.value),
        Some(count) => count.value.to_string(),
        None => "unknown".to_owned(),
    };
    let oldest = backlog.oldest_waiting.as_ref().map(|age| age.seconds);
    let facts = [
        ("queued", count(&backlog.queued)),
        ("due now", count(&backlog.due)),
        ("sending", count(&backlog.sending)),
        ("dead", count(&backlog.dead)),
        (
            "oldest waiting",
            oldest.map_or_else(|| "none".to_owned(), |seconds| format!("{seconds} s")),
        ),
    ];
    writeln!(out, "{}", table::of_facts(facts).trim_fmt())?;
    Ok(if oldest > Some(OLDEST_WAITING_SECONDS_MAX) {
        Exit::Negative
    } else {
        Exit::Done
    })
}

fn add(tally: &mut Tally, response: RequeueResponse) {
    for result in response.results {
        tally.add(result.invitation_id, result.error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_backlog_is_told_and_its_age_is_the_exit_status() {
        let count = |value, capped| Some(MailCount { value, capped });
        let backlog = |oldest: Option<i64>| GetBacklogResponse {
            queued: count(10_000, true),
            due: count(7, false),
            sending: count(0, false),
            dead: count(0, false),
            oldest_waiting: oldest.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
        };
        for (oldest, told, exit) in [
            (None, "none", Exit::Done),
            (Some(300), "300 s", Exit::Done),
            (Some(301), "301 s", Exit::Negative),
        ] {
            let mut out = Vec::new();
            assert_eq!(write_backlog(&backlog(oldest), &mut out).unwrap(), exit);
            let out = String::from_utf8(out).unwrap();
            assert!(out.contains("over 10000") && out.contains(told), "{out}");
        }
    }
}

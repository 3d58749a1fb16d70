//! The command line of `invitectl`.

use std::io::Write;

use invitations_command::error::CommandResult;
use invitations_command::health::{self, HealthArgs};

use crate::commands::accept::{self, AcceptArgs};
use crate::commands::audit::{self, AuditCommand};
use crate::commands::batch::{self, BatchArgs};
use crate::commands::bounce::{self, BounceArgs};
use crate::commands::directory::{self, DirectoryCommand, apply, delete, read};
use crate::commands::erase::{self, EraseArgs};
use crate::commands::list::{self, ListArgs};
use crate::commands::outbox::{self, OutboxCommand};
use crate::commands::resend::{self, ResendArgs};
use crate::commands::revoke::{self, RevokeArgs};
use crate::commands::send;
use crate::commands::suppression::{self, SuppressionCommand, changes};
use crate::commands::watch::{self, WatchArgs};
use crate::send::send_args::SendArgs;

const AFTER_HELP: &str = "\
First steps with a running server:
  1. Register your organizations, users and memberships:
       export INVITATIONS_TOKEN_FILE=token
       invitectl health --wait 30s
       invitectl directory apply directory.json
  2. Invite people to an organization by email:
       invitectl send people.csv --organization acme --inviter u-1
  3. Accept an invitation for a user:
       invitectl accept --link 'https://app.example.com/join#token=inv1_...' \\
           --user-id u-2 --user-email ada@example.com

--server (INVITATIONS_SERVER) is the address of the server. --token-file (INVITATIONS_TOKEN_FILE) or
--client-certificate-file (INVITATIONS_CLIENT_CERTIFICATE_FILE) identifies the caller. Results are
written to stdout, and everything else to stderr.

Exit status:
  0   success
  1   the call failed, or the answer is no
  2   the command line or a file is wrong
  3   partial success; the output names what was refused
  75  nothing was done, retry later (only the command bounce)";

/// Command line client of the invitation service
#[derive(clap::Parser)]
#[command(name = "invitectl", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(clap::Subcommand)]
enum ClientCommand {
    Send(SendArgs),
    Batch(BatchArgs),
    Watch(WatchArgs),
    List(ListArgs),
    Resend(ResendArgs),
    Revoke(RevokeArgs),
    Accept(AcceptArgs),
    Bounce(BounceArgs),
    Health(HealthArgs),
    /// Manage organizations, users and memberships
    #[command(subcommand)]
    Directory(DirectoryCommand),
    /// Manage the addresses that get no more invitations
    #[command(subcommand)]
    Suppression(SuppressionCommand),
    /// Show what callers did
    #[command(subcommand)]
    Audit(AuditCommand),
    Erase(EraseArgs),
    /// Manage the queue of emails
    #[command(subcommand)]
    Outbox(OutboxCommand),
}

/// Runs a command. Results are written to `out`.
pub async fn run(line: &CommandLine, out: &mut dyn Write) -> CommandResult {
    match &line.command {
        ClientCommand::Send(args) => send::run(args, out).await,
        ClientCommand::Batch(args) => batch::run(args, out).await,
        ClientCommand::Watch(args) => watch::run(args, out).await,
        ClientCommand::List(args) => list::run(args, out).await,
        ClientCommand::Resend(args) => resend::run(args, out).await,
        ClientCommand::Revoke(args) => revoke::run(args, out).await,
        ClientCommand::Accept(args) => accept::run(args, out).await,
        ClientCommand::Bounce(args) => bounce::run(args, out).await,
        ClientCommand::Health(args) => health::run(args, out).await,
        ClientCommand::Directory(command) => match command {
            DirectoryCommand::Apply(args) => apply::run(args, out).await,
            DirectoryCommand::Get(command) => read::get(command, out).await,
            DirectoryCommand::List(command) => read::list(command, out).await,
            DirectoryCommand::Delete(command) => delete::run(command, out).await,
            DirectoryCommand::Suspend(args) => directory::suspend(args, out).await,
            DirectoryCommand::Resume(args) => directory::resume(args, out).await,
        },
        ClientCommand::Suppression(command) => match command {
            SuppressionCommand::Add(args) => changes::add(args, out).await,
            SuppressionCommand::List(args) => suppression::list(args, out).await,
            SuppressionCommand::Lift(args) => changes::lift(args, out).await,
        },
        ClientCommand::Audit(AuditCommand::List(args)) => audit::run(args, out).await,
        ClientCommand::Erase(args) => erase::run(args, out).await,
        ClientCommand::Outbox(command) => match command {
            OutboxCommand::Requeue(args) => outbox::requeue(args, out).await,
            OutboxCommand::Backlog(args) => outbox::backlog(args, out).await,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn wrong_command_lines_are_refused() {
        for line in [
            "send",
            "send people.csv",
            "send people.csv --organization acme --on-existing explode",
            "send people.csv --organization acme --ttl soon",
            "send people.csv --organization acme --request-id 7",
            "send people.csv --organization acme --token a --token-file b",
            "send people.csv --organization acme --resume --dry-run",
            "send people.csv --organization acme --resume --request-id 0192f0c1-2d3e-7a4b-8c5d-6e7f80910111",
            "watch --batch b",
            "watch --organization acme --cursor x --from-start",
            "watch --type explode",
            "batch --organization acme",
            "list",
            "list --organization acme --state explode",
            "resend --all",
            "resend --organization acme --state accepted",
            "resend --organization acme --all --state expired",
            "revoke --all",
            "revoke --organization acme --state pending",
            "revoke --organization acme --all --delivery-state failed",
            "outbox requeue --organization acme --all --id x",
            "accept --user-id u",
            "accept --user-id u --invitation-id x",
            "accept --link x",
            "accept --user-id u --link x --token-stdin",
            "health --token x",
            "suppression add",
            "suppression add a@b.co --from file",
            "suppression add a@b.co --expires soon",
            "suppression add a@b.co --reason bored",
            "suppression lift a@b.co --expires 1d",
            "suppression list --reason bored",
            "audit list --action explode",
            "audit list --since yesterday",
            "directory apply",
            "directory get acme",
            "directory get membership acme",
            "directory list memberships",
            "directory delete user",
            "erase",
            "erase a@b.co c@b.co",
        ] {
            let words = std::iter::once("invitectl").chain(line.split(' '));
            assert!(CommandLine::try_parse_from(words).is_err(), "{line}");
        }
    }
}

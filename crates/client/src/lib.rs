//! The client commands of the invitation service: sending lists, following what happens, and administration.

pub mod accept;
pub mod audit;
pub mod batch;
pub mod bounce;
pub mod chunks;
pub mod clock;
pub mod connection;
pub mod counts;
pub mod cursor_file;
pub mod directory;
pub mod erase;
#[cfg(test)]
mod fake_server;
pub mod follow;
pub mod mails;
pub mod metadata;
pub mod outbox;
pub mod people;
pub mod progress;
pub mod proto;
pub mod report;
pub mod report_file;
pub mod request_id;
pub mod resend;
pub mod results;
pub mod retry;
pub mod row;
pub mod send;
pub mod status;
pub mod suppression;
pub mod suspension;
pub mod table;
pub mod tally;
pub mod visible;
pub mod watch;

use std::io::Write;

use invitations_command::error::{CommandError, Exit};
use invitations_command::health::{self, HealthArgs};

const AFTER_HELP: &str = "\
The usual order, once a server runs:
  1. the organizations, users and memberships that the server has to know
       export INVITATIONS_TOKEN_FILE=token
       invitectl health --wait 30s
       invitectl directory apply directory.json
  2. people into an organization, by email
       invitectl send people.csv --organization acme --inviter u-1
  3. one of them accepts
       invitectl accept --link 'https://app.example.com/join#token=inv1_...' \\
           --user-id u-2 --user-email ada@example.com

Commands find the server by --server (INVITATIONS_SERVER) and identify the caller by
--token-file (INVITATIONS_TOKEN_FILE) or --client-certificate-file
(INVITATIONS_CLIENT_CERTIFICATE_FILE). Results go to stdout, everything else to stderr.

Exit status:
  0  done
  1  the call failed, or the answer is no
  2  the command line or a file is wrong
  3  done in part; the output says what was not
  75 not done, retry later (only the command bounce)";

/// Command line client of the invitation service
#[derive(clap::Parser)]
#[command(name = "invitectl", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(subcommand)]
    command: ClientCommand,
}

#[derive(clap::Subcommand)]
enum ClientCommand {
    Send(send::SendArgs),
    Batch(batch::BatchArgs),
    Watch(watch::WatchArgs),
    Resend(resend::ResendArgs),
    Accept(accept::AcceptArgs),
    Bounce(bounce::BounceArgs),
    Health(HealthArgs),
    /// Tell the service about organizations, users and memberships
    #[command(subcommand)]
    Directory(directory::DirectoryCommand),
    /// Manage the addresses that get no more invitations
    #[command(subcommand)]
    Suppression(suppression::SuppressionCommand),
    /// Show what callers did
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    Erase(erase::EraseArgs),
    /// Manage queued messages
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
}

/// Runs a command. Results go to `out`.
pub async fn run(line: &CommandLine, out: &mut dyn Write) -> Result<Exit, CommandError> {
    match &line.command {
        ClientCommand::Send(args) => send::run(args, out).await,
        ClientCommand::Batch(args) => batch::run(args, out).await,
        ClientCommand::Watch(args) => watch::run(args, out).await,
        ClientCommand::Resend(args) => resend::run(args, out).await,
        ClientCommand::Accept(args) => accept::run(args, out).await,
        ClientCommand::Bounce(args) => bounce::run(args, out).await,
        ClientCommand::Health(args) => health::run(args, out).await,
        ClientCommand::Directory(command) => directory::run(command, out).await,
        ClientCommand::Suppression(command) => suppression::run(command, out).await,
        ClientCommand::Audit(command) => audit::run(command, out).await,
        ClientCommand::Erase(args) => erase::run(args, out).await,
        ClientCommand::Outbox(command) => outbox::run(command, out).await,
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
            "watch",
            "watch --organization acme --cursor x --from-start",
            "batch --organization acme",
            "resend --organization acme",
            "resend --organization acme --state accepted",
            "outbox requeue --organization acme",
            "outbox requeue --organization acme --all-dead --id x",
            "accept --user-id u",
            "accept --link x",
            "accept --user-id u --link x --token-stdin",
            "health --token x",
            "suppression add",
            "suppression add a@b.co --from file",
            "suppression lift a@b.co --expires-in 1d",
            "suppression list --reason bored",
            "audit list --action explode",
            "audit list --since yesterday",
            "erase",
            "erase a@b.co c@b.co",
        ] {
            let words = std::iter::once("invitectl").chain(line.split(' '));
            assert!(CommandLine::try_parse_from(words).is_err(), "{line}");
        }
    }
}

//! The command line of the one binary: the client commands, and the tools an operator needs.
//!
//! Knows clap and the generated client, and nothing of the server's inside: a client command sees what any other
//! client sees. `serve`, `migrate` and `inbox` are only parsed here; `main` runs them. [`mail`] alone looks inside, at
//! the templates of mails, because it shows what the server would send.
//!
//! In reading order: [`failure`] is how commands end, [`connection`], [`tls`], [`retry`] and [`status`] are how they speak to
//! the server, [`send`] is the main one with [`people`], [`results`], [`row`], [`mails`], [`follow`], [`progress`],
//! [`counts`], [`report`] and [`report_file`], and [`watch`], [`batch`], [`resend`], [`outbox`], [`accept`], [`bounce`], [`directory`], [`suspension`], [`suppression`],
//! [`erase`], [`audit`], [`health`], [`mail`], [`caller`] and [`key`] are one command each.

pub mod accept;
pub mod audit;
pub mod batch;
pub mod bounce;
pub mod caller;
pub mod chunks;
pub mod connection;
pub mod counts;
pub mod cursor_file;
pub mod directory;
pub mod erase;
pub mod failure;
#[cfg(test)]
mod fake_server;
pub mod follow;
pub mod health;
pub mod inbox;
pub mod key;
pub mod mail;
pub mod mails;
pub mod metadata;
pub mod outbox;
pub mod people;
pub mod progress;
pub mod report;
pub mod report_file;
pub mod request_id;
pub mod resend;
pub mod results;
pub mod retry;
pub mod row;
pub mod secret_file;
pub mod send;
pub mod status;
pub mod suppression;
pub mod suspension;
pub mod table;
pub mod tally;
pub mod tls;
pub mod visible;
pub mod watch;

use std::io::Write;

use self::failure::{Exit, Failure};
use crate::config::{Config, MigrateConfig};

const AFTER_HELP: &str = "\
The usual order:
  1. a master key, which links are derived from
       invitations key new --keys-file keys
  2. somebody who may call
       invitations caller new demo --callers-file callers.toml --token-file token \\
           --scope invitations:write,invitations:read,directory:write
  3. the database's tables, and the server
       invitations migrate
       invitations serve
  4. what the server has to know of organizations, users and memberships
       export INVITATIONS_TOKEN_FILE=token
       invitations health --wait 30s
       invitations directory apply directory.json
  5. people into an organization, by mail
       invitations send people.csv --organization acme --inviter u-1
  6. one of them comes
       invitations accept --link 'https://app.example.com/join#token=inv1_...' \\
           --user-id u-2 --user-email ada@example.com

Client commands find the server by --server (INVITATIONS_SERVER) and say who calls by
--token-file (INVITATIONS_TOKEN_FILE) or --client-certificate-file
(INVITATIONS_CLIENT_CERTIFICATE_FILE). Results go to stdout, everything else to stderr.

Exit status:
  0  done
  1  the call failed, or the answer is no
  2  the command line or a file is wrong
  3  done in part; the output says what was not
  75 not done, and to be tried again (bounce alone)";

/// Bulk invitations over gRPC: made in one call, delivered by mail, turned into memberships exactly once
#[derive(clap::Parser)]
#[command(name = "invitations", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Run the server: the API, the delivery of mails, or both
    Serve(Box<Config>),
    /// Bring the database's tables up to date
    Migrate(MigrateConfig),
    #[expect(missing_docs, reason = "its doc would hide the help of its arguments")]
    Inbox(inbox::InboxArgs),
    /// Everything that needs no configuration of the server.
    #[command(flatten)]
    Tool(Box<Tool>),
}

/// The commands that this module runs.
#[derive(clap::Subcommand)]
pub enum Tool {
    #[expect(missing_docs, reason = "its doc would hide the help of its arguments")]
    Send(send::SendArgs),
    #[expect(missing_docs, reason = "its doc would hide the help of its arguments")]
    Batch(batch::BatchArgs),
    #[expect(missing_docs, reason = "its doc would hide the help of its arguments")]
    Watch(watch::WatchArgs),
    #[expect(missing_docs, reason = "its doc would hide the help of its arguments")]
    Resend(resend::ResendArgs),
    #[expect(missing_docs, reason = "its doc would hide the help of its arguments")]
    Accept(accept::AcceptArgs),
    #[expect(missing_docs, reason = "its doc would hide the help of its arguments")]
    Bounce(bounce::BounceArgs),
    #[expect(missing_docs, reason = "its doc would hide the help of its arguments")]
    Health(health::HealthArgs),
    /// Tell the service of organizations, users and memberships
    #[command(subcommand)]
    Directory(directory::DirectoryCommand),
    /// Say which addresses get no more invitations
    #[command(subcommand)]
    Suppression(suppression::SuppressionCommand),
    /// Show what callers did
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    #[expect(missing_docs, reason = "its doc would hide the help of its arguments")]
    Erase(erase::EraseArgs),
    /// Look after the mails that are owed
    #[command(subcommand)]
    Outbox(outbox::OutboxCommand),
    /// Make callers of the API
    #[command(subcommand)]
    Caller(caller::CallerCommand),
    /// Check the templates of mails, and look at a mail
    #[command(subcommand)]
    Mail(mail::MailCommand),
    /// Make master keys for invitation links
    #[command(subcommand)]
    Key(key::KeyCommand),
}

/// Runs a command; results go to `out`.
pub async fn run(tool: &Tool, out: &mut dyn Write) -> Result<Exit, Failure> {
    match tool {
        Tool::Send(args) => send::run(args, out).await,
        Tool::Batch(args) => batch::run(args, out).await,
        Tool::Watch(args) => watch::run(args, out).await,
        Tool::Resend(args) => resend::run(args, out).await,
        Tool::Accept(args) => accept::run(args, out).await,
        Tool::Bounce(args) => bounce::run(args, out).await,
        Tool::Health(args) => health::run(args, out).await,
        Tool::Directory(command) => directory::run(command, out).await,
        Tool::Suppression(command) => suppression::run(command, out).await,
        Tool::Audit(command) => audit::run(command, out).await,
        Tool::Erase(args) => erase::run(args, out).await,
        Tool::Outbox(command) => outbox::run(command, out).await,
        Tool::Caller(command) => caller::run(command, out),
        Tool::Mail(command) => mail::run(command, out),
        Tool::Key(command) => key::run(command, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
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
            "caller new demo",
            "caller new demo --scope root",
            "caller new demo --scope directory:read --force",
            "key new --kid 256",
            "health --token x",
            "suppression add",
            "suppression add a@b.co --from file",
            "suppression lift a@b.co --expires-in 1d",
            "suppression list --reason bored",
            "mail preview --locale de",
            "audit list --action explode",
            "audit list --since yesterday",
            "erase",
            "erase a@b.co c@b.co",
        ] {
            let words = std::iter::once("invitations").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}

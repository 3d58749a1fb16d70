//! The command line of the program `invitations`: the server, and tools for its operator.

use std::io::Write;

use invitations_command::error::{CommandError, Exit};
use invitations_command::health::{self, HealthArgs};

use crate::settings::{MigrateArgs, ServeArgs};
use crate::tools::caller::{self, CallerCommand};
use crate::tools::key::{self, KeyCommand};
use crate::tools::mail::{self, MailCommand};

const AFTER_HELP: &str = "\
To set up a server:
  1. create a master key, from which invitation links are derived
       invitations key new --keys-file keys
  2. create a caller of the API
       invitations caller new demo --callers-file callers.toml --token-file token \\
           --scope invitations:write,invitations:read,directory:write
  3. create the tables in the database, and start the server
       invitations migrate
       invitations serve

The program invitectl is the client.

Exit status:
  0  success
  1  the command failed, or the answer is negative
  2  the command line or a file is invalid";

/// The invitation service: bulk invitations over gRPC, delivered by email
#[derive(clap::Parser)]
#[command(name = "invitations", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct CommandLine {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(clap::Subcommand)]
pub enum Command {
    /// Run the server: the API, the delivery of emails, or both
    Serve(Box<ServeArgs>),
    /// Create or update the tables in the database
    Migrate(MigrateArgs),
    #[command(flatten)]
    Tool(Tool),
}

/// The commands that need no settings of the server.
#[derive(clap::Subcommand)]
pub enum Tool {
    /// Create master keys for invitation links
    #[command(subcommand)]
    Key(KeyCommand),
    /// Create callers of the API
    #[command(subcommand)]
    Caller(CallerCommand),
    /// Check email templates, and preview an email
    #[command(subcommand)]
    Mail(MailCommand),
    Health(HealthArgs),
}

/// Runs a tool, which writes its result to `out`.
pub async fn run(tool: &Tool, out: &mut dyn Write) -> Result<Exit, CommandError> {
    match tool {
        Tool::Key(command) => key::run(command, out),
        Tool::Caller(command) => caller::run(command, out),
        Tool::Mail(command) => mail::run(command, out),
        Tool::Health(args) => health::run(args, out).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn invalid_command_lines_are_refused() {
        for line in [
            "caller new demo",
            "caller new demo --scope root",
            "caller new demo --scope directory:read --force",
            "key new --kid 256",
            "mail preview --locale de",
            "health --token x",
        ] {
            let words = std::iter::once("invitations").chain(line.split(' '));
            assert!(CommandLine::try_parse_from(words).is_err(), "{line}");
        }
    }
}

//! The command line of the program `invitations`: the server and the tools of its operator.

use std::io::Write;

use invitations_command::error::{CommandError, Exit};
use invitations_command::health::{self, HealthArgs};

use crate::settings::arguments::{MigrateArgs, ServeArgs};
use crate::tools::caller::{self, CallerCommand};
use crate::tools::key::{self, KeyCommand};
use crate::tools::mail::{self, MailCommand};

const AFTER_HELP: &str = "\
The usual order:
  1. a master key, from which links are derived
       invitations key new --keys-file keys
  2. a caller of the API
       invitations caller new demo --callers-file callers.toml --token-file token \\
           --scope invitations:write,invitations:read,directory:write
  3. the tables of the database, and the server
       invitations migrate
       invitations serve

The program invitectl is the client.

Exit status:
  0  done
  1  the command failed, or the answer is no
  2  the command line or a file is wrong";

/// The invitation service: bulk invitations over gRPC, delivered by email
#[derive(clap::Parser)]
#[command(name = "invitations", version, after_help = AFTER_HELP, arg_required_else_help = true)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Run the server: the API, the delivery of emails, or both
    Serve(Box<ServeArgs>),
    /// Bring the database's tables up to date
    Migrate(MigrateArgs),
    /// The commands that end by themselves and need no settings of the server.
    #[command(flatten)]
    Tool(Tool),
}

/// The commands that [`run`] runs.
#[derive(clap::Subcommand)]
pub enum Tool {
    /// Make master keys for invitation links
    #[command(subcommand)]
    Key(KeyCommand),
    /// Make callers of the API
    #[command(subcommand)]
    Caller(CallerCommand),
    /// Check the templates of emails, and show an email
    #[command(subcommand)]
    Mail(MailCommand),
    Health(HealthArgs),
}

/// Runs a tool. Results go to `out`.
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
    fn wrong_command_lines_are_refused() {
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

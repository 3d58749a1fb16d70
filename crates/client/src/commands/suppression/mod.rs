//! The command `suppression`, which manages the addresses that get no more invitations.
//!
//! The service stores a tag of each address instead of the address, so the list shows tags.

mod changes;
mod entries;

use std::io::Write;

use invitations_command::error::{CommandError, Exit};

use crate::commands::suppression::changes::{SuppressionAddArgs, SuppressionLiftArgs};
use crate::commands::suppression::entries::SuppressionListArgs;

#[derive(Clone, clap::Subcommand)]
pub(crate) enum SuppressionCommand {
    Add(SuppressionAddArgs),
    List(SuppressionListArgs),
    Lift(SuppressionLiftArgs),
}

pub(crate) async fn run(
    command: &SuppressionCommand,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    match command {
        SuppressionCommand::Add(args) => changes::add(args, out).await,
        SuppressionCommand::List(args) => entries::run(args, out).await,
        SuppressionCommand::Lift(args) => changes::lift(args, out).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct SuppressionLine {
        #[command(subcommand)]
        _command: SuppressionCommand,
    }

    #[test]
    fn addresses_are_arguments_or_lines_of_a_file() {
        let refusal = |line: &str| {
            SuppressionLine::try_parse_from(line.split(' '))
                .err()
                .map(|error| error.to_string())
        };
        let message = refusal("suppression add").unwrap();
        assert!(message.contains("--from <FILE>"), "{message}");
        assert!(refusal("suppression add a@b.co --from x").is_some());
        assert_eq!(refusal("suppression add a@b.co c@b.co"), None);
        assert_eq!(refusal("suppression lift --from -"), None);
        let help = refusal("suppression add --help").unwrap();
        assert!(
            help.find("--expires-in") < help.find("Connection:"),
            "{help}"
        );
    }
}

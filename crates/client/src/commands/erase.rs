//! The command `erase`. It asks for a confirmation, because erased data cannot be restored.

use std::io::{self, BufRead, IsTerminal as _, Write};

use invitations_command::error::{CommandError, CommandResult, Exit};

use crate::connection::ConnectionArgs;
use crate::output::{Table, escaped};
use crate::proto::{EraseAddressRequest, EraseAddressResponse};

const AFTER_HELP: &str = "\
The service revokes pending invitations to the address and cancels their queued emails. It removes the address, note, \
metadata and redirect URL from invitations. It removes the address from users, and the name of users without another \
address. Ids, roles, states and times stay. An email that is being sent at that moment may still arrive.

An invitation that is created at the same moment may keep the address. Run the command again to be sure: when all counts \
are 0, no data was left. See docs/privacy.md for backups and other places.

Exit status:
  0  no data of the address is left
  1  the call failed, or the confirmation was not yes; the command can be repeated and continues where it stopped
  2  the command line is wrong; nothing was sent

Example:
  invitectl erase ada@example.com --suppress";

/// Erase all data of an address in all organizations
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct EraseArgs {
    /// Address to erase
    #[arg(value_name = "EMAIL")]
    email: String,
    /// Also add the address to the suppression list, so that it gets no more invitations
    #[arg(long)]
    suppress: bool,
    /// Do not ask for a confirmation
    #[arg(long)]
    yes: bool,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &EraseArgs, out: &mut dyn Write) -> CommandResult {
    if !args.yes {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            let message = "nothing was sent, because stdin is not a terminal and cannot confirm; use --yes to erase without \
                           a confirmation";
            return Err(CommandError::Usage(message.to_owned()));
        }
        if !is_confirmed(&args.email, &mut stdin.lock(), &mut io::stderr())? {
            writeln!(out, "nothing was erased")?;
            return Ok(Exit::Negative);
        }
    }
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let request = EraseAddressRequest {
        email: args.email.clone(),
        suppress: args.suppress,
    };
    let call = async || client.erase_address(request.clone()).await;
    let response = connection.call("EraseAddress", call).await?;
    write_counts(&response, args, out)?;
    Ok(Exit::Done)
}

/// Asks for a confirmation. Only the whole word "yes" confirms.
fn is_confirmed(email: &str, input: &mut dyn BufRead, prompt: &mut dyn Write) -> io::Result<bool> {
    write!(
        prompt,
        "This erases all data of {} and cannot be undone. Type yes to continue: ",
        escaped(email)
    )?;
    prompt.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

fn write_counts(
    response: &EraseAddressResponse,
    args: &EraseArgs,
    out: &mut dyn Write,
) -> io::Result<()> {
    if args.json {
        let counts = serde_json::to_value(response).map_err(io::Error::from)?;
        return writeln!(out, "{counts:#}");
    }
    let suppressed = match (args.suppress, response.newly_suppressed) {
        (false, _) => "not requested",
        (true, true) => "yes",
        (true, false) => "already suppressed",
    };
    let facts = [
        ("invitations erased", response.erased_invitation_count),
        ("invitations revoked", response.revoked_invitation_count),
        ("emails canceled", response.canceled_message_count),
        ("users without the address", response.erased_user_count),
        ("users without a name", response.nameless_user_count),
    ]
    .map(|(name, count)| (name, count.to_string()));
    let suppressed = ("suppressed", suppressed.to_owned());
    Table::of_facts(facts.into_iter().chain([suppressed])).write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_confirms() {
        for (typed, expected) in [
            ("yes\n", true),
            (" yes \r\n", true),
            ("y\n", false),
            ("\n", false),
            ("", false),
            ("YES\n", false),
        ] {
            let mut prompt = Vec::new();
            let is_confirmed =
                is_confirmed("a\u{202e}@b.co", &mut typed.as_bytes(), &mut prompt).unwrap();
            assert_eq!(is_confirmed, expected, "{typed:?}");
            let prompt = String::from_utf8(prompt).unwrap();
            assert!(
                !prompt.contains('\u{202e}') && prompt.ends_with(": "),
                "{prompt}"
            );
        }
    }
}

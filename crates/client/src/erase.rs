//! `erase`: has the service forget an address.
//!
//! Asks first, because nothing brings back what is erased.

use std::io::{self, BufRead, IsTerminal as _, Write};

use serde_json::json;

use super::connection::ConnectionArgs;
use super::retry::retrying;
use super::status::refused;
use super::table;
use super::visible::visible;
use crate::proto::{EraseAddressRequest, EraseAddressResponse};
use invitations_command::error::{CommandError, Exit};

const AFTER_HELP: &str = "\
Pending invitations are revoked and their queued mail is canceled. Invitations lose the address, note, metadata and \
redirect URL, users lose the address, and who had no other loses their name. Ids, roles, states and times stay. A mail \
that is being sent at that moment may still go out. To be sure of an invitation that was being made at that moment, run \
it again: counts of 0 say that there was nothing left. See docs/privacy.md for backups and what else there is.

Exit status:
  0  nothing is left of the address
  1  the call failed, or the answer to the question was not yes; run it again, it goes on where it stopped
  2  the command line is wrong; nothing was sent

Example:
  invitations erase ada@example.com --suppress";

/// Erase everything about an address, over all organizations
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct EraseArgs {
    /// The address
    #[arg(value_name = "EMAIL")]
    email: String,
    /// Put it on the suppression list too, so that nobody invites it again
    #[arg(long)]
    suppress: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs the command.
pub async fn run(args: &EraseArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    if !args.yes {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            let message = "nothing was sent, nobody can be asked here: --yes erases without asking";
            return Err(CommandError::Usage(message.to_owned()));
        }
        if !is_sure(&args.email, &mut stdin.lock(), &mut io::stderr())? {
            writeln!(out, "nothing was erased")?;
            return Ok(Exit::Negative);
        }
    }
    let mut client = args.connection.directory().await?;
    let request = EraseAddressRequest {
        email: args.email.clone(),
        suppress: args.suppress,
    };
    let response = retrying("EraseAddress", async || {
        client.erase_address(request.clone()).await
    })
    .await
    .map_err(|status| refused("EraseAddress", args.connection.server(), &status))?;
    write_counts(&response, args, out)?;
    Ok(Exit::Done)
}

/// Asks; only the whole word counts.
fn is_sure(email: &str, input: &mut dyn BufRead, prompt: &mut dyn Write) -> io::Result<bool> {
    write!(
        prompt,
        "Everything about {} will be erased and cannot be brought back. Type yes to go on: ",
        visible(email)
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
        let counts = json!({
            "erased_invitation_count": response.erased_invitation_count,
            "revoked_invitation_count": response.revoked_invitation_count,
            "canceled_mail_count": response.canceled_mail_count,
            "erased_user_count": response.erased_user_count,
            "nameless_user_count": response.nameless_user_count,
            "newly_suppressed": response.newly_suppressed,
        });
        return writeln!(out, "{counts:#}");
    }
    let suppression = match (args.suppress, response.newly_suppressed) {
        (false, _) => "not asked for",
        (true, true) => "yes",
        (true, false) => "was suppressed before",
    };
    let facts = [
        (
            "invitations erased",
            response.erased_invitation_count.to_string(),
        ),
        (
            "of them revoked",
            response.revoked_invitation_count.to_string(),
        ),
        ("mails canceled", response.canceled_mail_count.to_string()),
        ("users who lost it", response.erased_user_count.to_string()),
        (
            "of them without a name now",
            response.nameless_user_count.to_string(),
        ),
        ("suppressed", suppression.to_owned()),
    ];
    writeln!(out, "{}", table::of_facts(facts).trim_fmt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_word_erases() {
        for (typed, expected) in [
            ("yes\n", true),
            (" yes \r\n", true),
            ("y\n", false),
            ("\n", false),
            ("", false),
            ("YES\n", false),
        ] {
            let mut prompt = Vec::new();
            let sure = is_sure("a\u{202e}@b.co", &mut typed.as_bytes(), &mut prompt).unwrap();
            assert_eq!(sure, expected, "{typed:?}");
            let prompt = String::from_utf8(prompt).unwrap();
            assert!(
                !prompt.contains('\u{202e}') && prompt.ends_with(": "),
                "{prompt}"
            );
        }
    }
}

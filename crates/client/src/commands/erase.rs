//! The command `erase`. It asks for a confirmation, because erased data cannot be restored.

use std::io::{self, Write};

use invitations_command::error::{CommandResult, Exit};

use crate::acting_user::ActingUserArgs;
use crate::confirmation::confirm;
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
  0  no data of the address is left, or it was a dry run
  1  the call failed, or the confirmation was not yes; the command can be repeated and continues where it stopped
  2  the command line is wrong; nothing was sent

Examples:
  invitectl erase ada@example.com --dry-run
  invitectl erase ada@example.com --suppress";

/// Erase all data of an address in all organizations
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct EraseArgs {
    /// Address to erase
    #[arg(value_name = "EMAIL")]
    email: String,
    /// Also add the address to the suppression list, so that it gets no more invitations
    #[arg(long)]
    suppress: bool,
    /// Report what would be erased, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for a confirmation
    #[arg(long)]
    yes: bool,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    acting_user: ActingUserArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &EraseArgs, out: &mut dyn Write) -> CommandResult {
    let consequence = || {
        let email = escaped(&args.email);
        format!("This erases all data of {email} and cannot be undone")
    };
    if !args.yes && !args.dry_run && !confirm(&consequence())? {
        writeln!(out, "nothing was erased")?;
        return Ok(Exit::Negative);
    }
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let request = EraseAddressRequest {
        email: args.email.clone(),
        suppress: args.suppress,
        validate_only: args.dry_run,
        acting_user_id: args.acting_user.id(),
        ..Default::default()
    };
    let call = async || client.erase_address(request.clone()).await;
    let response = connection.call("EraseAddress", call).await?;
    write_counts(&response, args, out)?;
    Ok(Exit::Done)
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
    if args.dry_run {
        writeln!(out, "dry run: nothing was changed\n")?;
    }
    Table::of_facts(facts.into_iter().chain([suppressed])).write(out)
}

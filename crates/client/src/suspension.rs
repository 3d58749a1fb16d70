//! `directory suspend` and `directory resume`: the switch that stops one organization.

use std::io::Write;

use super::connection::ConnectionArgs;
use super::retry::retrying;
use super::status::refused;
use super::visible::visible;
use crate::proto::{ResumeOrganizationRequest, SuspendOrganizationRequest};
use invitations_command::error::{CommandError, Exit};

/// What is said after the help of `directory suspend`.
pub const SUSPEND_AFTER_HELP: &str = "\
Nobody is invited, mailed or let in for the organization until it is resumed; its mails wait. Revoking and declining go \
on. Needs a caller that is not limited to organizations.

Exit status:
  0  the organization is suspended
  1  the call failed
  2  the command line is wrong; nothing was done

Example:
  invitations directory suspend acme --token-file token";

/// What is said after the help of `directory resume`.
pub const RESUME_AFTER_HELP: &str = "\
The mails that waited go out. Needs a caller that is not limited to organizations.

Exit status:
  0  the organization is not suspended
  1  the call failed
  2  the command line is wrong; nothing was done

Example:
  invitations directory resume acme --token-file token";

/// The arguments of `directory suspend` and `directory resume`.
#[derive(Debug, Clone, clap::Args)]
pub struct SwitchArgs {
    /// The organization
    #[arg(value_name = "ID")]
    organization: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Stops an organization.
pub async fn suspend(args: &SwitchArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let mut client = args.connection.directory().await?;
    let request = SuspendOrganizationRequest {
        organization_id: args.organization.clone(),
    };
    let call = async || client.suspend_organization(request.clone()).await;
    retrying("SuspendOrganization", call)
        .await
        .map_err(|status| refused("SuspendOrganization", args.connection.server(), &status))?;
    writeln!(out, "{} is suspended", visible(&args.organization))?;
    Ok(Exit::Done)
}

/// Lets an organization go on.
pub async fn resume(args: &SwitchArgs, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let mut client = args.connection.directory().await?;
    let request = ResumeOrganizationRequest {
        organization_id: args.organization.clone(),
    };
    let call = async || client.resume_organization(request.clone()).await;
    let response = retrying("ResumeOrganization", call)
        .await
        .map_err(|status| refused("ResumeOrganization", args.connection.server(), &status))?;
    writeln!(
        out,
        "{} goes on, {} mails that waited are due",
        visible(&args.organization),
        response.released_mail_count
    )?;
    Ok(Exit::Done)
}

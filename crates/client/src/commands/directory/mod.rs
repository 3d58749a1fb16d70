//! The command `directory`, which manages organizations, users and memberships.

pub(crate) mod apply;
pub(crate) mod delete;
mod directory_file;
pub(crate) mod read;

use std::io::Write;

use invitations_command::error::{CommandResult, Exit};

use crate::acting_user::ActingUserArgs;
use crate::commands::directory::apply::DirectoryApplyArgs;
use crate::commands::directory::delete::DirectoryDeleteCommand;
use crate::commands::directory::read::{DirectoryGetCommand, DirectoryListCommand};
use crate::connection::ConnectionArgs;
use crate::output::escaped;
use crate::proto::{ResumeOrganizationRequest, SuspendOrganizationRequest};

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum DirectoryCommand {
    Apply(DirectoryApplyArgs),
    /// Show an organization, a user or a membership as a file for directory apply
    #[command(subcommand)]
    Get(DirectoryGetCommand),
    /// Show organizations, users or memberships as a file for directory apply
    #[command(subcommand)]
    List(DirectoryListCommand),
    /// Delete an organization, users or memberships
    #[command(subcommand)]
    Delete(DirectoryDeleteCommand),
    Suspend(SuspendArgs),
    Resume(ResumeArgs),
}

const SUSPEND_AFTER_HELP: &str = "\
Until the organization is resumed, the service rejects new invitations and acceptances, and keeps its emails in the \
queue. Revoking and declining still work. The caller must not be limited to organizations.

Example:
  invitectl directory suspend acme --token-file token";

const RESUME_AFTER_HELP: &str = "\
The service sends the emails that waited in the queue. The caller must not be limited to organizations.

Example:
  invitectl directory resume acme --token-file token";

/// Suspend an organization: no invitations, emails or acceptances
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = SUSPEND_AFTER_HELP)]
pub(crate) struct SuspendArgs {
    /// Organization to suspend
    #[arg(value_name = "ID")]
    organization: String,
    #[command(flatten)]
    acting_user: ActingUserArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Resume a suspended organization
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = RESUME_AFTER_HELP)]
pub(crate) struct ResumeArgs {
    /// Organization to resume
    #[arg(value_name = "ID")]
    organization: String,
    #[command(flatten)]
    acting_user: ActingUserArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn suspend(args: &SuspendArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let request = SuspendOrganizationRequest {
        organization_id: args.organization.clone(),
        acting_user_id: args.acting_user.id(),
        ..Default::default()
    };
    let call = async || client.suspend_organization(request.clone()).await;
    connection.call("SuspendOrganization", call).await?;
    writeln!(out, "{} is suspended", escaped(&args.organization))?;
    Ok(Exit::Done)
}

pub(crate) async fn resume(args: &ResumeArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let request = ResumeOrganizationRequest {
        organization_id: args.organization.clone(),
        acting_user_id: args.acting_user.id(),
        ..Default::default()
    };
    let call = async || client.resume_organization(request.clone()).await;
    let response = connection.call("ResumeOrganization", call).await?;
    let (name, count) = (escaped(&args.organization), response.released_message_count);
    writeln!(out, "{name} is resumed, {count} waiting emails are due")?;
    Ok(Exit::Done)
}

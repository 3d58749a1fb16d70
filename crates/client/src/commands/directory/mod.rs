//! The command `directory`, which manages organizations, users and memberships.

pub(crate) mod apply;

use std::io::Write;

use invitations_command::error::{CommandResult, Exit};

use crate::commands::directory::apply::DirectoryApplyArgs;
use crate::connection::ConnectionArgs;
use crate::output::escaped;
use crate::proto::{ResumeOrganizationRequest, SuspendOrganizationRequest};

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum DirectoryCommand {
    Apply(DirectoryApplyArgs),
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
    connection: ConnectionArgs,
}

pub(crate) async fn suspend(args: &SuspendArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let request = SuspendOrganizationRequest {
        organization_id: args.organization.clone(),
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
    };
    let call = async || client.resume_organization(request.clone()).await;
    let response = connection.call("ResumeOrganization", call).await?;
    let (name, count) = (escaped(&args.organization), response.released_message_count);
    writeln!(out, "{name} is resumed, {count} waiting emails are due")?;
    Ok(Exit::Done)
}

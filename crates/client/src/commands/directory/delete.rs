//! `directory delete`. It asks for a confirmation, because invitations that it revokes stay revoked.

use std::io::Write;

use invitations_command::error::{CommandResult, Exit};

use crate::acting_user::ActingUserArgs;
use crate::confirmation::confirm;
use crate::connection::{ConnectionArgs, split_into_calls};
use crate::output::escaped;
use crate::proto::{
    BulkDeleteMembershipsRequest, BulkDeleteUsersRequest, DeleteOrganizationRequest, DeleteOutcome,
    DeleteResult, MembershipKey,
};
use crate::report::ItemReport;

const AFTER_HELP: &str = "\
Pending invitations of what is deleted are revoked, and their queued emails are canceled.

Exit status:
  0  everything was deleted, or was missing with --allow-missing
  1  a call failed, or the confirmation was not yes
  2  the command line is wrong; nothing was sent
  3  some items were refused

Examples:
  invitectl directory delete organization acme --dry-run
  invitectl directory delete user u-1 u-2 --allow-missing --yes
  invitectl directory delete membership acme u-1";

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum DirectoryDeleteCommand {
    /// Delete an organization and its memberships, and revoke its pending invitations
    #[command(after_help = AFTER_HELP)]
    Organization(OrganizationDeleteArgs),
    /// Delete users with their names, addresses and memberships, and revoke the pending invitations that they made
    #[command(after_help = AFTER_HELP)]
    User(UserDeleteArgs),
    /// Delete memberships of an organization, and revoke the pending invitations that the users made there
    #[command(after_help = AFTER_HELP)]
    Membership(MembershipDeleteArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OrganizationDeleteArgs {
    /// Organization to delete
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    options: DeleteArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UserDeleteArgs {
    /// Users to delete
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    options: DeleteArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MembershipDeleteArgs {
    /// Organization of the memberships
    #[arg(value_name = "ORGANIZATION_ID")]
    organization: String,
    /// Users of the memberships
    #[arg(value_name = "USER_ID", required = true)]
    users: Vec<String>,
    #[command(flatten)]
    options: DeleteArgs,
}

#[derive(Debug, Clone, clap::Args)]
struct DeleteArgs {
    /// Accept that an item does not exist
    #[arg(long)]
    allow_missing: bool,
    /// Report what would be deleted, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for a confirmation
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    acting_user: ActingUserArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// What all calls of a command changed.
#[derive(Default)]
struct DeletedItems {
    report: ItemReport,
    revoked_invitation_count: i64,
    deleted_membership_count: i64,
}

pub(crate) async fn run(command: &DirectoryDeleteCommand, out: &mut dyn Write) -> CommandResult {
    let (options, subject) = match command {
        DirectoryDeleteCommand::Organization(args) => {
            let subject = format!("organization {}", escaped(&args.id));
            (&args.options, subject)
        }
        DirectoryDeleteCommand::User(args) => (&args.options, counted(args.ids.len(), "user")),
        DirectoryDeleteCommand::Membership(args) => {
            (&args.options, counted(args.users.len(), "membership"))
        }
    };
    let consequence = format!("This deletes {subject} and revokes pending invitations");
    if !options.yes && !options.dry_run && !confirm(&consequence)? {
        writeln!(out, "nothing was deleted")?;
        return Ok(Exit::Negative);
    }
    match command {
        DirectoryDeleteCommand::Organization(args) => delete_organization(args, out).await,
        DirectoryDeleteCommand::User(args) => delete_users(args, out).await,
        DirectoryDeleteCommand::Membership(args) => delete_memberships(args, out).await,
    }
}

async fn delete_organization(args: &OrganizationDeleteArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.options.connection.connect().await?;
    let mut client = connection.directory();
    let request = DeleteOrganizationRequest {
        organization_id: args.id.clone(),
        allow_missing: args.options.allow_missing,
        validate_only: args.options.dry_run,
        acting_user_id: args.options.acting_user.id(),
        ..Default::default()
    };
    let call = async || client.delete_organization(request.clone()).await;
    let response = connection.call("DeleteOrganization", call).await?;
    let mut deleted = DeletedItems {
        revoked_invitation_count: response.revoked_invitation_count,
        deleted_membership_count: response.deleted_membership_count,
        ..Default::default()
    };
    deleted.report.add(args.id.clone(), None);
    deleted.write(&args.options, out)
}

async fn delete_users(args: &UserDeleteArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.options.connection.connect().await?;
    let mut client = connection.directory();
    let mut deleted = DeletedItems::default();
    for ids in split_into_calls(args.ids.clone()) {
        let request = BulkDeleteUsersRequest {
            user_ids: ids.clone(),
            allow_missing: args.options.allow_missing,
            validate_only: args.options.dry_run,
            acting_user_id: args.options.acting_user.id(),
            ..Default::default()
        };
        let call = async || client.bulk_delete_users(request.clone()).await;
        let response = connection.call("BulkDeleteUsers", call).await?;
        deleted.add(ids, response.results);
        deleted.revoked_invitation_count += response.revoked_invitation_count;
        deleted.deleted_membership_count += response.deleted_membership_count;
    }
    deleted.write(&args.options, out)
}

async fn delete_memberships(args: &MembershipDeleteArgs, out: &mut dyn Write) -> CommandResult {
    let connection = args.options.connection.connect().await?;
    let mut client = connection.directory();
    let mut deleted = DeletedItems::default();
    let keys = args.users.iter().map(|user_id| MembershipKey {
        organization_id: args.organization.clone(),
        user_id: user_id.clone(),
    });
    for memberships in split_into_calls(keys.collect()) {
        let users = memberships.iter().map(|it| it.user_id.clone()).collect();
        let request = BulkDeleteMembershipsRequest {
            memberships,
            allow_missing: args.options.allow_missing,
            validate_only: args.options.dry_run,
            acting_user_id: args.options.acting_user.id(),
            ..Default::default()
        };
        let call = async || client.bulk_delete_memberships(request.clone()).await;
        let response = connection.call("BulkDeleteMemberships", call).await?;
        let count = |it: &&DeleteResult| it.outcome() == DeleteOutcome::Deleted;
        let count = response.results.iter().filter(count).count();
        deleted.deleted_membership_count += i64::try_from(count).unwrap_or(i64::MAX);
        deleted.revoked_invitation_count += response.revoked_invitation_count;
        deleted.add(users, response.results);
    }
    deleted.write(&args.options, out)
}

impl DeletedItems {
    fn add(&mut self, ids: Vec<String>, results: Vec<DeleteResult>) {
        for (id, result) in ids.into_iter().zip(results) {
            if result.outcome() == DeleteOutcome::Missing {
                self.report.unchanged += 1;
            } else {
                self.report.add(id, result.error);
            }
        }
    }

    fn write(&self, options: &DeleteArgs, out: &mut dyn Write) -> CommandResult {
        let verb = if options.dry_run {
            "would delete"
        } else {
            "deleted"
        };
        self.report.write(verb, out)?;
        let memberships = self.deleted_membership_count;
        let invitations = self.revoked_invitation_count;
        writeln!(
            out,
            "memberships deleted: {memberships}, invitations revoked: {invitations}"
        )?;
        Ok(self.report.exit())
    }
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

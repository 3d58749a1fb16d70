//! `directory get` and `directory list`. Their output is a file for `directory apply`.

use std::io::{self, Write};

use invitations_command::error::{CommandError, CommandResult, Exit};

use crate::commands::directory::directory_file::DirectoryFile;
use crate::connection::{ConnectionArgs, read_pages};
use crate::proto::{
    GetMembershipRequest, GetOrganizationRequest, GetUserRequest, ListMembershipsRequest,
    ListOrganizationsRequest, ListUsersRequest,
};

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum DirectoryGetCommand {
    /// Show an organization, also a suspended or deleted one
    Organization(ItemGetArgs),
    /// Show a user
    User(ItemGetArgs),
    /// Show a membership
    Membership(MembershipGetArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ItemGetArgs {
    /// Id of the organization or user
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MembershipGetArgs {
    /// Organization of the membership
    #[arg(value_name = "ORGANIZATION_ID")]
    organization: String,
    /// User of the membership
    #[arg(value_name = "USER_ID")]
    user: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum DirectoryListCommand {
    /// Show all organizations that the caller may act for
    Organizations(OrganizationListArgs),
    /// Show all users
    Users(UserListArgs),
    /// Show all memberships of an organization
    Memberships(MembershipListArgs),
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct OrganizationListArgs {
    /// Show deleted organizations too
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct UserListArgs {
    /// Only users with this verified address
    #[arg(long, value_name = "EMAIL")]
    email: Option<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MembershipListArgs {
    /// Organization of the memberships
    #[arg(long, value_name = "ID")]
    organization: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn get(command: &DirectoryGetCommand, out: &mut dyn Write) -> CommandResult {
    let mut file = DirectoryFile::default();
    match command {
        DirectoryGetCommand::Organization(args) => {
            let connection = args.connection.connect().await?;
            let mut client = connection.directory();
            let request = GetOrganizationRequest {
                organization_id: args.id.clone(),
            };
            let call = async || client.get_organization(request.clone()).await;
            let response = connection.call("GetOrganization", call).await?;
            file.organizations
                .extend(response.organization.map(Into::into));
        }
        DirectoryGetCommand::User(args) => {
            let connection = args.connection.connect().await?;
            let mut client = connection.directory();
            let request = GetUserRequest {
                user_id: args.id.clone(),
            };
            let call = async || client.get_user(request.clone()).await;
            let response = connection.call("GetUser", call).await?;
            file.users.extend(response.user.map(Into::into));
        }
        DirectoryGetCommand::Membership(args) => {
            let connection = args.connection.connect().await?;
            let mut client = connection.directory();
            let request = GetMembershipRequest {
                organization_id: args.organization.clone(),
                user_id: args.user.clone(),
            };
            let call = async || client.get_membership(request.clone()).await;
            let response = connection.call("GetMembership", call).await?;
            file.memberships.extend(response.membership.map(Into::into));
        }
    }
    write_file(&file, out)?;
    Ok(Exit::Done)
}

pub(crate) async fn list(command: &DirectoryListCommand, out: &mut dyn Write) -> CommandResult {
    let file = match command {
        DirectoryListCommand::Organizations(args) => list_organizations(args).await,
        DirectoryListCommand::Users(args) => list_users(args).await,
        DirectoryListCommand::Memberships(args) => list_memberships(args).await,
    };
    write_file(&file?, out)?;
    Ok(Exit::Done)
}

async fn list_organizations(args: &OrganizationListArgs) -> Result<DirectoryFile, CommandError> {
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let pages = read_pages(usize::MAX, async |page_size, page_token| {
        let request = ListOrganizationsRequest {
            page_size,
            page_token,
            show_deleted: args.deleted,
        };
        let call = async || client.list_organizations(request.clone()).await;
        let page = connection.call("ListOrganizations", call).await?;
        Ok((page.organizations, page.next_page_token))
    });
    let (organizations, _) = pages.await?;
    Ok(DirectoryFile {
        organizations: organizations.into_iter().map(Into::into).collect(),
        ..Default::default()
    })
}

async fn list_users(args: &UserListArgs) -> Result<DirectoryFile, CommandError> {
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let pages = read_pages(usize::MAX, async |page_size, page_token| {
        let request = ListUsersRequest {
            page_size,
            page_token,
            verified_email: args.email.clone().unwrap_or_default(),
        };
        let call = async || client.list_users(request.clone()).await;
        let page = connection.call("ListUsers", call).await?;
        Ok((page.users, page.next_page_token))
    });
    let (users, _) = pages.await?;
    Ok(DirectoryFile {
        users: users.into_iter().map(Into::into).collect(),
        ..Default::default()
    })
}

async fn list_memberships(args: &MembershipListArgs) -> Result<DirectoryFile, CommandError> {
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let pages = read_pages(usize::MAX, async |page_size, page_token| {
        let request = ListMembershipsRequest {
            organization_id: args.organization.clone(),
            page_size,
            page_token,
        };
        let call = async || client.list_memberships(request.clone()).await;
        let page = connection.call("ListMemberships", call).await?;
        Ok((page.memberships, page.next_page_token))
    });
    let (memberships, _) = pages.await?;
    Ok(DirectoryFile {
        memberships: memberships.into_iter().map(Into::into).collect(),
        ..Default::default()
    })
}

fn write_file(file: &DirectoryFile, out: &mut dyn Write) -> io::Result<()> {
    let text = serde_json::to_string_pretty(file).map_err(io::Error::from)?;
    writeln!(out, "{text}")
}

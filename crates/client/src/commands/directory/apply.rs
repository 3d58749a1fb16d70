//! `directory apply`: adds or replaces the items of a JSON file.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use invitations_command::error::{CommandError, Exit};
use prost::Message;

use crate::commands::directory::directory_file::{DirectoryItems, parse};
use crate::commands::directory::upsert_report::{UpsertCounts, write_report};
use crate::connection::{ConnectionArgs, split_into_calls};
use crate::proto::{
    UpsertMembershipsRequest, UpsertOrganizationsRequest, UpsertResult, UpsertUsersRequest,
};

const AFTER_HELP: &str = "\
The file is a JSON object with up to three lists. Their items have the field names of
invitation/v1/directory.proto. The lists are applied in this order:
  {
    \"organizations\": [{\"id\": \"acme\", \"name\": \"Acme\"}],
    \"users\": [{\"id\": \"u-1\", \"name\": \"Ada\", \"verified_emails\": [\"ada@example.com\"]}],
    \"memberships\": [{\"organization_id\": \"acme\", \"user_id\": \"u-1\", \"role\": \"admin\"}]
  }
Every field of an item is replaced, and a missing field becomes empty. Nothing is deleted.

Exit status:
  0  all items were applied
  1  a call failed
  2  the command line or the file is wrong; nothing was sent
  3  some items were refused

Example:
  invitectl directory apply directory.json --token-file token";

/// Add or replace the organizations, users and memberships of a JSON file
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DirectoryApplyArgs {
    /// JSON file with organizations, users and memberships
    #[arg(value_name = "FILE.json")]
    file: PathBuf,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(
    args: &DirectoryApplyArgs,
    out: &mut dyn Write,
) -> Result<Exit, CommandError> {
    let path = &args.file;
    let content = fs::read(path).map_err(|source| CommandError::file("read", path, source))?;
    let items = parse(&content).map_err(|problem| {
        CommandError::Usage(format!(
            "nothing was sent, because {}: {problem}",
            path.display()
        ))
    })?;
    let counts = apply(args, items).await?;
    write_report(&counts, out)?;
    let has_refused = counts.iter().any(UpsertCounts::has_refused);
    Ok(Exit::partial_if(has_refused))
}

async fn apply(
    args: &DirectoryApplyArgs,
    items: DirectoryItems,
) -> Result<[UpsertCounts; 3], CommandError> {
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let organizations = upsert(
        UpsertCounts::new("organizations"),
        items.organizations,
        |item| item.id.clone(),
        async |organizations| {
            let request = UpsertOrganizationsRequest { organizations };
            let call = async || client.upsert_organizations(request.clone()).await;
            let response = connection.call("UpsertOrganizations", call).await?;
            Ok(response.results)
        },
    );
    let organizations = organizations.await?;
    let users = upsert(
        UpsertCounts::new("users"),
        items.users,
        |item| item.id.clone(),
        async |users| {
            let request = UpsertUsersRequest { users };
            let call = async || client.upsert_users(request.clone()).await;
            let response = connection.call("UpsertUsers", call).await?;
            Ok(response.results)
        },
    );
    let users = users.await?;
    let memberships = upsert(
        UpsertCounts::new("memberships"),
        items.memberships,
        |item| format!("{} in {}", item.user_id, item.organization_id),
        async |memberships| {
            let request = UpsertMembershipsRequest { memberships };
            let call = async || client.upsert_memberships(request.clone()).await;
            let response = connection.call("UpsertMemberships", call).await?;
            Ok(response.results)
        },
    );
    Ok([organizations, users, memberships.await?])
}

/// Makes as many calls as the items need, and counts their results.
async fn upsert<T: Message>(
    mut counts: UpsertCounts,
    items: Vec<T>,
    name: impl Fn(&T) -> String,
    mut call: impl AsyncFnMut(Vec<T>) -> Result<Vec<UpsertResult>, CommandError>,
) -> Result<UpsertCounts, CommandError> {
    for chunk in split_into_calls(items) {
        let names = chunk.iter().map(&name).collect();
        counts.add(names, call(chunk).await?);
    }
    Ok(counts)
}

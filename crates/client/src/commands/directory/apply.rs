//! `directory apply`: adds the items of a JSON file, or changes them to what the file says. Reports counts per list, and the
//! items that were refused.

use std::io::{self, Write};
use std::path::PathBuf;

use invitations_command::bounded_file::{self, ROWS_FILE_BYTES_MAX};
use invitations_command::error::{CommandError, CommandResult, Exit};
use prost::Message;
use prost_types::FieldMask;

use crate::acting_user::ActingUserArgs;
use crate::commands::directory::directory_file::DirectoryMessages;
use crate::connection::{ConnectionArgs, split_into_calls};
use crate::output::{Table, escaped, reason_name};
use crate::proto::{
    ItemError, UpsertMembershipsRequest, UpsertOrganizationsRequest, UpsertOutcome, UpsertResult,
    UpsertUsersRequest,
};

/// The mask that stands for every field that can be written.
const ALL_FIELDS: &str = "*";

const AFTER_HELP: &str = "\
The file is a JSON object with up to three lists. Their items have the field names of
invitation/v1/directory.proto. The lists are applied in this order:
  {
    \"organizations\": [{\"id\": \"acme\", \"name\": \"Acme\", \"roles\": [\"admin\", \"member\"]}],
    \"users\": [{\"id\": \"u-1\", \"name\": \"Ada\", \"verified_emails\": [\"ada@example.com\"]}],
    \"memberships\": [{\"organization_id\": \"acme\", \"user_id\": \"u-1\", \"role\": \"admin\"}]
  }
A role is its id, or an object:
  {\"id\": \"editor\", \"display_name\": \"Editor\", \"localized_display_names\": {\"de\": \"Redaktion\"}, \"can_invite\": true}

The file is the desired state of its items: in an item that exists, every field gets the value of the file, and a field \
that the file leaves out becomes empty, the metadata of memberships included (update_mask \"*\"). With --merge, only the fields that an item has are changed. \
Items that are not in the file do not change; directory delete deletes them. The output of directory get and directory \
list is such a file; its times are ignored.

Exit status:
  0  all items were applied
  1  a call failed
  2  the command line or the file is wrong; nothing was sent
  3  some items were refused

Examples:
  invitectl directory apply directory.json --token-file token
  invitectl directory apply new-names.json --merge";

/// Add the organizations, users and memberships of a JSON file, or change them to what the file says
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct DirectoryApplyArgs {
    /// JSON file with organizations, users and memberships
    #[arg(value_name = "FILE.json")]
    file: PathBuf,
    /// Change only the fields that an item has
    #[arg(long)]
    merge: bool,
    /// Restore organizations that were deleted, without their former memberships and invitations
    #[arg(long)]
    undelete: bool,
    #[command(flatten)]
    acting_user: ActingUserArgs,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(crate) async fn run(args: &DirectoryApplyArgs, out: &mut dyn Write) -> CommandResult {
    let path = &args.file;
    let content = bounded_file::read(path, ROWS_FILE_BYTES_MAX)
        .map_err(|source| CommandError::file("read", path, source))?;
    let items = DirectoryMessages::parse(&content).map_err(|problem| {
        let path = path.display();
        CommandError::Usage(format!("nothing was sent, because {path}: {problem}"))
    })?;
    let counts = apply(args, items).await?;
    write_report(&counts, out)?;
    let has_refused = counts.iter().any(|list| !list.refused.is_empty());
    Ok(Exit::partial_if(has_refused))
}

async fn apply(
    args: &DirectoryApplyArgs,
    items: DirectoryMessages,
) -> Result<[UpsertCounts; 3], CommandError> {
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let update_mask = (!args.merge).then(|| FieldMask {
        paths: vec![ALL_FIELDS.to_owned()],
    });
    let acting_user_id = args.acting_user.id();
    let organizations = upsert(
        "organizations",
        items.organizations,
        |item| item.id.clone(),
        async |organizations| {
            let request = UpsertOrganizationsRequest {
                organizations,
                update_mask: update_mask.clone(),
                undelete: args.undelete,
                acting_user_id: acting_user_id.clone(),
                ..Default::default()
            };
            let call = async || client.upsert_organizations(request.clone()).await;
            Ok(connection.call("UpsertOrganizations", call).await?.results)
        },
    );
    let organizations = organizations.await?;
    let users = upsert(
        "users",
        items.users,
        |item| item.id.clone(),
        async |users| {
            let request = UpsertUsersRequest {
                users,
                update_mask: update_mask.clone(),
                acting_user_id: acting_user_id.clone(),
                ..Default::default()
            };
            let call = async || client.upsert_users(request.clone()).await;
            Ok(connection.call("UpsertUsers", call).await?.results)
        },
    );
    let users = users.await?;
    let memberships = upsert(
        "memberships",
        items.memberships,
        |item| format!("{} in {}", item.user_id, item.organization_id),
        async |memberships| {
            let request = UpsertMembershipsRequest {
                memberships,
                update_mask: update_mask.clone(),
                acting_user_id: acting_user_id.clone(),
                ..Default::default()
            };
            let call = async || client.upsert_memberships(request.clone()).await;
            Ok(connection.call("UpsertMemberships", call).await?.results)
        },
    );
    Ok([organizations, users, memberships.await?])
}

/// Makes as many calls as the items need, and counts their results.
async fn upsert<T: Message>(
    list: &'static str,
    items: Vec<T>,
    name: impl Fn(&T) -> String,
    mut call: impl AsyncFnMut(Vec<T>) -> Result<Vec<UpsertResult>, CommandError>,
) -> Result<UpsertCounts, CommandError> {
    let mut counts = UpsertCounts {
        list,
        ..Default::default()
    };
    for chunk in split_into_calls(items) {
        let names = chunk.iter().map(&name).collect();
        counts.add(names, call(chunk).await?);
    }
    Ok(counts)
}

#[derive(Default)]
struct UpsertCounts {
    list: &'static str,
    created: usize,
    updated: usize,
    /// Position in the list of the file (from 1), name and error of each refused item.
    refused: Vec<(usize, String, ItemError)>,
}

impl UpsertCounts {
    const fn total(&self) -> usize {
        self.created + self.updated + self.refused.len()
    }

    /// Adds the results of one call; `names` has the names of its items.
    fn add(&mut self, names: Vec<String>, results: Vec<UpsertResult>) {
        for (name, result) in names.into_iter().zip(results) {
            match result.outcome() {
                UpsertOutcome::Created => self.created += 1,
                UpsertOutcome::Updated => self.updated += 1,
                UpsertOutcome::Failed | UpsertOutcome::Unspecified => {
                    let error = result.error.unwrap_or_default();
                    self.refused.push((self.total() + 1, name, error));
                }
            }
        }
    }
}

fn write_report(lists: &[UpsertCounts], out: &mut dyn Write) -> io::Result<()> {
    let mut counts = Table::new(["", "Created", "Updated", "Refused"], &[1, 2, 3]);
    let mut items = Table::new(["List", "Item", "Id", "Reason", "Explanation"], &[1]);
    let (mut applied, mut total) = (0, 0);
    for list in lists {
        applied += list.created + list.updated;
        total += list.total();
        counts.add_row([
            list.list.to_owned(),
            list.created.to_string(),
            list.updated.to_string(),
            list.refused.len().to_string(),
        ]);
        for (position, name, error) in &list.refused {
            items.add_row([
                list.list.to_owned(),
                position.to_string(),
                escaped(name),
                reason_name(error.reason),
                escaped(&error.message),
            ]);
        }
    }
    counts.write(out)?;
    if !items.is_empty() {
        items.never_wrap(3);
        writeln!(out)?;
        items.write(out)?;
    }
    writeln!(out, "\napplied {applied} of {total}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::ErrorReason;

    #[test]
    fn refused_items_are_printed_with_position_and_name() {
        let mut users = UpsertCounts {
            list: "users",
            ..Default::default()
        };
        let created = UpsertResult {
            outcome: UpsertOutcome::Created.into(),
            ..Default::default()
        };
        let failed = UpsertResult {
            outcome: UpsertOutcome::Failed.into(),
            error: Some(ItemError {
                reason: ErrorReason::EmailInvalid.into(),
                message: "is not an address".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        users.add(
            vec!["u-1".to_owned(), "u-2".to_owned()],
            vec![created, failed.clone()],
        );
        users.add(vec!["u-3".to_owned()], vec![failed]);
        let mut out = Vec::new();
        write_report(&[users], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> = text
            .lines()
            .filter(|line| line.contains("EMAIL_INVALID"))
            .map(|line| line.split_whitespace().take(4).collect())
            .collect();
        let expected = [
            ["users", "2", "u-2", "EMAIL_INVALID"],
            ["users", "3", "u-3", "EMAIL_INVALID"],
        ];
        assert_eq!(rows, expected, "{text}");
        assert!(text.ends_with("\napplied 1 of 3\n"), "{text}");
    }
}

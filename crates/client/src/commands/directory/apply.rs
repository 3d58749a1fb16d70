//! `directory apply`: adds or replaces the items of a JSON file. Reports counts per list, and the items that were refused.
//!
//! The items have the field names of the protocol. Only the structure of the file is checked here, where `build.rs` lists
//! the optional fields of organizations and users. The server checks the values.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use invitations_command::error::{CommandError, CommandResult, Exit};
use prost::Message;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::connection::{ConnectionArgs, split_into_calls};
use crate::metadata;
use crate::output::{Table, escaped, reason_name};
use crate::proto::{
    ItemError, Membership, Organization, UpsertMembershipsRequest, UpsertOrganizationsRequest,
    UpsertOutcome, UpsertResult, UpsertUsersRequest, User,
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

pub(crate) async fn run(args: &DirectoryApplyArgs, out: &mut dyn Write) -> CommandResult {
    let path = &args.file;
    let content = fs::read(path).map_err(|source| CommandError::file("read", path, source))?;
    let items = parse(&content).map_err(|problem| {
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
    items: DirectoryItems<Membership>,
) -> Result<[UpsertCounts; 3], CommandError> {
    let connection = args.connection.connect().await?;
    let mut client = connection.directory();
    let organizations = upsert(
        "organizations",
        items.organizations,
        |item| item.id.clone(),
        async |organizations| {
            let request = UpsertOrganizationsRequest { organizations };
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
            let request = UpsertUsersRequest { users };
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
            let request = UpsertMembershipsRequest { memberships };
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

/// The items of a file. Memberships are parsed first and then converted, because their metadata may be invalid.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryItems<M> {
    #[serde(default)]
    organizations: Vec<Organization>,
    #[serde(default)]
    users: Vec<User>,
    #[serde(default = "Vec::new")]
    memberships: Vec<M>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MembershipEntry {
    organization_id: String,
    user_id: String,
    #[serde(default)]
    role: String,
    public_metadata: Option<Map<String, Value>>,
    private_metadata: Option<Map<String, Value>>,
}

/// The error is a message about the first problem of the file.
fn parse(content: &[u8]) -> Result<DirectoryItems<Membership>, String> {
    let file: DirectoryItems<MembershipEntry> =
        serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let memberships = file.memberships.into_iter().enumerate();
    let memberships = memberships.map(|(index, entry)| {
        let to_struct = |object: Option<Map<String, Value>>| {
            let message = object.map(metadata::to_struct).transpose();
            message.map_err(|problem| format!("memberships[{index}]: {problem}"))
        };
        Ok::<_, String>(Membership {
            organization_id: entry.organization_id,
            user_id: entry.user_id,
            role: entry.role,
            public_metadata: to_struct(entry.public_metadata)?,
            private_metadata: to_struct(entry.private_metadata)?,
            ..Default::default()
        })
    });
    Ok(DirectoryItems {
        organizations: file.organizations,
        users: file.users,
        memberships: memberships.collect::<Result<_, _>>()?,
    })
}

/// Parses a duration in the JSON form of the protocol, such as `259200s`, or in a longer unit, such as `3d`.
pub(crate) fn parse_duration<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<prost_types::Duration>, D::Error> {
    let text = String::deserialize(input)?;
    let duration = humantime::parse_duration(&text).map_err(D::Error::custom)?;
    let duration = prost_types::Duration::try_from(duration).map_err(D::Error::custom)?;
    Ok(Some(duration))
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

    #[test]
    fn a_file_is_parsed_to_messages() {
        let items = parse(
            br##"{"organizations": [{"id": "acme", "name": "Acme", "roles": ["admin", "guest"],
                                    "logo_url": "https://acme.example/logo.png", "brand_color": "#0f766e",
                                    "support_email": "help@acme.example"}],
                 "users": [{"id": "u-1"}],
                 "memberships": [{"organization_id": "acme", "user_id": "u-1", "role": "admin",
                                  "public_metadata": {"seats": 5}}]}"##,
        )
        .unwrap_or_default();
        assert_eq!(items.organizations[0].roles, ["admin", "guest"]);
        assert_eq!(items.organizations[0].brand_color, "#0f766e");
        assert_eq!(items.users[0].id, "u-1");
        let metadata = items.memberships[0].public_metadata.clone().unwrap();
        assert_eq!(metadata::to_json(metadata), serde_json::json!({"seats": 5}));
        assert!(parse(b"{}").is_ok());
    }

    #[test]
    fn a_misspelled_field_is_named() {
        for (file, expected) in [
            (
                r#"{"users": [{"id": "u", "emails": []}]}"#,
                "unknown field `emails`",
            ),
            (r#"{"organisations": []}"#, "unknown field `organisations`"),
            (
                r#"{"organizations": [{"id": "acme"}]}"#,
                "missing field `name`",
            ),
            (
                r#"{"memberships": [{"organization_id": "a", "user_id": "u", "public_metadata": {"n": 18446744073709551615}}]}"#,
                "memberships[0]: metadata cannot hold the number",
            ),
        ] {
            let problem = parse(file.as_bytes()).err().unwrap_or_default();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}

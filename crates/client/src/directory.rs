//! `directory`: tells the service of organizations, users and memberships from a JSON file.
//!
//! The file has the proto's field names. Nothing is checked here but its shape.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::chunks;
use super::connection::ConnectionArgs;
use super::metadata;
use super::retry::retrying;
use super::status::{reason_name, refused};
use super::suspension::{self, SwitchArgs};
use super::table;
use super::visible::visible;
use crate::proto::{
    Membership, Organization, UpsertMembershipsRequest, UpsertOrganizationsRequest, UpsertOutcome,
    UpsertResult, UpsertUsersRequest, User,
};
use invitations_command::error::{CommandError, Exit};

const AFTER_HELP: &str = "\
The file is a JSON object of up to three lists, whose items have the field names of
invitation/v1/directory.proto. They are added or replaced in this order:
  {
    \"organizations\": [{\"id\": \"acme\", \"name\": \"Acme\"}],
    \"users\": [{\"id\": \"u-1\", \"name\": \"Ada\", \"verified_emails\": [\"ada@example.com\"]}],
    \"memberships\": [{\"organization_id\": \"acme\", \"user_id\": \"u-1\", \"role\": \"admin\"}]
  }
Every field of an item is replaced; one that is left out becomes empty. Nothing is deleted.

Exit status:
  0  all items were applied
  1  a call failed
  2  the command line or the file is wrong; nothing was sent
  3  some items were refused

Example:
  invitations directory apply directory.json --token-file token";

/// What can be done with the directory.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum DirectoryCommand {
    /// Add or replace what a JSON file holds
    #[command(after_help = AFTER_HELP)]
    Apply(DirectoryApplyArgs),
    /// Stop an organization: nobody is invited, mailed or let in for it
    #[command(after_help = suspension::SUSPEND_AFTER_HELP)]
    Suspend(SwitchArgs),
    /// Let a suspended organization go on
    #[command(after_help = suspension::RESUME_AFTER_HELP)]
    Resume(SwitchArgs),
}

/// The arguments of `directory apply`.
#[derive(Debug, Clone, clap::Args)]
pub struct DirectoryApplyArgs {
    /// JSON file with organizations, users and memberships
    #[arg(value_name = "FILE.json")]
    file: PathBuf,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct File {
    organizations: Vec<OrganizationEntry>,
    users: Vec<UserEntry>,
    memberships: Vec<MembershipEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrganizationEntry {
    id: String,
    name: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    default_role: String,
    #[serde(default)]
    allowed_email_domains: Vec<String>,
    #[serde(default)]
    redirect_origins: Vec<String>,
    #[serde(default)]
    locale: String,
    #[serde(default)]
    recheck_inviter: bool,
    #[serde(default)]
    logo_url: String,
    #[serde(default)]
    brand_color: String,
    #[serde(default)]
    support_email: String,
    #[serde(default, deserialize_with = "duration")]
    reminder_lead: Option<prost_types::Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UserEntry {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    verified_emails: Vec<String>,
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

/// What a file asks for, as messages.
#[derive(Default)]
struct Directory {
    organizations: Vec<Organization>,
    users: Vec<User>,
    memberships: Vec<Membership>,
}

/// What became of one kind of item.
#[derive(Default)]
struct Tally {
    created: usize,
    updated: usize,
    refused: Vec<RefusedItem>,
}

struct RefusedItem {
    /// The place in the file's list, from 1.
    place: usize,
    name: String,
    reason: String,
    sentence: String,
}

/// Runs a directory command.
pub async fn run(command: &DirectoryCommand, out: &mut dyn Write) -> Result<Exit, CommandError> {
    let args = match command {
        DirectoryCommand::Apply(args) => args,
        DirectoryCommand::Suspend(args) => return suspension::suspend(args, out).await,
        DirectoryCommand::Resume(args) => return suspension::resume(args, out).await,
    };
    let content =
        fs::read(&args.file).map_err(|source| CommandError::file("read", &args.file, source))?;
    let directory = parse(&content).map_err(|problem| {
        CommandError::Usage(format!(
            "nothing was sent, {}: {problem}",
            args.file.display()
        ))
    })?;
    let tallies = apply(args, directory).await?;
    write_report(&tallies, out)?;
    let is_partly = tallies.iter().any(|(_, tally)| !tally.refused.is_empty());
    Ok(if is_partly { Exit::Partly } else { Exit::Done })
}

fn parse(content: &[u8]) -> Result<Directory, String> {
    let file: File = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let organizations = file
        .organizations
        .into_iter()
        .map(OrganizationEntry::into_proto);
    let users = file.users.into_iter().map(UserEntry::into_proto);
    let memberships = file
        .memberships
        .into_iter()
        .enumerate()
        .map(|(index, entry)| {
            entry
                .into_proto()
                .map_err(|problem| format!("memberships[{index}]: {problem}"))
        });
    Ok(Directory {
        organizations: organizations.collect(),
        users: users.collect(),
        memberships: memberships.collect::<Result<_, _>>()?,
    })
}

async fn apply(
    args: &DirectoryApplyArgs,
    directory: Directory,
) -> Result<[(&'static str, Tally); 3], CommandError> {
    let mut client = args.connection.directory().await?;
    let server = args.connection.server();
    let mut organizations = Tally::default();
    for chunk in chunks::of(directory.organizations, |item| item) {
        let names: Vec<_> = chunk.iter().map(|item| item.id.clone()).collect();
        let request = UpsertOrganizationsRequest {
            organizations: chunk,
        };
        let call = async || client.upsert_organizations(request.clone()).await;
        let response = retrying("UpsertOrganizations", call).await;
        let response =
            response.map_err(|status| refused("UpsertOrganizations", server, &status))?;
        organizations.add(names, response.results);
    }
    let mut users = Tally::default();
    for chunk in chunks::of(directory.users, |item| item) {
        let names: Vec<_> = chunk.iter().map(|item| item.id.clone()).collect();
        let request = UpsertUsersRequest { users: chunk };
        let call = async || client.upsert_users(request.clone()).await;
        let response = retrying("UpsertUsers", call).await;
        let response = response.map_err(|status| refused("UpsertUsers", server, &status))?;
        users.add(names, response.results);
    }
    let mut memberships = Tally::default();
    for chunk in chunks::of(directory.memberships, |item| item) {
        let name = |item: &Membership| format!("{} in {}", item.user_id, item.organization_id);
        let names: Vec<_> = chunk.iter().map(name).collect();
        let request = UpsertMembershipsRequest { memberships: chunk };
        let call = async || client.upsert_memberships(request.clone()).await;
        let response = retrying("UpsertMemberships", call).await;
        let response = response.map_err(|status| refused("UpsertMemberships", server, &status))?;
        memberships.add(names, response.results);
    }
    Ok([
        ("organizations", organizations),
        ("users", users),
        ("memberships", memberships),
    ])
}

impl Tally {
    const fn total(&self) -> usize {
        self.created + self.updated + self.refused.len()
    }

    /// Adds the results of one call about the items of these names.
    fn add(&mut self, names: Vec<String>, results: Vec<UpsertResult>) {
        let start = self.total();
        for (index, (name, result)) in names.into_iter().zip(results).enumerate() {
            match result.outcome() {
                UpsertOutcome::Created => self.created += 1,
                UpsertOutcome::Updated => self.updated += 1,
                UpsertOutcome::Failed | UpsertOutcome::Unspecified => {
                    let error = result.error.unwrap_or_default();
                    self.refused.push(RefusedItem {
                        place: start + index + 1,
                        name,
                        reason: reason_name(error.reason),
                        sentence: error.message,
                    });
                }
            }
        }
    }
}

fn write_report(
    tallies: &[(&'static str, Tally)],
    out: &mut dyn Write,
) -> Result<(), CommandError> {
    let mut counts = table::with_header(["", "Created", "Updated", "Refused"], &[1, 2, 3]);
    let mut items = table::with_header(["List", "Item", "Id", "Reason", "Explanation"], &[1]);
    let (mut applied, mut total) = (0, 0);
    for (kind, tally) in tallies {
        applied += tally.created + tally.updated;
        total += tally.total();
        counts.add_row([
            (*kind).to_owned(),
            tally.created.to_string(),
            tally.updated.to_string(),
            tally.refused.len().to_string(),
        ]);
        for item in &tally.refused {
            items.add_row([
                (*kind).to_owned(),
                item.place.to_string(),
                visible(&item.name),
                item.reason.clone(),
                visible(&item.sentence),
            ]);
        }
    }
    writeln!(out, "{}", counts.trim_fmt())?;
    if !items.is_empty() {
        table::never_wrap(&mut items, 3);
        writeln!(out, "\n{}", items.trim_fmt())?;
    }
    writeln!(out, "\napplied {applied} of {total}")?;
    Ok(())
}

impl OrganizationEntry {
    fn into_proto(self) -> Organization {
        Organization {
            id: self.id,
            name: self.name,
            roles: self.roles,
            default_role: self.default_role,
            allowed_email_domains: self.allowed_email_domains,
            redirect_origins: self.redirect_origins,
            locale: self.locale,
            recheck_inviter: self.recheck_inviter,
            logo_url: self.logo_url,
            brand_color: self.brand_color,
            support_email: self.support_email,
            reminder_lead: self.reminder_lead,
        }
    }
}

/// A duration as the proto's JSON has it, such as `259200s`, or as people write it, such as `3d`.
fn duration<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<prost_types::Duration>, D::Error> {
    let text = String::deserialize(input)?;
    let duration = humantime::parse_duration(&text).map_err(D::Error::custom)?;
    prost_types::Duration::try_from(duration)
        .map(Some)
        .map_err(D::Error::custom)
}

impl UserEntry {
    fn into_proto(self) -> User {
        User {
            id: self.id,
            name: self.name,
            verified_emails: self.verified_emails,
        }
    }
}

impl MembershipEntry {
    fn into_proto(self) -> Result<Membership, String> {
        Ok(Membership {
            organization_id: self.organization_id,
            user_id: self.user_id,
            role: self.role,
            public_metadata: self.public_metadata.map(metadata::to_struct).transpose()?,
            private_metadata: self.private_metadata.map(metadata::to_struct).transpose()?,
            ..Default::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{ErrorReason, ItemError};

    #[test]
    fn a_file_becomes_messages() {
        let directory = parse(
            br##"{"organizations": [{"id": "acme", "name": "Acme", "roles": ["admin", "guest"],
                                    "logo_url": "https://acme.example/logo.png", "brand_color": "#0f766e",
                                    "support_email": "help@acme.example"}],
                 "users": [{"id": "u-1"}],
                 "memberships": [{"organization_id": "acme", "user_id": "u-1", "role": "admin",
                                  "public_metadata": {"seats": 5}}]}"##,
        )
        .unwrap_or_default();
        assert_eq!(directory.organizations[0].roles, ["admin", "guest"]);
        assert_eq!(directory.organizations[0].brand_color, "#0f766e");
        assert_eq!(directory.users[0].id, "u-1");
        let metadata = directory.memberships[0].public_metadata.clone().unwrap();
        assert_eq!(metadata::to_json(metadata), serde_json::json!({"seats": 5}));
        assert!(parse(b"{}").is_ok());
    }

    #[test]
    fn what_is_misspelled_is_named() {
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

    #[test]
    fn refused_items_are_told_by_place_and_name() {
        let mut users = Tally::default();
        let created = UpsertResult {
            outcome: UpsertOutcome::Created.into(),
            ..Default::default()
        };
        let failed = UpsertResult {
            outcome: UpsertOutcome::Failed.into(),
            error: Some(ItemError {
                reason: ErrorReason::EmailInvalid.into(),
                message: "is no address".to_owned(),
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
        write_report(&[("users", users)], &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        let rows: Vec<Vec<&str>> = shown
            .lines()
            .filter(|line| line.contains("EMAIL_INVALID"))
            .map(|line| line.split_whitespace().take(4).collect())
            .collect();
        let expected = [
            ["users", "2", "u-2", "EMAIL_INVALID"],
            ["users", "3", "u-3", "EMAIL_INVALID"],
        ];
        assert_eq!(rows, expected, "{shown}");
        assert!(shown.ends_with("\napplied 1 of 3\n"), "{shown}");
    }
}

//! The JSON file of `directory apply`. Its items have the field names of the protocol.
//!
//! Only the structure of the file is checked here. The server checks the values.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::metadata;
use crate::proto::{Membership, Organization, User};

/// The items of a file as messages of the protocol.
#[derive(Default)]
pub(crate) struct DirectoryItems {
    pub(crate) organizations: Vec<Organization>,
    pub(crate) users: Vec<User>,
    pub(crate) memberships: Vec<Membership>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DirectoryFile {
    #[serde(default)]
    organizations: Vec<OrganizationEntry>,
    #[serde(default)]
    users: Vec<UserEntry>,
    #[serde(default)]
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
    #[serde(default, deserialize_with = "parse_duration")]
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

/// # Errors
///
/// A message about the first problem of the file.
pub(crate) fn parse(content: &[u8]) -> Result<DirectoryItems, String> {
    let file: DirectoryFile = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    let organizations = file.organizations.into_iter();
    let users = file.users.into_iter();
    let memberships = file.memberships.into_iter().enumerate();
    let memberships = memberships.map(|(index, entry)| {
        let membership = entry.into_proto();
        membership.map_err(|problem| format!("memberships[{index}]: {problem}"))
    });
    Ok(DirectoryItems {
        organizations: organizations.map(OrganizationEntry::into_proto).collect(),
        users: users.map(UserEntry::into_proto).collect(),
        memberships: memberships.collect::<Result<_, _>>()?,
    })
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

/// Parses a duration in the JSON form of the protocol, such as `259200s`, or in a longer unit, such as `3d`.
fn parse_duration<'de, D: Deserializer<'de>>(
    input: D,
) -> Result<Option<prost_types::Duration>, D::Error> {
    let text = String::deserialize(input)?;
    let duration = humantime::parse_duration(&text).map_err(D::Error::custom)?;
    let duration = prost_types::Duration::try_from(duration).map_err(D::Error::custom)?;
    Ok(Some(duration))
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

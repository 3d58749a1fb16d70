//! Organizations, users and memberships as JSON: the file of `directory apply`, and the output of `directory get` and
//! `directory list`.
//!
//! The items have the field names of the protocol. Only their structure is checked here; the server checks the values.
//! Fields that the server sets are printed, and ignored in a file, so that the output is a valid file.

use std::collections::BTreeMap;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::metadata;
use crate::output::time_text;
use crate::proto::{Membership, Organization, Role, User};

/// The items of a file as messages, without the fields that the server sets.
#[derive(Default)]
pub(super) struct DirectoryMessages {
    pub(super) organizations: Vec<Organization>,
    pub(super) users: Vec<User>,
    pub(super) memberships: Vec<Membership>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DirectoryFile {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) organizations: Vec<OrganizationEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) users: Vec<UserEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) memberships: Vec<MembershipEntry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrganizationEntry {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<RoleEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_role: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowed_email_domains: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    redirect_origins: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recheck_inviter: Option<bool>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "parse_duration",
        serialize_with = "write_duration"
    )]
    reminder_lead: Option<prost_types::Duration>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logo_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    brand_color: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    support_email: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    create_time: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    update_time: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    suspend_time: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    delete_time: String,
}

/// A role is its id, or an object with more fields.
#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "a role must be its id or an object with id, display_name, \
                               localized_display_names and can_invite"
)]
enum RoleEntry {
    Id(String),
    Role(RoleFields),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleFields {
    id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    display_name: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    localized_display_names: BTreeMap<String, String>,
    #[serde(default)]
    can_invite: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserEntry {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    verified_emails: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    create_time: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    update_time: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MembershipEntry {
    organization_id: String,
    user_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_metadata: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_metadata: Option<Map<String, Value>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    invitation_id: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    create_time: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    update_time: String,
}

impl DirectoryMessages {
    /// The error is a message about the first problem of the file.
    pub(super) fn parse(content: &[u8]) -> Result<Self, String> {
        let file: DirectoryFile =
            serde_json::from_slice(content).map_err(|error| error.to_string())?;
        let memberships = file.memberships.into_iter().enumerate();
        let memberships = memberships.map(|(index, entry)| {
            let membership = entry.into_message();
            membership.map_err(|problem| format!("memberships[{index}]: {problem}"))
        });
        Ok(Self {
            organizations: file.organizations.into_iter().map(Into::into).collect(),
            users: file.users.into_iter().map(Into::into).collect(),
            memberships: memberships.collect::<Result<_, _>>()?,
        })
    }
}

impl MembershipEntry {
    /// Fails if a number of the metadata cannot be sent exactly.
    fn into_message(self) -> Result<Membership, String> {
        let to_struct =
            |object: Option<Map<String, Value>>| object.map(metadata::to_struct).transpose();
        Ok(Membership {
            organization_id: self.organization_id,
            user_id: self.user_id,
            role: self.role,
            public_metadata: to_struct(self.public_metadata)?,
            private_metadata: to_struct(self.private_metadata)?,
            ..Default::default()
        })
    }
}

impl From<OrganizationEntry> for Organization {
    fn from(entry: OrganizationEntry) -> Self {
        Self {
            id: entry.id,
            name: entry.name,
            roles: entry.roles.into_iter().map(Into::into).collect(),
            default_role: entry.default_role,
            allowed_email_domains: entry.allowed_email_domains,
            redirect_origins: entry.redirect_origins,
            locale: entry.locale,
            recheck_inviter: entry.recheck_inviter,
            reminder_lead: entry.reminder_lead,
            logo_url: entry.logo_url,
            brand_color: entry.brand_color,
            support_email: entry.support_email,
            ..Default::default()
        }
    }
}

impl From<Organization> for OrganizationEntry {
    fn from(organization: Organization) -> Self {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        Self {
            id: organization.id,
            name: filled(organization.name),
            roles: organization.roles.into_iter().map(Into::into).collect(),
            default_role: filled(organization.default_role),
            allowed_email_domains: organization.allowed_email_domains,
            redirect_origins: organization.redirect_origins,
            locale: filled(organization.locale),
            recheck_inviter: organization.recheck_inviter.filter(|rechecks| *rechecks),
            reminder_lead: organization.reminder_lead,
            logo_url: filled(organization.logo_url),
            brand_color: filled(organization.brand_color),
            support_email: filled(organization.support_email),
            create_time: time_text(organization.create_time),
            update_time: time_text(organization.update_time),
            suspend_time: time_text(organization.suspend_time),
            delete_time: time_text(organization.delete_time),
        }
    }
}

impl From<RoleEntry> for Role {
    fn from(entry: RoleEntry) -> Self {
        match entry {
            RoleEntry::Id(id) => Self {
                id,
                ..Default::default()
            },
            RoleEntry::Role(role) => Self {
                id: role.id,
                display_name: role.display_name,
                localized_display_names: role.localized_display_names.into_iter().collect(),
                can_invite: role.can_invite,
            },
        }
    }
}

impl From<Role> for RoleEntry {
    fn from(role: Role) -> Self {
        Self::Role(RoleFields {
            id: role.id,
            display_name: role.display_name,
            localized_display_names: role.localized_display_names.into_iter().collect(),
            can_invite: role.can_invite,
        })
    }
}

impl From<UserEntry> for User {
    fn from(entry: UserEntry) -> Self {
        Self {
            id: entry.id,
            name: entry.name,
            verified_emails: entry.verified_emails,
            ..Default::default()
        }
    }
}

impl From<User> for UserEntry {
    fn from(user: User) -> Self {
        Self {
            id: user.id,
            name: user.name.filter(|name| !name.is_empty()),
            verified_emails: user.verified_emails,
            create_time: time_text(user.create_time),
            update_time: time_text(user.update_time),
        }
    }
}

impl From<Membership> for MembershipEntry {
    fn from(membership: Membership) -> Self {
        let to_object = |message| match metadata::to_json(message) {
            Value::Object(object) => object,
            _ => Map::new(),
        };
        Self {
            organization_id: membership.organization_id,
            user_id: membership.user_id,
            role: membership.role,
            public_metadata: membership.public_metadata.map(to_object),
            private_metadata: membership.private_metadata.map(to_object),
            invitation_id: membership.invitation_id,
            create_time: time_text(membership.create_time),
            update_time: time_text(membership.update_time),
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

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn write_duration<S: Serializer>(
    duration: &Option<prost_types::Duration>,
    output: S,
) -> Result<S::Ok, S::Error> {
    output.collect_str(&duration.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r##"{
        "organizations": [{
            "id": "acme", "name": "Acme", "reminder_lead": "3d", "brand_color": "#0f766e",
            "roles": ["admin", {"id": "editor", "display_name": "Editor", "can_invite": true,
                                "localized_display_names": {"de": "Redaktion"}}]
        }],
        "users": [{"id": "u-1"}],
        "memberships": [{"organization_id": "acme", "user_id": "u-1", "role": "admin",
                         "public_metadata": {"seats": 5}}]
    }"##;

    #[test]
    fn a_file_is_parsed_to_messages() {
        let items = DirectoryMessages::parse(FILE.as_bytes()).unwrap_or_default();
        let organization = &items.organizations[0];
        let [admin, editor] = organization.roles.as_slice() else {
            panic!("two roles");
        };
        assert_eq!((admin.id.as_str(), admin.can_invite), ("admin", false));
        assert_eq!((editor.id.as_str(), editor.can_invite), ("editor", true));
        assert_eq!(editor.localized_display_names["de"], "Redaktion");
        assert_eq!(organization.brand_color(), "#0f766e");
        assert_eq!(
            organization.reminder_lead.map(|it| it.seconds),
            Some(259_200)
        );
        assert_eq!(organization.support_email, None, "a field that is not set");
        assert_eq!(items.users[0].id, "u-1");
        let metadata = items.memberships[0].public_metadata.clone().unwrap();
        assert_eq!(metadata::to_json(metadata), serde_json::json!({"seats": 5}));
        assert!(DirectoryMessages::parse(b"{}").is_ok());
    }

    #[test]
    fn what_is_printed_can_be_applied() {
        let items = DirectoryMessages::parse(FILE.as_bytes()).unwrap_or_default();
        let mut organization = items.organizations[0].clone();
        organization.suspend_time = Some(prost_types::Timestamp::default());
        organization.locale = Some(String::new());
        let mut membership = items.memberships[0].clone();
        membership.invitation_id = "01a204dc-9b39-7001-8c82-6b5f4d3569e3".to_owned();
        let file = DirectoryFile {
            organizations: vec![organization.into()],
            users: items.users.iter().cloned().map(Into::into).collect(),
            memberships: vec![membership.into()],
        };
        let text = serde_json::to_string(&file).unwrap();
        assert!(text.contains("\"suspend_time\":\"1970"), "{text}");
        let again = DirectoryMessages::parse(text.as_bytes()).unwrap_or_default();
        assert!(again.organizations == items.organizations, "{text}");
        assert!(again.users == items.users, "{text}");
        assert!(again.memberships == items.memberships, "{text}");
    }

    #[test]
    fn a_problem_is_named() {
        for (file, expected) in [
            (
                r#"{"users": [{"id": "u", "emails": []}]}"#,
                "unknown field `emails`",
            ),
            (r#"{"organisations": []}"#, "unknown field `organisations`"),
            (
                r#"{"organizations": [{"name": "Acme"}]}"#,
                "missing field `id`",
            ),
            (
                r#"{"organizations": [{"id": "acme", "roles": [{"name": "x"}]}]}"#,
                "a role must be its id or an object",
            ),
            (
                r#"{"memberships": [{"organization_id": "a", "user_id": "u", "public_metadata": {"n": 18446744073709551615}}]}"#,
                "memberships[0]: metadata cannot hold the number",
            ),
        ] {
            let problem = DirectoryMessages::parse(file.as_bytes());
            let problem = problem.err().unwrap_or_default();
            assert!(problem.contains(expected), "{problem}");
        }
    }
}

//! Memberships: the only thing that lets anybody into an organization.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ids::{OrganizationId, UserId};
use super::metadata;
use super::organization::required_or_invalid;
use super::reason::{Reason, Violation};
use super::role::Role;

/// A user in an organization with a role.
#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    /// The organization.
    pub organization_id: String,
    /// The user.
    pub user_id: String,
    /// The role.
    pub role: String,
    /// For everybody who sees the member, a JSON object.
    pub public_metadata: Option<Value>,
    /// For backend services alone, a JSON object.
    pub private_metadata: Option<Value>,
    /// The invitation it came from.
    pub invitation_id: Option<Uuid>,
    /// When it was made.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
}

/// A membership to write.
#[derive(Debug, Clone)]
pub struct NewMembership {
    /// The organization.
    pub organization_id: OrganizationId,
    /// The user.
    pub user_id: UserId,
    /// The role; `None` for the organization's default role.
    pub role: Option<Role>,
    /// A JSON object.
    pub public_metadata: Option<String>,
    /// A JSON object.
    pub private_metadata: Option<String>,
}

/// A membership as a caller describes it. Metadata is `None` where it was no JSON at all.
#[derive(Debug, Clone, Default)]
pub struct MembershipInput {
    /// The organization.
    pub organization_id: String,
    /// The user.
    pub user_id: String,
    /// The role, or empty.
    pub role: String,
    /// For everybody who sees the member.
    pub public_metadata: Option<Map<String, Value>>,
    /// For backend services alone.
    pub private_metadata: Option<Map<String, Value>>,
}

impl MembershipInput {
    /// Checks the form and reports every violation at once; whether the role is the organization's is asked later.
    pub fn parse(self) -> Result<NewMembership, Vec<Violation>> {
        let mut violations = Vec::new();
        let mut refuse = |field: &str, reason| violations.push(Violation::new(field, reason));
        let organization_id = OrganizationId::parse(&self.organization_id);
        if organization_id.is_none() {
            refuse(
                "organization_id",
                required_or_invalid(&self.organization_id),
            );
        }
        let user_id = UserId::parse(&self.user_id);
        if user_id.is_none() {
            refuse("user_id", required_or_invalid(&self.user_id));
        }
        let role = Role::parse(&self.role);
        if role.is_none() && !self.role.is_empty() {
            refuse("role", Reason::RoleUnknown);
        }
        let public_metadata = parse_metadata(self.public_metadata)
            .inspect_err(|reason| refuse("public_metadata", *reason))
            .unwrap_or_default();
        let private_metadata = parse_metadata(self.private_metadata)
            .inspect_err(|reason| refuse("private_metadata", *reason))
            .unwrap_or_default();
        match (organization_id, user_id) {
            (Some(organization_id), Some(user_id)) if violations.is_empty() => Ok(NewMembership {
                organization_id,
                user_id,
                role,
                public_metadata,
                private_metadata,
            }),
            _ => Err(violations),
        }
    }
}

/// Checks metadata that may not have been JSON at all.
pub(super) fn parse_metadata(input: Option<Map<String, Value>>) -> Result<Option<String>, Reason> {
    input.ok_or(Reason::FieldInvalid).and_then(metadata::parse)
}

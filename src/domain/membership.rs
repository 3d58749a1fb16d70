//! Memberships: users in organizations. Only a membership gives access to an organization.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ids::{OrganizationId, UserId, missing_or_malformed};
use super::metadata;
use super::reason::{Reason, Violation, Violations};
use super::role::Role;

#[derive(Debug, Clone, PartialEq)]
pub struct Membership {
    pub organization_id: String,
    pub user_id: String,
    pub role: String,
    /// A JSON object that members may see.
    pub public_metadata: Option<Value>,
    /// A JSON object that only backend services may see.
    pub private_metadata: Option<Value>,
    /// The invitation that created the membership.
    pub invitation_id: Option<Uuid>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

/// A valid membership to be written.
#[derive(Debug, Clone)]
pub struct NewMembership {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    /// `None` for the organization's default role.
    pub role: Option<Role>,
    /// A JSON object as text.
    pub public_metadata: Option<String>,
    /// A JSON object as text.
    pub private_metadata: Option<String>,
}

/// A membership as a caller sends it.
#[derive(Debug, Clone, Default)]
pub struct MembershipInput {
    pub organization_id: String,
    pub user_id: String,
    /// May be empty.
    pub role: String,
    /// `None` if the caller sent something that is not JSON.
    pub public_metadata: Option<Map<String, Value>>,
    /// `None` if the caller sent something that is not JSON.
    pub private_metadata: Option<Map<String, Value>>,
}

impl MembershipInput {
    /// Checks the form and reports every violation. Whether the organization has the role is checked later.
    pub fn parse(self) -> Result<NewMembership, Vec<Violation>> {
        let mut violations = Violations::default();
        let organization_id = OrganizationId::parse(&self.organization_id)
            .ok_or_else(|| missing_or_malformed(&self.organization_id));
        let organization_id = violations.check("organization_id", organization_id);
        let user_id =
            UserId::parse(&self.user_id).ok_or_else(|| missing_or_malformed(&self.user_id));
        let user_id = violations.check("user_id", user_id);
        let role = Role::parse(&self.role);
        if role.is_none() && !self.role.is_empty() {
            violations.add("role", Reason::RoleUnknown);
        }
        let public_metadata = metadata::parse_input(self.public_metadata);
        let public_metadata = violations.check("public_metadata", public_metadata);
        let private_metadata = metadata::parse_input(self.private_metadata);
        let private_metadata = violations.check("private_metadata", private_metadata);
        match (organization_id, user_id) {
            (Some(organization_id), Some(user_id)) if violations.is_empty() => Ok(NewMembership {
                organization_id,
                user_id,
                role,
                public_metadata: public_metadata.flatten(),
                private_metadata: private_metadata.flatten(),
            }),
            _ => Err(violations.into_vec()),
        }
    }
}

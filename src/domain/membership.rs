//! Memberships: users in organizations. Only a membership gives access to an organization.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ids::{OrganizationId, UserId};
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

#[derive(Debug, Clone)]
pub struct NewMembership {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    /// `None` for the organization's default role.
    pub role: Option<Role>,
    /// A JSON object as text, as is `private_metadata`.
    pub public_metadata: Option<String>,
    pub private_metadata: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct MembershipInput {
    pub organization_id: String,
    pub user_id: String,
    /// May be empty.
    pub role: String,
    /// `None` if the caller sent something that is not JSON, as is `private_metadata`.
    pub public_metadata: Option<Map<String, Value>>,
    pub private_metadata: Option<Map<String, Value>>,
}

impl MembershipInput {
    /// Checks the form and reports every violation. Whether the organization has the role is checked later.
    pub fn parse(self) -> Result<NewMembership, Vec<Violation>> {
        let mut violations = Violations::default();
        let (id, user_id) = (&self.organization_id, &self.user_id);
        let organization_id = violations.check_id("organization_id", id, OrganizationId::parse);
        let user_id = violations.check_id("user_id", user_id, UserId::parse);
        let parse_role = |role: &str| Role::parse(role).ok_or(Reason::RoleUnknown);
        let role = violations.check_optional("role", &self.role, parse_role);
        let public_metadata =
            violations.check("public_metadata", metadata::parse(self.public_metadata));
        let private_metadata =
            violations.check("private_metadata", metadata::parse(self.private_metadata));
        let ids = organization_id.zip(user_id);
        violations.into_result(ids.map(|(organization_id, user_id)| NewMembership {
            organization_id,
            user_id,
            role,
            public_metadata: public_metadata.flatten(),
            private_metadata: private_metadata.flatten(),
        }))
    }
}

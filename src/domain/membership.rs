//! Memberships: users in organizations. Only a membership gives access to an organization.

use serde_json::{Map, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ids::{OrganizationId, UserId};
use super::metadata;
use super::reason::{Reason, Violation, Violations};
use super::role::RoleId;
use super::update_mask::UpdateMask;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub organization_id: String,
    pub user_id: String,
    pub role: String,
    /// A JSON object as text, that members may see.
    pub public_metadata: Option<String>,
    /// A JSON object as text, that only backend services may see.
    pub private_metadata: Option<String>,
    /// The invitation that created the membership.
    pub invitation_id: Option<Uuid>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

impl Membership {
    /// The names of the fields that a caller can write, as [`UpdateMask::parse`] wants them.
    pub const WRITABLE: [&str; 3] = ["role", "public_metadata", "private_metadata"];
}

/// A membership that is added, or some of whose fields change.
#[derive(Debug, Clone)]
pub struct NewMembership {
    pub organization_id: OrganizationId,
    pub user_id: UserId,
    /// `None` for the organization's default role.
    pub role: Option<RoleId>,
    /// A JSON object as text, as is `private_metadata`.
    pub public_metadata: Option<String>,
    pub private_metadata: Option<String>,
    pub changes: MembershipChanges,
}

/// Which fields of a membership that exists change.
#[derive(Debug, Clone, Copy)]
pub struct MembershipChanges {
    pub role: bool,
    pub public_metadata: bool,
    pub private_metadata: bool,
}

#[derive(Debug, Clone, Default)]
pub struct MembershipInput {
    pub organization_id: String,
    pub user_id: String,
    /// May be empty, which counts as not set.
    pub role: String,
    pub public_metadata: MetadataInput,
    pub private_metadata: MetadataInput,
}

/// The metadata of an item.
#[derive(Debug, Clone, Default)]
pub enum MetadataInput {
    #[default]
    Unset,
    Object(Map<String, Value>),
    /// The caller sent something that is not JSON.
    Malformed,
}

impl MetadataInput {
    const fn is_set(&self) -> bool {
        !matches!(self, Self::Unset)
    }

    fn parse(self) -> Result<Option<String>, Reason> {
        metadata::parse(match self {
            Self::Unset => Some(Map::new()),
            Self::Object(object) => Some(object),
            Self::Malformed => None,
        })
    }
}

impl MembershipInput {
    /// Checks the form and reports every violation. Whether the organization has the role is checked later.
    pub fn parse(self, mask: &UpdateMask) -> Result<NewMembership, Vec<Violation>> {
        let changes = MembershipChanges {
            role: mask.includes("role", !self.role.is_empty()),
            public_metadata: mask.includes("public_metadata", self.public_metadata.is_set()),
            private_metadata: mask.includes("private_metadata", self.private_metadata.is_set()),
        };
        let mut violations = Violations::default();
        let (id, user_id) = (&self.organization_id, &self.user_id);
        let organization_id = violations.check_id("organization_id", id, OrganizationId::parse);
        let user_id = violations.check_id("user_id", user_id, UserId::parse);
        let parse_role = |role: &str| RoleId::parse(role).ok_or(Reason::RoleUnknown);
        let role = violations.check_optional("role", &self.role, parse_role);
        let public_metadata = violations.check("public_metadata", self.public_metadata.parse());
        let private_metadata = violations.check("private_metadata", self.private_metadata.parse());
        let ids = organization_id.zip(user_id);
        violations.into_result(ids.map(|(organization_id, user_id)| NewMembership {
            organization_id,
            user_id,
            role,
            public_metadata: public_metadata.flatten(),
            private_metadata: private_metadata.flatten(),
            changes,
        }))
    }
}

//! Organizations as they are stored.

use time::OffsetDateTime;

use super::organization::Organization;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationRecord {
    pub organization: Organization,
    pub created_at: OffsetDateTime,
    /// The time of the last upsert.
    pub updated_at: OffsetDateTime,
    /// `None` if the organization is not suspended.
    pub suspended_at: Option<OffsetDateTime>,
    /// `None` if the organization is not deleted.
    pub deleted_at: Option<OffsetDateTime>,
}

impl OrganizationRecord {
    pub const fn is_deleted(&self) -> bool {
        self.deleted_at.is_some()
    }

    pub const fn is_suspended(&self) -> bool {
        self.suspended_at.is_some()
    }
}

//! Batches: the invitations of one call, and how many of them are where.

use time::OffsetDateTime;
use uuid::Uuid;

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// A `UUIDv7`, made by the service.
    pub id: Uuid,
    /// The organization.
    pub organization_id: String,
    /// When its first items were done.
    pub created_at: OffsetDateTime,
    /// When its last items were done.
    pub updated_at: OffsetDateTime,
    /// How many items were done, whatever came of them.
    pub item_count: i64,
    /// How many of them failed.
    pub failed_count: i64,
}

/// How many invitations are in a pair of states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchCounts {
    /// The state, by its name.
    pub state: String,
    /// The delivery state, by its name.
    pub delivery_state: String,
    /// How many.
    pub count: i64,
}

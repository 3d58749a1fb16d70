//! The result of deleting old rows.

use time::OffsetDateTime;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    pub count: i64,
    /// When the oldest of the deleted rows was due.
    pub oldest: Option<OffsetDateTime>,
}

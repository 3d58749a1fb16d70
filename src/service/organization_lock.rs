//! How bulk calls of one organization exclude each other.

use super::ServiceError;

/// How a bulk call locks its organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrganizationLock {
    /// Other bulk calls of the organization run at the same time.
    Shared,
    /// No other bulk call of the organization runs.
    Exclusive,
}

impl OrganizationLock {
    pub(super) const fn is_exclusive(self) -> bool {
        matches!(self, Self::Exclusive)
    }

    /// The error for work that cannot end under this lock: another run may succeed, alone if this run was not.
    pub(super) const fn run_again(self) -> ServiceError {
        match self {
            Self::Shared => ServiceError::NeedsExclusiveLock,
            Self::Exclusive => ServiceError::Conflict,
        }
    }
}

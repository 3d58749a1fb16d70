//! How a use case refuses: in business words, with a restricted kind.

use crate::domain::quota::ExceededQuota;
use crate::domain::reason::{ErrorKind, Reason, Violation};
use crate::store::{StoreError, Transient};

/// A refusal of a whole call. Nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Fields of the request are malformed; the first violation gives the reason.
    #[error("the request breaks rules")]
    Invalid(Vec<Violation>),
    /// Items of an atomic call failed, each with all its violations.
    #[error("items failed and the call is atomic")]
    ItemsFailed(Vec<Violation>),
    /// Quotas are used up; at least one.
    #[error("a quota is used up")]
    Exhausted(Vec<ExceededQuota>),
    #[error("{}", .0.sentence())]
    Refused(Reason),
    /// A concurrent call changed the same rows. A retry may succeed.
    #[error("another call changed the same rows")]
    Conflict,
    /// The work must run again with its organization locked exclusively. Never leaves the service.
    #[error("the organization must be locked exclusively")]
    NeedsExclusiveLock,
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What this service wrote itself cannot be read back.
    #[error("stored data is corrupt: {0}")]
    Corrupt(&'static str),
}

impl ServiceError {
    pub fn invalid(field: impl Into<String>, reason: Reason) -> Self {
        Self::Invalid(vec![Violation::new(field, reason)])
    }

    /// The reason on the wire.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(violations) => violations
                .first()
                .map_or(Reason::FieldInvalid, |violation| violation.reason),
            Self::ItemsFailed(_) => Reason::ItemsFailed,
            Self::Exhausted(_) => Reason::QuotaExceeded,
            Self::Refused(reason) => *reason,
            Self::Conflict | Self::NeedsExclusiveLock | Self::Store(StoreError::Contended(_)) => {
                Reason::Conflict
            }
            Self::Store(StoreError::Unavailable(_) | StoreError::Unprepared(_)) => {
                Reason::Overloaded
            }
            Self::Store(_) | Self::Corrupt(_) => Reason::Internal,
        }
    }

    /// What sort of refusal it is. An atomic call fails as a malformed one if any item is malformed.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::ItemsFailed(violations)
                if violations
                    .iter()
                    .any(|violation| violation.reason.kind() == ErrorKind::Invalid) =>
            {
                ErrorKind::Invalid
            }
            other => other.reason().kind(),
        }
    }

    /// Whether it says no to what was asked, and would again; not that something is in the way.
    pub const fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Invalid(_) | Self::ItemsFailed(_) | Self::Refused(_)
        )
    }

    pub fn exceeded(&self) -> &[ExceededQuota] {
        match self {
            Self::Exhausted(exceeded) => exceeded,
            _ => &[],
        }
    }

    pub fn violations(&self) -> &[Violation] {
        match self {
            Self::Invalid(violations) | Self::ItemsFailed(violations) => violations,
            _ => &[],
        }
    }
}

impl Transient for ServiceError {
    fn is_transient(&self) -> bool {
        match self {
            Self::Conflict => true,
            Self::Store(error) => error.is_transient(),
            _ => false,
        }
    }

    fn invalidates_connection(&self) -> bool {
        matches!(self, Self::Store(error) if error.invalidates_connection())
    }
}

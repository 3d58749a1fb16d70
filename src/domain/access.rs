//! Which organizations a caller may act for.

use std::collections::BTreeSet;

/// The organizations a caller may act for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Every one.
    Every,
    /// These alone.
    Only(BTreeSet<String>),
}

impl Access {
    /// Whether an organization is one of them.
    #[must_use]
    pub fn allows(&self, organization_id: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Only(organizations) => organizations.contains(organization_id),
        }
    }
}

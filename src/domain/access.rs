//! The organizations for which a caller may act.

use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    Every,
    Only(BTreeSet<String>),
}

impl Access {
    pub fn allows(&self, organization_id: &str) -> bool {
        match self {
            Self::Every => true,
            Self::Only(organizations) => organizations.contains(organization_id),
        }
    }
}

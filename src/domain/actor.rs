//! Actors: the caller of a use case, the user it acts for, the `request_id` of its call, and the organizations for which
//! it may act.
//!
//! Scopes were checked before. A use case checks only the organization, and writes the actor to the audit log.

use std::collections::BTreeSet;

use uuid::Uuid;

/// Who runs a use case. Contains no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The unique name of the caller, to which request ids belong. A name with a colon, such as `http:unsubscribe`,
    /// stands for a part of this service.
    pub caller: String,
    /// The name for logs. A name that may be an address is hashed.
    pub label: String,
    /// The user of a call that a user makes, or the user that a service names.
    pub user_id: Option<String>,
    /// The `request_id` of the call, for the audit log and, where a method uses it, for repetitions.
    pub request_id: Option<Uuid>,
    pub access: Access,
}

/// The organizations for which a caller may act.
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

impl Actor {
    /// An actor that is not a caller of the API, such as `http:unsubscribe`.
    pub fn from_outside(name: &str) -> Self {
        Self {
            caller: name.to_owned(),
            label: name.to_owned(),
            user_id: None,
            request_id: None,
            access: Access::Every,
        }
    }
}

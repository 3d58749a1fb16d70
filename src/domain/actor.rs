//! Who does something: the caller, the user it speaks for, and the organizations it may act for.
//!
//! Whether they may do it at all was decided before; use cases ask an actor only whose rows are theirs, and write down
//! who acted.

use super::access::Access;

/// Who does something. Holds no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who it is, among all callers: request ids belong to it. Fixed words with a colon stand for what is no caller of
    /// the API.
    pub caller: String,
    /// The same as logs have it: a name that may be an address is hashed.
    pub label: String,
    /// The user that the caller's credentials name, where they name one.
    pub user_id: Option<String>,
    /// The organizations it may act for.
    pub access: Access,
}

impl Actor {
    /// Somebody who came to the service another way than by its API, such as `http:unsubscribe`.
    #[must_use]
    pub fn from_outside(name: &str) -> Self {
        Self {
            caller: name.to_owned(),
            label: name.to_owned(),
            user_id: None,
            access: Access::Every,
        }
    }
}

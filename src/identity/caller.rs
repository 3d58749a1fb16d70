//! A caller: a service that acts for users by naming them, or a user who acts for themselves.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::domain::access::Access;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::UserId;
use crate::domain::scope::Scope;

/// Bytes of a hash that stand for a subject in logs: enough to tell subjects apart.
const LABEL_HASH_BYTES: usize = 8;

/// Somebody who may call.
#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, among all callers: a configured name, or `ISSUER:SUBJECT`. Request ids and rates belong to it.
    pub name: String,
    /// The name as logs have it: a subject that may be an address is hashed.
    pub label: String,
    /// What a service may do; a user has none.
    pub scopes: Vec<Scope>,
    /// For which organizations a service may do it. A user has none: what they may is asked of the directory.
    pub access: Access,
    /// Which kind.
    pub principal: Principal,
}

/// The two kinds of caller.
#[derive(Debug, PartialEq, Eq)]
pub enum Principal {
    /// Acts for users by naming them.
    Service,
    /// Acts for themselves.
    User(SignedInUser),
}

/// A user, as the issuer of their token knows them.
#[derive(Debug, PartialEq, Eq)]
pub struct SignedInUser {
    /// Who.
    pub id: UserId,
    /// Their address, if the issuer says that it is verified.
    pub email: Option<EmailAddress>,
    /// Their name, or empty.
    pub name: String,
}

impl Caller {
    /// A service with a configured name.
    #[must_use]
    pub fn configured(name: String, scopes: Vec<Scope>, access: Access) -> Self {
        Self {
            label: name.clone(),
            name,
            scopes,
            access,
            principal: Principal::Service,
        }
    }

    /// A service that an issuer vouches for.
    #[must_use]
    pub fn service(issuer: &str, subject: &str, scopes: Vec<Scope>, access: Access) -> Self {
        Self {
            name: format!("{issuer}:{subject}"),
            label: label(issuer, subject),
            scopes,
            access,
            principal: Principal::Service,
        }
    }

    /// A user whom an issuer vouches for. Whatever forgets to ask for the kind of caller finds one who may nothing.
    #[must_use]
    pub fn user(issuer: &str, user: SignedInUser) -> Self {
        Self {
            name: format!("{issuer}:{}", user.id),
            label: label(issuer, user.id.as_str()),
            scopes: Vec::new(),
            access: Access::Only(BTreeSet::new()),
            principal: Principal::User(user),
        }
    }

    /// Whether they may do something.
    #[must_use]
    pub fn holds(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// The user, if it is one.
    #[must_use]
    pub const fn as_user(&self) -> Option<&SignedInUser> {
        match &self.principal {
            Principal::Service => None,
            Principal::User(user) => Some(user),
        }
    }
}

/// Some issuers make addresses of subjects, and addresses have no place in a log.
fn label(issuer: &str, subject: &str) -> String {
    if !subject.contains('@') {
        return format!("{issuer}:{subject}");
    }
    let mut label = format!("{issuer}:~");
    for byte in Sha256::digest(subject).iter().take(LABEL_HASH_BYTES) {
        let _ = write!(label, "{byte:02x}");
    }
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_may_nothing_by_scope_or_organization_and_no_address_gets_into_a_log() {
        let user = SignedInUser {
            id: UserId::parse("ada@example.com").unwrap(),
            email: None,
            name: String::new(),
        };
        let caller = Caller::user("accounts", user);
        assert_eq!(caller.name, "accounts:ada@example.com");
        assert_eq!(caller.label, "accounts:~b5fc85e55755f9e0");
        assert!(!Scope::ALL.iter().any(|scope| caller.holds(*scope)));
        assert!(!caller.access.allows("acme"));
        let service = Caller::service("accounts", "onboarding", Vec::new(), Access::Every);
        assert_eq!(service.label, "accounts:onboarding");
    }
}

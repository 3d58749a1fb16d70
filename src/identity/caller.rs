//! Callers: a service that acts for users, or a user who acts for themselves.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

use crate::domain::actor::Access;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::UserId;
use crate::domain::scope::Scope;

/// Bytes of the hash of a subject in logs, enough to distinguish subjects.
const LABEL_HASH_BYTES: usize = 8;

#[derive(Debug, PartialEq, Eq)]
pub struct Caller {
    /// The unique name: a configured name, or `ISSUER:SUBJECT`. Request ids and rates belong to it.
    pub name: String,
    /// The name for logs. A subject that may be an address is hashed.
    pub label: String,
    /// The scopes of a service. A user has none.
    pub scopes: Vec<Scope>,
    /// The organizations of a service. A user has none, because memberships decide what a user may do.
    pub access: Access,
    pub principal: Principal,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Principal {
    /// Acts for users by naming them.
    Service,
    User(SignedInUser),
}

/// A user as their issuer describes them.
#[derive(Debug, PartialEq, Eq)]
pub struct SignedInUser {
    pub id: UserId,
    /// The address, if the issuer has verified it.
    pub email: Option<EmailAddress>,
    /// May be empty.
    pub name: String,
}

impl Caller {
    pub fn configured(name: String, scopes: Vec<Scope>, access: Access) -> Self {
        Self {
            label: name.clone(),
            name,
            scopes,
            access,
            principal: Principal::Service,
        }
    }

    pub fn service(issuer: &str, subject: &str, scopes: Vec<Scope>, access: Access) -> Self {
        Self {
            label: label(issuer, subject),
            ..Self::configured(format!("{issuer}:{subject}"), scopes, access)
        }
    }

    /// A user whom an issuer authenticated. Without scopes and organizations, so that code which does not check
    /// [`Caller::principal`] permits nothing.
    pub fn user(issuer: &str, user: SignedInUser) -> Self {
        let access = Access::Only(BTreeSet::new());
        let service = Self::service(issuer, user.id.as_str(), Vec::new(), access);
        let principal = Principal::User(user);
        Self {
            principal,
            ..service
        }
    }

    pub fn holds(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    pub const fn as_user(&self) -> Option<&SignedInUser> {
        match &self.principal {
            Principal::Service => None,
            Principal::User(user) => Some(user),
        }
    }
}

/// Some issuers use addresses as subjects, and addresses must not be logged.
fn label(issuer: &str, subject: &str) -> String {
    if !subject.contains('@') {
        return format!("{issuer}:{subject}");
    }
    let hash = HEXLOWER.encode(&Sha256::digest(subject)[..LABEL_HASH_BYTES]);
    format!("{issuer}:~{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_no_scope_and_no_organization_and_an_address_is_not_logged() {
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

//! Scopes: what a caller may do. The comment of each method in the proto names the scope that it needs.

use std::fmt;
use std::str::FromStr;

use super::named_enum::named_enum;

named_enum! {
    pub enum Scope {
        /// Create, revoke and resend invitations, and accept them for users.
        InvitationsWrite = "invitations:write",
        InvitationsRead = "invitations:read",
        /// Receive the links of new invitations, which are secrets.
        InvitationsLink = "invitations:link",
        DirectoryWrite = "directory:write",
        /// Read memberships, and learn who has an account.
        DirectoryRead = "directory:read",
        SuppressionsWrite = "suppressions:write",
        AuditRead = "audit:read",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a scope")]
pub struct ScopeError;

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        Self::from_name(input).ok_or(ScopeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_parsed_from_its_name() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        for input in ["", "invitations", "Invitations:write", "invitations:write "] {
            assert_eq!(input.parse::<Scope>(), Err(ScopeError), "{input:?}");
        }
    }
}

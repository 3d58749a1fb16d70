//! What a caller may do, as its token's entry names it.
//!
//! Which method asks for which scope is not known here: the method's comment in the proto says it.

use std::fmt;
use std::str::FromStr;

/// One permission of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Make, end and resend invitations, and accept them for users.
    InvitationsWrite,
    /// Read invitations.
    InvitationsRead,
    /// Be given the links of new invitations, which are secrets.
    InvitationsLink,
    /// Tell the service of organizations, users and memberships.
    DirectoryWrite,
    /// Read memberships, and learn who has an account.
    DirectoryRead,
    /// Read and change the list of addresses that get no mail, and report bounces.
    SuppressionsWrite,
    /// Read what callers did.
    AuditRead,
}

/// Says that a string names no scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a scope")]
pub struct ScopeError;

impl Scope {
    /// Every scope there is.
    pub const ALL: [Self; 7] = [
        Self::InvitationsWrite,
        Self::InvitationsRead,
        Self::InvitationsLink,
        Self::DirectoryWrite,
        Self::DirectoryRead,
        Self::SuppressionsWrite,
        Self::AuditRead,
    ];

    /// The scope as files, flags and error details spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvitationsWrite => "invitations:write",
            Self::InvitationsRead => "invitations:read",
            Self::InvitationsLink => "invitations:link",
            Self::DirectoryWrite => "directory:write",
            Self::DirectoryRead => "directory:read",
            Self::SuppressionsWrite => "suppressions:write",
            Self::AuditRead => "audit:read",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(input: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|scope| scope.as_str() == input)
            .ok_or(ScopeError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_reads_back_what_it_writes() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse(), Ok(scope));
        }
        for input in ["", "invitations", "Invitations:write", "invitations:write "] {
            assert_eq!(input.parse::<Scope>(), Err(ScopeError), "{input:?}");
        }
    }
}

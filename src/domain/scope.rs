//! Scopes: what a caller may do. The comment of each method in the proto names the scope that it needs.

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
        /// Suspend organizations, delete organizations, users and memberships, and erase addresses.
        DirectoryAdmin = "directory:admin",
        SuppressionsWrite = "suppressions:write",
        SuppressionsRead = "suppressions:read",
        /// Report bounces.
        FeedbackWrite = "feedback:write",
        AuditRead = "audit:read",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scope_is_parsed_from_its_name() {
        for scope in Scope::ALL {
            assert_eq!(Scope::from_name(scope.as_str()), Some(scope));
        }
        for input in ["", "invitations", "Invitations:write", "invitations:write "] {
            assert_eq!(Scope::from_name(input), None, "{input:?}");
        }
    }
}

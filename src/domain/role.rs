//! Roles: names an organization gives to what its members may do. Two mean something to this service: `admin`, whose
//! members invite, and `owner`, which no invitation gives.

/// Longest role, in bytes.
pub const ROLE_BYTES_MAX: usize = 64;

/// The name of a role: 1 to 64 of a-z, 0-9, `_`, `:`, `.` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Role(String);

impl Role {
    /// The role whose members may invite.
    pub const ADMIN: &'static str = "admin";
    /// The role that stands above `admin`, where an organization has it.
    pub const OWNER: &'static str = "owner";
    /// The default role of an organization that names none.
    pub const MEMBER: &'static str = "member";

    /// Parses a role; `None` if it breaks the grammar.
    #[must_use]
    pub fn parse(input: &str) -> Option<Self> {
        let is_allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_:.-".contains(&byte)
        };
        let is_role =
            !input.is_empty() && input.len() <= ROLE_BYTES_MAX && input.bytes().all(is_allowed);
        is_role.then(|| Self(input.to_owned()))
    }

    /// The role as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The role as text, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }

    /// Whether an inviter may grant it. Nobody grants what is above themselves: an admin grants all but `owner`, which
    /// comes from the directory alone, and whoever is no admin grants no admin.
    #[must_use]
    pub fn is_grantable_by(&self, is_admin: bool) -> bool {
        self.0 != Self::OWNER && (is_admin || !self.is_admin())
    }

    /// Whether its members may invite.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.0 == Self::ADMIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_grants_what_is_above_themselves() {
        let is_grantable = |role, is_admin| Role::parse(role).unwrap().is_grantable_by(is_admin);
        assert!(is_grantable("admin", true) && is_grantable("member", true));
        assert!(is_grantable("member", false) && !is_grantable("admin", false));
        assert!(!is_grantable("owner", true) && !is_grantable("owner", false));
    }

    #[test]
    fn a_role_is_one_plain_name() {
        assert!(Role::parse("billing:read-only").is_some());
        for bad in ["", "Owner", "owner,member", "a b", "rôle", &"r".repeat(65)] {
            assert!(Role::parse(bad).is_none(), "{bad:?}");
        }
    }
}

//! Roles: names that an organization gives to sets of permissions. This service interprets two of them: members with
//! `admin` may invite, and no invitation can grant `owner`.

pub const ROLE_BYTES_MAX: usize = 64;

/// The name of a role: 1 to 64 characters of a-z, 0-9, `_`, `:`, `.` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Role(String);

impl Role {
    /// The role whose members may invite.
    pub const ADMIN: &'static str = "admin";
    /// The role above `admin`, in organizations that have it.
    pub const OWNER: &'static str = "owner";
    /// The default role of an organization that sets none.
    pub const MEMBER: &'static str = "member";

    pub fn parse(input: &str) -> Option<Self> {
        let is_allowed =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b':' | b'.' | b'-');
        let is_short = (1..=ROLE_BYTES_MAX).contains(&input.len());
        (is_short && input.bytes().all(is_allowed)).then(|| Self(input.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an inviter may grant the role. An admin may grant every role but `owner`, which only the directory sets.
    /// An inviter who is not an admin may not grant `admin`.
    pub fn is_grantable_by(&self, is_admin: bool) -> bool {
        self.0 != Self::OWNER && (is_admin || self.0 != Self::ADMIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_inviter_grants_a_role_above_their_own() {
        let is_grantable = |role, is_admin| Role::parse(role).unwrap().is_grantable_by(is_admin);
        assert!(is_grantable("admin", true) && is_grantable("member", true));
        assert!(is_grantable("member", false) && !is_grantable("admin", false));
        assert!(!is_grantable("owner", true) && !is_grantable("owner", false));
    }

    #[test]
    fn a_role_is_a_short_plain_name() {
        assert!(Role::parse("billing:read-only").is_some());
        for bad in ["", "Owner", "owner,member", "a b", "rôle", &"r".repeat(65)] {
            assert!(Role::parse(bad).is_none(), "{bad:?}");
        }
    }
}

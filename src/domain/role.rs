//! Roles: what a member of an organization may be. This service interprets two properties of a role: whether its members
//! may invite, and whether an invitation can grant it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::reason::{Reason, Violation, Violations};
use super::{display_name, locale};

pub const ROLES_MAX: usize = 64;
pub const ROLE_BYTES_MAX: usize = 64;
pub const LOCALIZED_NAMES_MAX: usize = 32;

/// The id of a role: 1 to 64 characters of a-z, 0-9, `_`, `:`, `.` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RoleId(String);

impl RoleId {
    /// The role that every organization has. Its members may always invite.
    pub const ADMIN: &'static str = "admin";
    /// The role above `admin`, in organizations that have it. Its members may always invite.
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
}

/// The display names of a role. Also the form in which the store keeps them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleNames {
    /// Empty for the id of the role.
    pub display_name: String,
    /// By language tag, in canonical case.
    pub localized: BTreeMap<String, String>,
}

impl RoleNames {
    pub fn is_empty(&self) -> bool {
        self.display_name.is_empty() && self.localized.is_empty()
    }

    /// The name for a reader of a language, or else the name for every language, or else the id of the role. An empty
    /// language is that of emails without a locale.
    pub fn shown<'a>(&'a self, language: &str, id: &'a str) -> &'a str {
        let language = match language {
            "" => locale::FALLBACK,
            language => language,
        };
        let localized = locale::best_match(language, &self.localized);
        match (localized, self.display_name.as_str()) {
            (Some(name), _) => name,
            (None, "") => id,
            (None, name) => name,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub id: RoleId,
    pub names: RoleNames,
    /// Whether members with the role may invite.
    pub can_invite: bool,
}

/// A role as a caller sends it.
#[derive(Debug, Clone, Default)]
pub struct RoleInput {
    pub id: String,
    /// Empty for the id.
    pub display_name: String,
    /// By language tag.
    pub localized_display_names: BTreeMap<String, String>,
    pub can_invite: bool,
}

impl Role {
    /// A role with its rule: members with `admin` and `owner` may always invite.
    pub fn new(id: RoleId, names: RoleNames, can_invite: bool) -> Self {
        let always_invites = matches!(id.as_str(), RoleId::ADMIN | RoleId::OWNER);
        Self {
            id,
            names,
            can_invite: can_invite || always_invites,
        }
    }

    /// Checks the roles of an organization and reports every violation, with paths such as `roles[3].display_name`. An
    /// empty list stands for `admin` and `member`. `admin` is added if it is missing.
    pub fn parse_list(inputs: &[RoleInput]) -> Result<Vec<Self>, Vec<Violation>> {
        if inputs.len() > ROLES_MAX {
            return Err(vec![Violation::new("roles", Reason::FieldInvalid)]);
        }
        let mut violations = Violations::default();
        let mut ids = BTreeSet::new();
        let mut roles = Vec::with_capacity(inputs.len() + 2);
        for (index, input) in inputs.iter().enumerate() {
            let path = format!("roles[{index}]");
            if !input.id.is_empty() && !ids.insert(input.id.as_str()) {
                violations.add(&format!("{path}.id"), Reason::FieldInvalid);
            }
            roles.extend(input.parse(&path, &mut violations));
        }
        let unnamed = |id: &str| Self::new(RoleId(id.to_owned()), RoleNames::default(), false);
        if !ids.contains(RoleId::ADMIN) {
            roles.insert(0, unnamed(RoleId::ADMIN));
        }
        if inputs.is_empty() {
            roles.push(unnamed(RoleId::MEMBER));
        }
        violations.into_result(Some(roles))
    }

    /// Whether an inviter may grant the role. Nobody can grant `owner`, which only the directory sets, and only an inviter
    /// whose own role can invite can grant a role that can invite.
    pub fn is_grantable_by(&self, can_inviter_invite: bool) -> bool {
        self.id.as_str() != RoleId::OWNER && (can_inviter_invite || !self.can_invite)
    }
}

impl RoleInput {
    fn parse(&self, path: &str, violations: &mut Violations) -> Option<Role> {
        let id = violations.check_id(&format!("{path}.id"), &self.id, RoleId::parse);
        let display_name = violations.check_optional(
            &format!("{path}.display_name"),
            &self.display_name,
            display_name::parse,
        );
        let localized = parse_localized(&self.localized_display_names);
        let localized = violations.check(&format!("{path}.localized_display_names"), localized);
        let names = RoleNames {
            display_name: display_name.unwrap_or_default(),
            localized: localized.unwrap_or_default(),
        };
        Some(Role::new(id?, names, self.can_invite))
    }
}

fn parse_localized(names: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Reason> {
    if names.len() > LOCALIZED_NAMES_MAX {
        return Err(Reason::FieldInvalid);
    }
    let mut parsed = BTreeMap::new();
    for (tag, name) in names {
        let earlier = parsed.insert(locale::parse(tag)?, display_name::parse(name)?);
        // Two spellings of one tag.
        if earlier.is_some() {
            return Err(Reason::FieldInvalid);
        }
    }
    Ok(parsed)
}

#[cfg(test)]
#[path = "role_tests.rs"]
mod tests;

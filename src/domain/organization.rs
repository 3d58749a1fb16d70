//! Organizations: what an invitation has to know of where it leads.

use super::brand::Brand;
use super::ids::OrganizationId;
use super::reason::{Reason, Violation};
use super::reminder::{ReminderInput, ReminderLead};
use super::role::Role;
use super::{display_name, email_address, locale, redirect_url};

/// Most roles of an organization.
pub const ROLES_MAX: usize = 64;
/// Most allowed mail domains, and most redirect origins.
pub const LIST_ENTRIES_MAX: usize = 100;

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its identifier.
    pub id: OrganizationId,
    /// Its name, fit to be shown in mails.
    pub name: String,
    /// Its roles; `admin` is always one of them.
    pub roles: Vec<String>,
    /// The role of an invitation that names none; one of `roles`.
    pub default_role: String,
    /// The mail domains that may be invited, in A-labels; empty for all.
    pub allowed_email_domains: Vec<String>,
    /// The origins a redirect URL may have.
    pub redirect_origins: Vec<String>,
    /// The language of its mails, or empty.
    pub locale: String,
    /// Whether Accept asks again if the inviter is still an admin member.
    pub recheck_inviter: bool,
    /// What its mails show of it.
    pub brand: Brand,
    /// How long before its invitations expire to remind, where they do not say.
    pub reminder_lead: ReminderLead,
}

/// An organization as a caller describes it.
#[derive(Debug, Clone, Default)]
pub struct OrganizationInput {
    /// As [`Organization::id`].
    pub id: String,
    /// As [`Organization::name`].
    pub name: String,
    /// As [`Organization::roles`]; empty for `admin` and `member`.
    pub roles: Vec<String>,
    /// As [`Organization::default_role`]; empty for `member`.
    pub default_role: String,
    /// As [`Organization::allowed_email_domains`], in any spelling.
    pub allowed_email_domains: Vec<String>,
    /// As [`Organization::redirect_origins`], in any spelling.
    pub redirect_origins: Vec<String>,
    /// As [`Organization::locale`].
    pub locale: String,
    /// As [`Organization::recheck_inviter`].
    pub recheck_inviter: bool,
    /// As [`Brand::logo_url`], or empty.
    pub logo_url: String,
    /// As [`Brand::color`], or empty.
    pub brand_color: String,
    /// As [`Brand::support_email`], or empty.
    pub support_email: String,
    /// As [`Organization::reminder_lead`]; unset for never.
    pub reminder_lead: ReminderInput,
}

impl OrganizationInput {
    /// Checks everything and reports every violation at once.
    pub fn parse(&self) -> Result<Organization, Vec<Violation>> {
        let mut violations = Vec::new();
        let mut refuse = |field: &str, reason| violations.push(Violation::new(field, reason));

        let id = OrganizationId::parse(&self.id);
        if id.is_none() {
            refuse("id", required_or_invalid(&self.id));
        }
        let name = display_name::parse(&self.name)
            .inspect_err(|reason| refuse("name", *reason))
            .unwrap_or_default();
        let roles = parse_roles(&self.roles)
            .inspect_err(|reason| refuse("roles", *reason))
            .unwrap_or_default();
        let default_role = if self.default_role.is_empty() {
            Role::MEMBER
        } else {
            &self.default_role
        };
        if !roles.is_empty() && !roles.iter().any(|role| role == default_role) {
            refuse("default_role", Reason::RoleUnknown);
        }
        let allowed_email_domains = parse_list(&self.allowed_email_domains, |domain| {
            email_address::domain_to_ascii(domain).ok_or(Reason::FieldInvalid)
        })
        .inspect_err(|reason| refuse("allowed_email_domains", *reason))
        .unwrap_or_default();
        let redirect_origins = parse_list(&self.redirect_origins, redirect_url::parse_origin)
            .inspect_err(|reason| refuse("redirect_origins", *reason))
            .unwrap_or_default();
        let locale = parse_optional_locale(&self.locale)
            .inspect_err(|reason| refuse("locale", *reason))
            .unwrap_or_default();
        let reminder_lead = self
            .reminder_lead
            .resolve(ReminderLead::NEVER)
            .inspect_err(|reason| refuse("reminder_lead", *reason))
            .unwrap_or_default();
        let brand = Brand::parse(&self.logo_url, &self.brand_color, &self.support_email);
        let brand = brand
            .map_err(|refused| violations.extend(refused))
            .unwrap_or_default();

        match id {
            Some(id) if violations.is_empty() => Ok(Organization {
                id,
                name,
                roles,
                default_role: default_role.to_owned(),
                allowed_email_domains,
                redirect_origins,
                locale,
                recheck_inviter: self.recheck_inviter,
                brand,
                reminder_lead,
            }),
            _ => Err(violations),
        }
    }
}

/// The reason a required identifier is refused for.
pub(super) fn required_or_invalid(input: &str) -> Reason {
    if input.is_empty() {
        Reason::FieldRequired
    } else {
        Reason::FieldInvalid
    }
}

/// Checks a locale that may be left out.
pub(super) fn parse_optional_locale(input: &str) -> Result<String, Reason> {
    if input.is_empty() {
        Ok(String::new())
    } else {
        locale::parse(input)
    }
}

fn parse_roles(input: &[String]) -> Result<Vec<String>, Reason> {
    let mut roles = vec![Role::ADMIN.to_owned()];
    if input.is_empty() {
        roles.push(Role::MEMBER.to_owned());
    }
    if input.len() > ROLES_MAX {
        return Err(Reason::FieldInvalid);
    }
    for role in input {
        let role = Role::parse(role).ok_or(Reason::RoleUnknown)?.into_string();
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(roles)
}

fn parse_list(
    input: &[String],
    parse: impl Fn(&str) -> Result<String, Reason>,
) -> Result<Vec<String>, Reason> {
    if input.len() > LIST_ENTRIES_MAX {
        return Err(Reason::FieldInvalid);
    }
    input.iter().map(|entry| parse(entry)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_default() {
        let input = OrganizationInput {
            id: "acme".into(),
            name: "Acme".into(),
            ..Default::default()
        };
        let organization = input.parse().unwrap();
        assert_eq!(organization.roles, ["admin", "member"]);
        assert_eq!(organization.default_role, "member");
    }

    #[test]
    fn every_violation_is_reported_at_once() {
        let input = OrganizationInput {
            name: "see https://evil.example".into(),
            roles: vec!["Owner".into()],
            allowed_email_domains: vec!["localhost".into()],
            redirect_origins: vec!["http://app.example.com".into()],
            locale: "de_DE".into(),
            logo_url: "http://example.com/logo.png".into(),
            brand_color: "blue".into(),
            support_email: "support".into(),
            ..Default::default()
        };
        let fields: Vec<_> = input
            .parse()
            .unwrap_err()
            .into_iter()
            .map(|violation| violation.field)
            .collect();
        assert_eq!(
            fields,
            [
                "id",
                "name",
                "roles",
                "allowed_email_domains",
                "redirect_origins",
                "locale",
                "logo_url",
                "brand_color",
                "support_email"
            ]
        );
    }

    #[test]
    fn a_default_role_must_be_a_role() {
        let input = OrganizationInput {
            id: "acme".into(),
            name: "Acme".into(),
            roles: vec!["viewer".into()],
            ..Default::default()
        };
        assert_eq!(
            input.parse().unwrap_err(),
            [Violation::new("default_role", Reason::RoleUnknown)]
        );
    }
}

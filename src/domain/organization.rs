//! Organizations: the settings that govern their invitations.

use super::brand::Brand;
use super::ids::OrganizationId;
use super::reason::{Reason, Violation, Violations};
use super::reminder::{ReminderInput, ReminderLead};
use super::role::Role;
use super::{display_name, email_address, locale, redirect_url};

pub const ROLES_MAX: usize = 64;
/// Most allowed mail domains, and most redirect origins.
pub const LIST_ENTRIES_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    /// Always contains `admin`.
    pub roles: Vec<String>,
    /// The role of an invitation that names none; one of `roles`.
    pub default_role: String,
    /// The mail domains that may be invited, in A-labels. Empty for every domain.
    pub allowed_email_domains: Vec<String>,
    pub redirect_origins: Vec<String>,
    /// The language of its emails; may be empty.
    pub locale: String,
    /// Whether Accept checks again that the inviter is an admin member.
    pub recheck_inviter: bool,
    pub brand: Brand,
    pub reminder_lead: ReminderLead,
}

/// An organization as a caller sends it. The fields are those of [`Organization`] and [`Brand`].
#[derive(Debug, Clone, Default)]
pub struct OrganizationInput {
    pub id: String,
    pub name: String,
    /// Empty for `admin` and `member`.
    pub roles: Vec<String>,
    /// Empty for `member`.
    pub default_role: String,
    pub allowed_email_domains: Vec<String>,
    pub redirect_origins: Vec<String>,
    pub locale: String,
    pub recheck_inviter: bool,
    pub logo_url: String,
    pub brand_color: String,
    pub support_email: String,
    /// Unset for no reminder.
    pub reminder_lead: ReminderInput,
}

impl OrganizationInput {
    pub fn parse(&self) -> Result<Organization, Vec<Violation>> {
        let mut violations = Violations::default();
        let id = violations.check_id("id", &self.id, OrganizationId::parse);
        let name = violations.check("name", display_name::parse(&self.name));
        let roles = violations
            .check("roles", parse_roles(&self.roles))
            .unwrap_or_default();
        let default_role = match self.default_role.as_str() {
            "" => Role::MEMBER,
            role => role,
        };
        if !roles.is_empty() && !roles.iter().any(|role| role == default_role) {
            violations.add("default_role", Reason::RoleUnknown);
        }
        let allowed_email_domains = parse_list(&self.allowed_email_domains, |domain| {
            email_address::domain_to_ascii(domain).ok_or(Reason::FieldInvalid)
        });
        let allowed_email_domains =
            violations.check("allowed_email_domains", allowed_email_domains);
        let redirect_origins = parse_list(&self.redirect_origins, redirect_url::parse_origin);
        let redirect_origins = violations.check("redirect_origins", redirect_origins);
        let locale = violations.check_optional("locale", &self.locale, locale::parse);
        let reminder_lead = self.reminder_lead.resolve(ReminderLead::NEVER);
        let reminder_lead = violations.check("reminder_lead", reminder_lead);
        let brand = Brand::parse(&self.logo_url, &self.brand_color, &self.support_email)
            .map_err(|found| violations.extend(found));
        violations.into_result(id.map(|id| Organization {
            id,
            name: name.unwrap_or_default(),
            roles,
            default_role: default_role.to_owned(),
            allowed_email_domains: allowed_email_domains.unwrap_or_default(),
            redirect_origins: redirect_origins.unwrap_or_default(),
            locale: locale.unwrap_or_default(),
            recheck_inviter: self.recheck_inviter,
            brand: brand.unwrap_or_default(),
            reminder_lead: reminder_lead.unwrap_or_default(),
        }))
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
        Role::parse(role).ok_or(Reason::RoleUnknown)?;
        if !roles.contains(role) {
            roles.push(role.clone());
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
    fn empty_fields_have_defaults() {
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
    fn the_default_role_must_be_a_role_of_the_organization() {
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

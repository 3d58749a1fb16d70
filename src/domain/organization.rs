//! Organizations: the settings that govern their invitations.

use super::brand::{Brand, Color};
use super::email_address::EmailAddress;
use super::ids::OrganizationId;
use super::reason::{Reason, Violation, Violations};
use super::reminder::{ReminderInput, ReminderLead};
use super::role::{Role, RoleId, RoleInput};
use super::update_mask::UpdateMask;
use super::{display_name, email_address, locale, logo_url, redirect_url};

/// Most allowed mail domains, and most redirect origins.
pub const LIST_ENTRIES_MAX: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    pub id: OrganizationId,
    pub name: String,
    /// Always contains `admin`.
    pub roles: Vec<Role>,
    /// The role of an invitation that names none; the id of one of `roles`.
    pub default_role: String,
    /// The mail domains that may be invited, in A-labels. Empty for every domain.
    pub allowed_email_domains: Vec<String>,
    pub redirect_origins: Vec<String>,
    /// The language of its emails; may be empty.
    pub locale: String,
    /// Whether Accept checks again that the role of the inviter can invite.
    pub recheck_inviter: bool,
    pub brand: Brand,
    pub reminder_lead: ReminderLead,
}

impl Organization {
    /// The names of the fields that a caller can write, as [`UpdateMask::parse`] wants them.
    pub const WRITABLE: [&str; 11] = [
        "name",
        "roles",
        "default_role",
        "allowed_email_domains",
        "redirect_origins",
        "locale",
        "recheck_inviter",
        "reminder_lead",
        "logo_url",
        "brand_color",
        "support_email",
    ];

    pub fn role(&self, id: &str) -> Option<&Role> {
        self.roles.iter().find(|role| role.id.as_str() == id)
    }
}

/// An organization as a caller sends it. The fields are those of [`Organization`] and [`Brand`]. A field is set if it is
/// `Some`, a list if it is not empty.
#[derive(Debug, Clone, Default)]
pub struct OrganizationInput {
    pub id: String,
    pub name: Option<String>,
    /// Empty for `admin` and `member`.
    pub roles: Vec<RoleInput>,
    /// Empty for `member`.
    pub default_role: Option<String>,
    pub allowed_email_domains: Vec<String>,
    pub redirect_origins: Vec<String>,
    pub locale: Option<String>,
    pub recheck_inviter: Option<bool>,
    pub logo_url: Option<String>,
    pub brand_color: Option<String>,
    pub support_email: Option<String>,
    /// Unset for no reminder.
    pub reminder_lead: ReminderInput,
}

/// Takes each field from an item or from the stored organization.
struct Merge<'a> {
    /// `None` for an organization that is added, which gets every field of the item.
    stored: Option<&'a Organization>,
    mask: &'a UpdateMask,
    violations: Violations,
}

impl OrganizationInput {
    /// The organization after this item was applied to the stored one, if there is one. Fields that the mask leaves out
    /// are neither checked nor changed.
    ///
    /// # Errors
    ///
    /// Every violation of the fields that change.
    pub fn parse(
        &self,
        stored: Option<&Organization>,
        mask: &UpdateMask,
    ) -> Result<Organization, Vec<Violation>> {
        let mut merge = Merge {
            stored,
            mask,
            violations: Violations::default(),
        };
        let id = merge
            .violations
            .check_id("id", &self.id, OrganizationId::parse);
        let name = merge.field(
            "name",
            self.name.is_some(),
            |stored| &stored.name,
            || {
                let name = self.name.as_deref().ok_or(Reason::FieldRequired)?;
                display_name::parse(name)
            },
        );
        let (roles, default_role) = self.parse_roles(&mut merge);
        let (allowed_email_domains, redirect_origins) = self.parse_lists(&mut merge);
        let locale = merge.field(
            "locale",
            self.locale.is_some(),
            |stored| &stored.locale,
            || Ok(parse_optional(self.locale.as_deref(), locale::parse)?.unwrap_or_default()),
        );
        let recheck_inviter = merge.field(
            "recheck_inviter",
            self.recheck_inviter.is_some(),
            |stored| &stored.recheck_inviter,
            || Ok(self.recheck_inviter.unwrap_or_default()),
        );
        let reminder_lead = merge.field(
            "reminder_lead",
            self.reminder_lead != ReminderInput::Unset,
            |stored| &stored.reminder_lead,
            || self.reminder_lead.resolve(ReminderLead::NEVER),
        );
        let brand = self.parse_brand(&mut merge);
        merge.violations.into_result(id.map(|id| Organization {
            id,
            name,
            roles,
            default_role,
            allowed_email_domains,
            redirect_origins,
            locale,
            recheck_inviter,
            brand,
            reminder_lead,
        }))
    }

    fn parse_roles(&self, merge: &mut Merge<'_>) -> (Vec<Role>, String) {
        let is_changed = merge.is_changed("roles", !self.roles.is_empty());
        let roles = match merge.stored {
            Some(stored) if !is_changed => Ok(stored.roles.clone()),
            _ => Role::parse_list(&self.roles),
        };
        let is_default_changed = merge.is_changed("default_role", self.default_role.is_some());
        let default_role = match merge.stored {
            Some(stored) if !is_default_changed => stored.default_role.as_str(),
            _ => self.default_role.as_deref().unwrap_or_default(),
        };
        let default_role = match default_role {
            "" => RoleId::MEMBER,
            role => role,
        };
        match &roles {
            Ok(roles) if roles.iter().any(|role| role.id.as_str() == default_role) => {}
            Ok(_) => {
                let field = if is_default_changed {
                    "default_role"
                } else {
                    "roles"
                };
                merge.violations.add(field, Reason::RoleUnknown);
            }
            Err(violations) => merge.violations.extend(violations.clone()),
        }
        (roles.unwrap_or_default(), default_role.to_owned())
    }

    /// The mail domains and the redirect origins.
    fn parse_lists(&self, merge: &mut Merge<'_>) -> (Vec<String>, Vec<String>) {
        let domains = merge.field(
            "allowed_email_domains",
            !self.allowed_email_domains.is_empty(),
            |stored| &stored.allowed_email_domains,
            || {
                parse_list(&self.allowed_email_domains, |domain| {
                    email_address::domain_to_ascii(domain).ok_or(Reason::FieldInvalid)
                })
            },
        );
        let origins = merge.field(
            "redirect_origins",
            !self.redirect_origins.is_empty(),
            |stored| &stored.redirect_origins,
            || parse_list(&self.redirect_origins, redirect_url::parse_origin),
        );
        (domains, origins)
    }

    fn parse_brand(&self, merge: &mut Merge<'_>) -> Brand {
        let parse_color = |color: &str| Color::parse(color).ok_or(Reason::FieldInvalid);
        Brand {
            logo_url: merge.field(
                "logo_url",
                self.logo_url.is_some(),
                |stored| &stored.brand.logo_url,
                || parse_optional(self.logo_url.as_deref(), logo_url::parse),
            ),
            color: merge.field(
                "brand_color",
                self.brand_color.is_some(),
                |stored| &stored.brand.color,
                || parse_optional(self.brand_color.as_deref(), parse_color),
            ),
            support_email: merge.field(
                "support_email",
                self.support_email.is_some(),
                |stored| &stored.brand.support_email,
                || parse_optional(self.support_email.as_deref(), EmailAddress::parse),
            ),
        }
    }
}

impl Merge<'_> {
    fn is_changed(&self, field: &str, is_set: bool) -> bool {
        self.stored.is_none() || self.mask.includes(field, is_set)
    }

    fn field<T: Clone + Default>(
        &mut self,
        field: &str,
        is_set: bool,
        stored_field: impl FnOnce(&Organization) -> &T,
        parse: impl FnOnce() -> Result<T, Reason>,
    ) -> T {
        match self.stored {
            Some(stored) if !self.is_changed(field, is_set) => stored_field(stored).clone(),
            _ => self.violations.check(field, parse()).unwrap_or_default(),
        }
    }
}

/// A field that may be empty, or not set, which gives `None`.
fn parse_optional<T>(
    input: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, Reason>,
) -> Result<Option<T>, Reason> {
    input.filter(|text| !text.is_empty()).map(parse).transpose()
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
#[path = "organization_tests.rs"]
mod tests;

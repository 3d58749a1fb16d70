//! One person to invite: what a caller sends, checked field by field, and what is left when it all holds.

use std::collections::HashMap;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::email_address::EmailAddress;
use super::expiry::Expiry;
use super::ids::UserId;
use super::invitation::AcceptPolicy;
use super::membership::parse_metadata;
use super::organization::{Organization, parse_optional_locale};
use super::reason::{Reason, Violation};
use super::reminder::{ReminderInput, ReminderLead};
use super::role::Role;
use super::{personal_message, redirect_url};

/// Most items of a bulk request.
pub const ITEMS_MAX: usize = 10_000;

/// An item as a caller sends it. Not `Debug`: it holds an address and a personal note.
#[derive(Clone)]
pub struct ItemInput {
    /// The address.
    pub email: String,
    /// The role, or empty for the default.
    pub role: String,
    /// Who invites, or empty for the request's inviter.
    pub inviter_user_id: String,
    /// Where to go after accepting, or empty.
    pub redirect_url: String,
    /// `None` where it was no JSON.
    pub public_metadata: Option<Map<String, Value>>,
    /// `None` where it was no JSON.
    pub private_metadata: Option<Map<String, Value>>,
    /// When it expires.
    pub expiry: Expiry,
    /// Whether to mail the person.
    pub notify: bool,
    /// The language of the mail, or empty.
    pub locale: String,
    /// The personal note, or empty.
    pub message: String,
    /// Who may accept; `None` where the value is unknown.
    pub accept_policy: Option<AcceptPolicy>,
    /// How long before it expires to remind; unset means as the organization has it.
    pub reminder_lead: ReminderInput,
}

/// An item whose every field holds.
#[derive(Clone)]
pub struct NewInvitation {
    /// Its place in the request.
    pub index: usize,
    /// The address.
    pub email: EmailAddress,
    /// The role.
    pub role: Role,
    /// Who invites.
    pub inviter_user_id: UserId,
    /// Where to go after accepting, or empty.
    pub redirect_url: String,
    /// A JSON object.
    pub public_metadata: Option<String>,
    /// A JSON object.
    pub private_metadata: Option<String>,
    /// When it expires.
    pub expires_at: OffsetDateTime,
    /// Whether to mail the person.
    pub notify: bool,
    /// The language of the mail, or empty.
    pub locale: String,
    /// The personal note, or empty.
    pub message: String,
    /// Who may accept.
    pub accept_policy: AcceptPolicy,
    /// How long before it expires to remind.
    pub reminder_lead: ReminderLead,
}

impl NewInvitation {
    /// When the reminder of one that is made now is due; `None` if there is to be none.
    #[must_use]
    pub fn remind_at(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.reminder_lead
            .due_at(self.expires_at, now)
            .filter(|_| self.notify)
    }
}

/// What the directory knows of somebody named as an inviter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inviter {
    /// Their name, or empty.
    pub name: String,
    /// Whether they are an admin member of the organization.
    pub is_admin: bool,
}

/// An item whose form was checked, before the directory was asked. Holds every violation found so far.
pub struct ItemDraft {
    index: usize,
    email: Option<EmailAddress>,
    role: Option<Role>,
    inviter_user_id: Option<UserId>,
    redirect_url: String,
    public_metadata: Option<String>,
    private_metadata: Option<String>,
    expires_at: OffsetDateTime,
    notify: bool,
    locale: String,
    message: String,
    accept_policy: AcceptPolicy,
    reminder_lead: ReminderLead,
    violations: Vec<Violation>,
}

impl ItemDraft {
    /// Checks the form of an item against its organization. Nothing stops at the first violation.
    #[must_use]
    pub fn parse(
        index: usize,
        input: &ItemInput,
        organization: &Organization,
        default_inviter: &str,
        now: OffsetDateTime,
    ) -> Self {
        let mut violations = Vec::new();
        let mut refuse = |field: &str, reason| violations.push(Violation::new(field, reason));

        let email = EmailAddress::parse(&input.email)
            .inspect_err(|error| refuse("email", (*error).into()))
            .ok();
        if let Some(address) = &email
            && !is_domain_allowed(address, organization)
        {
            refuse("email", Reason::DomainNotAllowed);
        }
        let role = parse_role(&input.role, organization);
        if role.is_none() {
            refuse("role", Reason::RoleUnknown);
        }
        let inviter_user_id = parse_inviter(&input.inviter_user_id, default_inviter)
            .inspect_err(|reason| refuse("inviter_user_id", *reason))
            .ok();
        let redirect_url = parse_redirect_url(&input.redirect_url, organization)
            .inspect_err(|reason| refuse("redirect_url", *reason))
            .unwrap_or_default();
        let public_metadata = parse_metadata(input.public_metadata.clone())
            .inspect_err(|reason| refuse("public_metadata", *reason))
            .unwrap_or_default();
        let private_metadata = parse_metadata(input.private_metadata.clone())
            .inspect_err(|reason| refuse("private_metadata", *reason))
            .unwrap_or_default();
        let expires_at = input
            .expiry
            .resolve(now)
            .inspect_err(|reason| refuse(input.expiry.field(), *reason))
            .unwrap_or(now);
        let locale = parse_optional_locale(&input.locale)
            .inspect_err(|reason| refuse("locale", *reason))
            .unwrap_or_default();
        let message = personal_message::parse(&input.message)
            .inspect_err(|reason| refuse("message", *reason))
            .unwrap_or_default();
        if input.accept_policy.is_none() {
            refuse("accept_policy", Reason::FieldInvalid);
        }
        let reminder_lead = input
            .reminder_lead
            .resolve(organization.reminder_lead)
            .inspect_err(|reason| refuse("reminder_lead", *reason))
            .unwrap_or_default();

        Self {
            index,
            email,
            role,
            inviter_user_id,
            redirect_url,
            public_metadata,
            private_metadata,
            expires_at,
            notify: input.notify,
            locale,
            message,
            accept_policy: input.accept_policy.unwrap_or_default(),
            reminder_lead,
            violations,
        }
    }

    /// The address, if it is one.
    #[must_use]
    pub const fn email(&self) -> Option<&EmailAddress> {
        self.email.as_ref()
    }

    /// The inviter, if the name is one.
    #[must_use]
    pub const fn inviter_user_id(&self) -> Option<&UserId> {
        self.inviter_user_id.as_ref()
    }

    /// Whether the person would be mailed.
    #[must_use]
    pub const fn is_mailed(&self) -> bool {
        self.notify
    }

    /// Asks what the directory knows of the inviters, and returns the item if everything holds.
    pub fn finish(
        mut self,
        inviters: &HashMap<String, Inviter>,
    ) -> Result<NewInvitation, Vec<Violation>> {
        self.check_inviter(inviters);
        match (self.email, self.role, self.inviter_user_id) {
            (Some(email), Some(role), Some(inviter_user_id)) if self.violations.is_empty() => {
                Ok(NewInvitation {
                    index: self.index,
                    email,
                    role,
                    inviter_user_id,
                    redirect_url: self.redirect_url,
                    public_metadata: self.public_metadata,
                    private_metadata: self.private_metadata,
                    expires_at: self.expires_at,
                    notify: self.notify,
                    locale: self.locale,
                    message: self.message,
                    accept_policy: self.accept_policy,
                    reminder_lead: self.reminder_lead,
                })
            }
            _ => Err(self.violations),
        }
    }

    fn check_inviter(&mut self, inviters: &HashMap<String, Inviter>) {
        let Some(user_id) = &self.inviter_user_id else {
            return;
        };
        let inviter = inviters.get(user_id.as_str());
        match inviter {
            None => self
                .violations
                .push(Violation::new("inviter_user_id", Reason::InviterNotFound)),
            Some(inviter) if !inviter.is_admin => self
                .violations
                .push(Violation::new("inviter_user_id", Reason::InviterNotAdmin)),
            Some(_) => {}
        }
        let is_admin = inviter.is_some_and(|inviter| inviter.is_admin);
        let is_grantable = |role: &Role| role.is_grantable_by(is_admin);
        if !self.role.as_ref().is_none_or(is_grantable) {
            self.violations
                .push(Violation::new("role", Reason::RoleNotGrantable));
        }
    }
}

fn is_domain_allowed(address: &EmailAddress, organization: &Organization) -> bool {
    let allowed = &organization.allowed_email_domains;
    allowed.is_empty() || allowed.iter().any(|domain| domain == address.domain())
}

fn parse_role(input: &str, organization: &Organization) -> Option<Role> {
    let name = if input.is_empty() {
        &organization.default_role
    } else {
        input
    };
    let role = Role::parse(name)?;
    organization
        .roles
        .iter()
        .any(|known| known == role.as_str())
        .then_some(role)
}

fn parse_inviter(input: &str, default_inviter: &str) -> Result<UserId, Reason> {
    let inviter = if input.is_empty() {
        default_inviter
    } else {
        input
    };
    UserId::parse(inviter).ok_or(if inviter.is_empty() {
        Reason::FieldRequired
    } else {
        Reason::InviterNotFound
    })
}

fn parse_redirect_url(input: &str, organization: &Organization) -> Result<String, Reason> {
    if input.is_empty() {
        Ok(String::new())
    } else {
        redirect_url::parse(input, &organization.redirect_origins)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::organization::OrganizationInput;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);

    fn organization() -> Organization {
        OrganizationInput {
            id: "acme".into(),
            name: "Acme".into(),
            ..Default::default()
        }
        .parse()
        .unwrap()
    }

    fn input(email: &str) -> ItemInput {
        ItemInput {
            email: email.into(),
            role: String::new(),
            inviter_user_id: String::new(),
            redirect_url: String::new(),
            public_metadata: Some(Map::new()),
            private_metadata: Some(Map::new()),
            expiry: Expiry::Default,
            notify: true,
            locale: String::new(),
            message: String::new(),
            accept_policy: Some(AcceptPolicy::InvitedEmail),
            reminder_lead: ReminderInput::Unset,
        }
    }

    fn inviters() -> HashMap<String, Inviter> {
        let inviter = |is_admin| Inviter {
            name: String::new(),
            is_admin,
        };
        HashMap::from([
            ("ada".to_owned(), inviter(true)),
            ("bob".to_owned(), inviter(false)),
        ])
    }

    fn reasons(draft: ItemDraft) -> Vec<(String, Reason)> {
        let violations = draft.finish(&inviters()).map(|_| ()).unwrap_err();
        violations
            .into_iter()
            .map(|violation| (violation.field, violation.reason))
            .collect()
    }

    #[test]
    fn an_address_alone_is_an_item() {
        let draft = ItemDraft::parse(3, &input("a@b.co"), &organization(), "ada", NOW);
        let item = draft.finish(&inviters()).map_err(|_| ()).unwrap();
        assert_eq!(
            (item.index, item.role.as_str(), item.notify),
            (3, "member", true)
        );
    }

    #[test]
    fn every_violation_of_an_item_is_reported_at_once() {
        let bad = ItemInput {
            role: "root".into(),
            redirect_url: "https://evil.example".into(),
            public_metadata: None,
            private_metadata: Some(Map::from_iter([(
                "x".to_owned(),
                Value::from("y".repeat(9_000)),
            )])),
            expiry: Expiry::Malformed("expire_time"),
            locale: "xx-INVALID-".into(),
            message: "https://evil.example".into(),
            accept_policy: None,
            reminder_lead: ReminderInput::Lead(time::Duration::MINUTE),
            ..input("plain")
        };
        let draft = ItemDraft::parse(0, &bad, &organization(), "nobody", NOW);
        let expected = [
            ("email", Reason::EmailInvalid),
            ("role", Reason::RoleUnknown),
            ("redirect_url", Reason::RedirectUrlInvalid),
            ("public_metadata", Reason::FieldInvalid),
            ("private_metadata", Reason::MetadataTooLarge),
            ("expire_time", Reason::ExpiryOutOfRange),
            ("locale", Reason::LocaleInvalid),
            ("message", Reason::MessageInvalid),
            ("accept_policy", Reason::FieldInvalid),
            ("reminder_lead", Reason::FieldInvalid),
            ("inviter_user_id", Reason::InviterNotFound),
        ];
        let expected: Vec<_> = expected
            .map(|(field, reason)| (field.to_owned(), reason))
            .into();
        assert_eq!(reasons(draft), expected);
    }

    #[test]
    fn only_an_admin_invites_and_only_an_admin_grants_admin() {
        let admin = ItemInput {
            role: "admin".into(),
            ..input("a@b.co")
        };
        let draft = ItemDraft::parse(0, &admin, &organization(), "bob", NOW);
        let expected = [
            ("inviter_user_id".to_owned(), Reason::InviterNotAdmin),
            ("role".to_owned(), Reason::RoleNotGrantable),
        ];
        assert_eq!(reasons(draft), expected);
        let draft = ItemDraft::parse(0, &input("a@b.co"), &organization(), "", NOW);
        assert_eq!(
            reasons(draft),
            [("inviter_user_id".to_owned(), Reason::FieldRequired)]
        );
    }

    #[test]
    fn a_restricted_organization_invites_its_domains_alone() {
        let organization = Organization {
            allowed_email_domains: vec!["b.co".into()],
            ..organization()
        };
        let draft = |email| ItemDraft::parse(0, &input(email), &organization, "ada", NOW);
        assert!(draft("a@B.CO").finish(&inviters()).is_ok());
        assert_eq!(
            reasons(draft("a@sub.b.co")),
            [("email".to_owned(), Reason::DomainNotAllowed)]
        );
    }
}

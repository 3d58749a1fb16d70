//! Items of a bulk request: one person to invite, as the caller sends it and after every field was checked.

use std::collections::HashMap;

use serde_json::{Map, Value};
use time::OffsetDateTime;

use super::email_address::EmailAddress;
use super::expiry::Expiry;
use super::ids::UserId;
use super::invitation::AcceptPolicy;
use super::organization::Organization;
use super::reason::{Reason, Violation, Violations};
use super::reminder::{ReminderInput, ReminderLead};
use super::role::{Role, RoleId};
use super::{locale, metadata, personal_message, redirect_url};

pub const ITEMS_MAX: usize = 10_000;
/// Longest key of an item.
pub const KEY_BYTES_MAX: usize = 64;

/// An item as a caller sends it. It is not `Debug`, because it contains an address and a personal message.
#[derive(Clone)]
pub struct ItemInput {
    /// A name of the caller's choice for the result; may be empty.
    pub key: String,
    pub email: String,
    /// Empty for the organization's default role.
    pub role: String,
    /// Empty for the inviter of the request.
    pub inviter_user_id: String,
    pub redirect_url: String,
    /// `None` if the caller sent something that is not JSON, as is `private_metadata`.
    pub public_metadata: Option<Map<String, Value>>,
    pub private_metadata: Option<Map<String, Value>>,
    pub expiry: Expiry,
    pub notify: bool,
    pub locale: String,
    pub message: String,
    /// `None` for a value that the protocol does not define.
    pub accept_policy: Option<AcceptPolicy>,
    /// Unset for the organization's default.
    pub reminder_lead: ReminderInput,
}

#[derive(Clone)]
pub struct NewInvitation {
    /// The position of the item in the request.
    pub index: usize,
    pub email: EmailAddress,
    pub role: RoleId,
    pub inviter_user_id: UserId,
    /// Empty for none.
    pub redirect_url: String,
    /// A JSON object as text, as is `private_metadata`.
    pub public_metadata: Option<String>,
    pub private_metadata: Option<String>,
    pub expires_at: OffsetDateTime,
    pub notify: bool,
    /// Empty for the organization's locale.
    pub locale: String,
    /// Empty for none.
    pub message: String,
    pub accept_policy: AcceptPolicy,
    pub reminder_lead: ReminderLead,
}

impl NewInvitation {
    /// When the reminder of an invitation that is created now is due. Returns `None` if there is no reminder.
    pub fn remind_at(&self, now: OffsetDateTime) -> Option<OffsetDateTime> {
        self.reminder_lead
            .due_at(self.expires_at, now)
            .filter(|_| self.notify)
    }
}

/// The user named as the inviter of an item, as the directory has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inviter {
    /// May be empty.
    pub name: String,
    /// Whether the user is a member of the organization whose role can invite.
    pub can_invite: bool,
}

/// An item whose form was checked, with the violations so far. [`ItemDraft::finish`] checks its inviter.
pub struct ItemDraft<'a> {
    index: usize,
    email: Option<EmailAddress>,
    role: Option<&'a Role>,
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
    violations: Violations,
}

impl<'a> ItemDraft<'a> {
    /// Checks the form of an item against its organization. Reports every violation, not only the first.
    pub fn parse(
        index: usize,
        input: &ItemInput,
        organization: &'a Organization,
        default_inviter: &str,
        now: OffsetDateTime,
    ) -> Self {
        let mut violations = Violations::default();
        let email = violations.check("email", EmailAddress::parse(&input.email));
        let is_allowed = |address| is_domain_allowed(address, organization);
        if !email.as_ref().is_none_or(is_allowed) {
            violations.add("email", Reason::DomainNotAllowed);
        }
        let role = match input.role.as_str() {
            "" => &organization.default_role,
            role => role,
        };
        let role = organization.role(role).ok_or(Reason::RoleUnknown);
        let role = violations.check("role", role);
        let inviter_user_id = parse_inviter(&input.inviter_user_id, default_inviter);
        let inviter_user_id = violations.check("inviter_user_id", inviter_user_id);
        let redirect_url = violations.check_optional("redirect_url", &input.redirect_url, |url| {
            redirect_url::parse(url, &organization.redirect_origins)
        });
        let public_metadata = metadata::parse(input.public_metadata.clone());
        let public_metadata = violations.check("public_metadata", public_metadata);
        let private_metadata = metadata::parse(input.private_metadata.clone());
        let private_metadata = violations.check("private_metadata", private_metadata);
        let expires_at = violations.check(input.expiry.field(), input.expiry.resolve(now));
        let locale = violations.check_optional("locale", &input.locale, locale::parse);
        let message = violations.check("message", personal_message::parse(&input.message));
        let accept_policy = input.accept_policy.ok_or(Reason::FieldInvalid);
        let accept_policy = violations.check("accept_policy", accept_policy);
        let reminder_lead = input.reminder_lead.resolve(organization.reminder_lead);
        let reminder_lead = violations.check("reminder_lead", reminder_lead);
        if input.key.len() > KEY_BYTES_MAX {
            violations.add("key", Reason::FieldInvalid);
        }
        Self {
            index,
            email,
            role,
            inviter_user_id,
            redirect_url: redirect_url.unwrap_or_default(),
            public_metadata: public_metadata.flatten(),
            private_metadata: private_metadata.flatten(),
            expires_at: expires_at.unwrap_or(now),
            notify: input.notify,
            locale: locale.unwrap_or_default(),
            message: message.unwrap_or_default(),
            accept_policy: accept_policy.unwrap_or_default(),
            reminder_lead: reminder_lead.unwrap_or_default(),
            violations,
        }
    }

    pub const fn email(&self) -> Option<&EmailAddress> {
        self.email.as_ref()
    }

    pub const fn inviter_user_id(&self) -> Option<&UserId> {
        self.inviter_user_id.as_ref()
    }

    pub const fn is_mailed(&self) -> bool {
        self.notify
    }

    /// Checks the inviter against the directory. Returns the item if it has no violation at all.
    pub fn finish(
        mut self,
        inviters: &HashMap<String, Inviter>,
    ) -> Result<NewInvitation, Vec<Violation>> {
        self.check_inviter(inviters);
        let required = self.email.zip(self.role).zip(self.inviter_user_id);
        let item = required.map(|((email, role), inviter_user_id)| NewInvitation {
            index: self.index,
            email,
            role: role.id.clone(),
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
        });
        self.violations.into_result(item)
    }

    fn check_inviter(&mut self, inviters: &HashMap<String, Inviter>) {
        let Some(user_id) = &self.inviter_user_id else {
            return;
        };
        let can_invite = inviters.get(user_id.as_str()).map(|it| it.can_invite);
        let obstacle = match can_invite {
            None => Some(Reason::InviterNotFound),
            Some(false) => Some(Reason::InviterCannotInvite),
            Some(true) => None,
        };
        if let Some(reason) = obstacle {
            self.violations.add("inviter_user_id", reason);
        }
        let can_invite = can_invite.unwrap_or_default();
        if !self
            .role
            .is_none_or(|role| role.is_grantable_by(can_invite))
        {
            self.violations.add("role", Reason::RoleNotGrantable);
        }
    }
}

fn is_domain_allowed(address: &EmailAddress, organization: &Organization) -> bool {
    let allowed = &organization.allowed_email_domains;
    allowed.is_empty() || allowed.iter().any(|domain| domain == address.domain())
}

fn parse_inviter(input: &str, default_inviter: &str) -> Result<UserId, Reason> {
    let inviter = match input {
        "" => default_inviter,
        inviter => inviter,
    };
    UserId::parse(inviter).ok_or(match inviter {
        "" => Reason::FieldRequired,
        _ => Reason::InviterNotFound,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::organization::OrganizationInput;
    use crate::domain::role::RoleInput;
    use crate::domain::update_mask::UpdateMask;

    const NOW: OffsetDateTime = time::macros::datetime!(2026-11-22 18:48 UTC);

    fn organization() -> Organization {
        let lead = RoleInput {
            id: "lead".into(),
            can_invite: true,
            ..Default::default()
        };
        let member = RoleInput {
            id: "member".into(),
            ..Default::default()
        };
        OrganizationInput {
            id: "acme".into(),
            name: Some("Acme".into()),
            roles: vec![lead, member],
            ..Default::default()
        }
        .parse(None, &UpdateMask::default())
        .unwrap()
    }

    fn input(email: &str) -> ItemInput {
        ItemInput {
            key: String::new(),
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
        let inviter = |can_invite| Inviter {
            name: String::new(),
            can_invite,
        };
        HashMap::from([
            ("ada".to_owned(), inviter(true)),
            ("bob".to_owned(), inviter(false)),
        ])
    }

    fn reasons(draft: ItemDraft<'_>) -> Vec<(String, Reason)> {
        let violations = draft.finish(&inviters()).map(|_| ()).unwrap_err();
        violations
            .into_iter()
            .map(|violation| (violation.field, violation.reason))
            .collect()
    }

    #[test]
    fn an_item_needs_no_more_than_an_address() {
        let organization = organization();
        let draft = ItemDraft::parse(3, &input("a@b.co"), &organization, "ada", NOW);
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
            key: "k".repeat(KEY_BYTES_MAX + 1),
            ..input("plain")
        };
        let organization = organization();
        let draft = ItemDraft::parse(0, &bad, &organization, "nobody", NOW);
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
            ("key", Reason::FieldInvalid),
            ("inviter_user_id", Reason::InviterNotFound),
        ];
        let expected: Vec<_> = expected
            .map(|(field, reason)| (field.to_owned(), reason))
            .into();
        assert_eq!(reasons(draft), expected);
    }

    #[test]
    fn only_an_inviter_whose_role_can_invite_may_invite_and_grant_such_a_role() {
        let organization = organization();
        for role in ["admin", "lead"] {
            let granting = ItemInput {
                role: role.into(),
                ..input("a@b.co")
            };
            let draft = ItemDraft::parse(0, &granting, &organization, "bob", NOW);
            let expected = [
                ("inviter_user_id".to_owned(), Reason::InviterCannotInvite),
                ("role".to_owned(), Reason::RoleNotGrantable),
            ];
            assert_eq!(reasons(draft), expected);
            let draft = ItemDraft::parse(0, &granting, &organization, "ada", NOW);
            assert!(draft.finish(&inviters()).is_ok());
        }
        let draft = ItemDraft::parse(0, &input("a@b.co"), &organization, "", NOW);
        assert_eq!(
            reasons(draft),
            [("inviter_user_id".to_owned(), Reason::FieldRequired)]
        );
    }

    #[test]
    fn an_organization_with_allowed_domains_invites_only_their_addresses() {
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

//! Users: who has an account, under which proven addresses.

use super::display_name;
use super::email_address::{EmailAddress, EmailAddressError};
use super::ids::UserId;
use super::organization::required_or_invalid;
use super::reason::{Reason, Violation};

/// Most addresses of a user.
pub const USER_EMAILS_MAX: usize = 20;

/// A user. Not `Debug`: it holds addresses.
#[derive(Clone)]
pub struct User {
    /// Their identifier.
    pub id: UserId,
    /// Their name, or empty.
    pub name: String,
    /// The normal forms of the addresses they have proven to own.
    pub emails_normalized: Vec<String>,
}

impl User {
    /// Checks a user and reports every violation at once; `field_of_email` names the list in the violations.
    pub fn parse(
        id: &str,
        name: &str,
        emails: &[String],
        [field_of_id, field_of_name, field_of_emails]: [&str; 3],
    ) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let parsed_id = UserId::parse(id);
        if parsed_id.is_none() {
            violations.push(Violation::new(field_of_id, required_or_invalid(id)));
        }
        let name = match name {
            "" => String::new(),
            name => display_name::parse(name)
                .inspect_err(|reason| violations.push(Violation::new(field_of_name, *reason)))
                .unwrap_or_default(),
        };
        if emails.len() > USER_EMAILS_MAX {
            violations.push(Violation::new(field_of_emails, Reason::FieldInvalid));
        }
        let mut emails_normalized = Vec::new();
        for (index, email) in emails.iter().take(USER_EMAILS_MAX).enumerate() {
            match EmailAddress::parse(email) {
                Ok(address) => emails_normalized.push(address.normalized().to_owned()),
                Err(error) => violations.push(Violation::new(
                    format!("{field_of_emails}[{index}]"),
                    error.into(),
                )),
            }
        }
        match parsed_id {
            Some(id) if violations.is_empty() => Ok(Self {
                id,
                name,
                emails_normalized,
            }),
            _ => Err(violations),
        }
    }
}

impl From<EmailAddressError> for Reason {
    fn from(error: EmailAddressError) -> Self {
        match error {
            EmailAddressError::Invalid => Self::EmailInvalid,
            EmailAddressError::Unsupported => Self::EmailUnsupported,
        }
    }
}

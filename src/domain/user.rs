//! Users: accounts of the application, with their verified addresses.

use time::OffsetDateTime;

use super::display_name;
use super::email_address::EmailAddress;
use super::ids::UserId;
use super::reason::{Reason, Violation, Violations};

pub const USER_EMAILS_MAX: usize = 20;

/// It is not `Debug`, because it contains addresses.
#[derive(Clone)]
pub struct User {
    pub id: UserId,
    /// May be empty.
    pub name: String,
    /// The normal forms of the user's verified addresses.
    pub emails_normalized: Vec<String>,
}

/// A user who is added, or some of whose fields change.
#[derive(Clone)]
pub struct UserChange {
    pub user: User,
    /// Whether the name of a user who exists changes.
    pub is_name_changed: bool,
    /// Whether the addresses of a user who exists are replaced.
    pub are_emails_changed: bool,
}

/// A user as it is stored. It is not `Debug`, because it contains addresses.
#[derive(Clone)]
pub struct UserRecord {
    pub id: String,
    pub name: String,
    /// The normal forms of the user's verified addresses.
    pub emails_normalized: Vec<String>,
    pub created_at: OffsetDateTime,
    pub updated_at: OffsetDateTime,
}

impl User {
    /// The names of the fields that a caller can write, as [`UpdateMask::parse`] wants them.
    ///
    /// [`UpdateMask::parse`]: super::update_mask::UpdateMask::parse
    pub const WRITABLE: [&str; 2] = ["name", "verified_emails"];

    /// Checks a user and reports every violation under the given names of the fields.
    pub fn parse(
        id: &str,
        name: &str,
        emails: &[String],
        [field_of_id, field_of_name, field_of_emails]: [&str; 3],
    ) -> Result<Self, Vec<Violation>> {
        let mut violations = Violations::default();
        let id = violations.check_id(field_of_id, id, UserId::parse);
        let name = violations.check_optional(field_of_name, name, display_name::parse);
        let emails_normalized = check_emails(&mut violations, field_of_emails, emails);
        violations.into_result(id.map(|id| Self {
            id,
            name: name.unwrap_or_default(),
            emails_normalized,
        }))
    }
}

/// Checks the verified addresses of a user and returns their normal forms.
pub fn parse_emails(field: &str, emails: &[String]) -> Result<Vec<String>, Vec<Violation>> {
    let mut violations = Violations::default();
    let emails_normalized = check_emails(&mut violations, field, emails);
    violations.into_result(Some(emails_normalized))
}

fn check_emails(violations: &mut Violations, field: &str, emails: &[String]) -> Vec<String> {
    if emails.len() > USER_EMAILS_MAX {
        violations.add(field, Reason::FieldInvalid);
    }
    let mut emails_normalized = Vec::new();
    for (index, email) in emails.iter().take(USER_EMAILS_MAX).enumerate() {
        let field = format!("{field}[{index}]");
        if let Some(address) = violations.check(&field, EmailAddress::parse(email)) {
            emails_normalized.push(address.normalized().to_owned());
        }
    }
    emails_normalized
}

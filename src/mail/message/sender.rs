//! The sender of all emails: the product, never the organization that invites.

use lettre::Address;
use lettre::message::Mailbox;

use crate::domain::email_address::EmailAddress;
use crate::mail::clean_text::clean_line;

/// In characters.
const SENDER_NAME_CHARS_MAX: usize = 64;

#[derive(Clone)]
pub struct Sender {
    pub(super) from: Mailbox,
    pub(super) name: String,
    pub(super) envelope_from: Address,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SenderError {
    #[error("the sender name must be 1 to {SENDER_NAME_CHARS_MAX} characters on one line")]
    Name,
    #[error("the sender address is not an email address")]
    Address,
    #[error("the envelope sender is not an email address")]
    EnvelopeFrom,
}

impl Sender {
    /// Bounces go to `envelope_from`, or to `address` without one.
    pub fn parse(
        name: &str,
        address: &str,
        envelope_from: Option<&str>,
    ) -> Result<Self, SenderError> {
        // `lettre` panics on a line break in a display name, so the name is refused and not repaired.
        let is_one_line = !name.trim().is_empty() && clean_line(name) == name;
        if !is_one_line || name.chars().count() > SENDER_NAME_CHARS_MAX {
            return Err(SenderError::Name);
        }
        let from = parse_address(address).ok_or(SenderError::Address)?;
        let envelope_from = match envelope_from {
            Some(address) => parse_address(address).ok_or(SenderError::EnvelopeFrom)?,
            None => from.clone(),
        };
        Ok(Self {
            from: Mailbox::new(Some(name.to_owned()), from),
            name: name.to_owned(),
            envelope_from,
        })
    }
}

pub(super) fn parse_address(address: &str) -> Option<Address> {
    EmailAddress::parse(address).ok()?.mailbox().parse().ok()
}

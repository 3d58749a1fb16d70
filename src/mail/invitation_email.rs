//! What one email is made of.

use secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;

use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmailKind {
    Invitation,
    /// Says that an invitation is about to expire.
    Reminder,
}

#[derive(Debug, Clone)]
pub struct InvitationEmail {
    pub kind: EmailKind,
    /// `local@domain` without angle brackets. The same on every attempt.
    pub message_id: String,
    /// When the email was queued, not when it is sent. The same on every attempt.
    pub date: OffsetDateTime,
    pub to: EmailAddress,
    /// Display name.
    pub organization_name: String,
    pub brand: Brand,
    /// Display name; the wording is neutral without one.
    pub inviter_name: Option<String>,
    /// Display name of the role.
    pub role: String,
    /// Personal message, which may have several lines.
    pub note: Option<String>,
    /// The link that shows the invitation, including its token.
    pub link: SecretString,
    pub expires_at: OffsetDateTime,
    /// Language tag (BCP 47). English is used if there are no templates in this language.
    pub locale: String,
    /// Where bounces of this email go; the sender's envelope address if not set.
    pub envelope_from: Option<String>,
    /// The https URL that stops further email with one POST (RFC 8058).
    pub unsubscribe_url: Option<SecretString>,
}

impl InvitationEmail {
    pub(super) fn unsubscribe_url(&self) -> Option<&str> {
        let url = self.unsubscribe_url.as_ref();
        url.map(ExposeSecret::expose_secret)
    }
}

//! Builds the message of a job, or decides that its email must not be sent.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use time::OffsetDateTime;

use super::retry_schedule::ATTEMPTS_MAX;
use super::send_job::{SendJob, suspended};
use crate::domain::address_tag::AddressTagger;
use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;
use crate::domain::invitation::StateName;
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::domain::public_url::PublicUrl;
use crate::domain::token::{Token, TokenSubject};
use crate::domain::unsubscribe_token;
use crate::mail::message::{ComposeError, Composer, EmailKind, InvitationEmail};
use crate::store::outbox::MailContent;
use crate::store::settlements::Settlement;

/// An email whose rendering panics is given up after this many attempts.
const PANICS_MAX: i32 = 3;
/// The wait before the next attempt after a panic, or for a key that is not loaded.
const BUILD_RETRY_PAUSE: Duration = Duration::from_mins(1);

pub struct MessageBuilder {
    /// Derives the tokens, so that every attempt at an email carries the same link.
    pub keyring: Arc<Keyring>,
    pub links: Arc<LinkTemplate>,
    pub composer: Composer,
    /// The right-hand side of message ids.
    pub message_id_domain: String,
    /// Finds addresses on the suppression list.
    pub tagger: AddressTagger,
    /// The mailbox that bounces are delivered to, each email under its own address. Without one, bounces go to the
    /// sender's envelope address.
    pub bounce_mailbox: Option<String>,
    /// The base of the pages that stop further email. Without it no email links to them.
    pub public_url: Option<PublicUrl>,
}

impl MessageBuilder {
    /// Builds the message in the form that a lane needs, or returns the settlement of an email that must not be sent.
    pub(super) fn build<T>(
        &self,
        job: &SendJob,
        now: OffsetDateTime,
        compose: impl Fn(&Composer, &InvitationEmail) -> Result<T, ComposeError>,
    ) -> Result<T, Settlement> {
        let Some(content) = &job.content else {
            return Err(Settlement::Canceled);
        };
        let is_wanted = content.state == StateName::Pending.as_str()
            && content.expires_at > now
            && content.send_seq == job.claimed.key.send_seq;
        if !is_wanted {
            return Err(Settlement::Canceled);
        }
        if job.is_suppressed {
            return Err(Settlement::Suppressed);
        }
        if job.is_organization_suspended() {
            return Err(suspended(now));
        }
        // The claim counts the attempt, so that an email that crashes its worker is given up too.
        if job.claimed.attempts > ATTEMPTS_MAX {
            return Err(dead("given up after too many attempts"));
        }
        self.rebuild(job, now, compose)
    }

    /// Builds the message of an email that may have been sent before, even if it would not be sent now.
    pub(super) fn rebuild<T>(
        &self,
        job: &SendJob,
        now: OffsetDateTime,
        compose: impl Fn(&Composer, &InvitationEmail) -> Result<T, ComposeError>,
    ) -> Result<T, Settlement> {
        let Some(content) = &job.content else {
            return Err(Settlement::Canceled);
        };
        let retry = |is_counted, error: &str| Settlement::Deferred {
            next_attempt_at: now + BUILD_RETRY_PAUSE,
            is_counted,
            error: error.to_owned(),
            reply_code: None,
        };
        let mut key_ids = self.keyring.key_ids();
        if !key_ids.any(|loaded| i16::from(loaded) == content.key_id) {
            // Another process created the invitation with a key that this process has not loaded yet.
            let key_id = content.key_id;
            tracing::error!(key.id = key_id, "emails wait for a key that is not loaded");
            return Err(retry(false, "a key is not loaded"));
        }
        let email = self
            .email(job, content)
            .ok_or_else(|| dead("the stored invitation cannot become an email"))?;
        match catch_unwind(AssertUnwindSafe(|| compose(&self.composer, &email))) {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(error)) => {
                let (error, id): (&dyn Error, _) = (&error, content.invitation_id);
                tracing::error!(invitation.id = %id, error, "cannot compose the email");
                Err(dead("the email cannot be composed"))
            }
            Err(_) if job.claimed.attempts >= PANICS_MAX => {
                Err(dead("composing the email panicked"))
            }
            Err(_) => Err(retry(true, "composing the email panicked")),
        }
    }

    fn email(&self, job: &SendJob, content: &MailContent) -> Option<InvitationEmail> {
        let subject = TokenSubject {
            organization_id: &content.organization_id,
            invitation_id: content.invitation_id,
            generation: u32::try_from(content.generation).ok()?,
            nonce: content.nonce.as_slice().try_into().ok()?,
            email_normalized: &content.email_normalized,
        };
        let token = Token::derive(&self.keyring, u8::try_from(content.key_id).ok()?, &subject)?;
        let claimed = &job.claimed;
        let mailbox = self.bounce_mailbox.as_deref();
        let bounce_address =
            mailbox.and_then(|mailbox| job.reference().bounce_address(&self.keyring, mailbox));
        let non_empty = |text: &String| (!text.is_empty()).then(|| text.clone());
        Some(InvitationEmail {
            kind: if claimed.is_reminder {
                EmailKind::Reminder
            } else {
                EmailKind::Invitation
            },
            message_id: format!(
                "inv.{}.{}.{}@{}",
                content.invitation_id,
                content.generation,
                claimed.key.send_seq,
                self.message_id_domain
            ),
            date: claimed.created_at,
            to: EmailAddress::parse(&content.email).ok()?,
            organization_name: content.organization_name.clone(),
            brand: Brand::from_stored(
                &content.logo_url,
                &content.brand_color,
                &content.support_email,
            ),
            inviter_name: non_empty(&content.inviter_name),
            role: role_name(content),
            note: non_empty(&content.message),
            link: SecretString::from(self.links.link(&token, &content.redirect_url)),
            expires_at: content.expires_at,
            locale: content.locale.clone(),
            envelope_from: bounce_address,
            unsubscribe_url: self.unsubscribe_url(content),
        })
    }

    fn unsubscribe_url(&self, content: &MailContent) -> Option<SecretString> {
        let public_url = self.public_url.as_ref()?;
        let tag = self.tagger.tag_of_normalized(&content.email_normalized);
        let token = unsubscribe_token::seal(&self.keyring, &tag)?;
        Some(public_url.unsubscribe_link(&token).into())
    }
}

/// The name of the role in the language of the email.
fn role_name(content: &MailContent) -> String {
    let role = content.role.as_str();
    let names = content.role_names.as_ref();
    let name = names.map_or(role, |names| names.shown(&content.locale, role));
    name.to_owned()
}

fn dead(error: &str) -> Settlement {
    Settlement::Dead {
        error: error.to_owned(),
        reply_code: None,
    }
}

//! The mailroom: from a claimed mail to its words, or to the reason why there is nothing to send.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;
use uuid::Uuid;

use super::backoff;
use crate::clock::Clock;
use crate::domain::address_tag::{AddressTag, AddressTagger};
use crate::domain::bounce_address::SentMail;
use crate::domain::brand::Brand;
use crate::domain::email_address::EmailAddress;
use crate::domain::invitation::StateName;
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::domain::public_url::PublicUrl;
use crate::domain::suppression::{EVERY_ORGANIZATION, SuppressionReason};
use crate::domain::token::{Token, TokenSubject};
use crate::domain::unsubscribe_token;
use crate::mail::message::{ComposeError, Composer, InvitationMail, MailKind};
use crate::store::outbox::{self, ClaimedMail, MailContent, MailKey};
use crate::store::settlements::{SettledMail, Settlement};
use crate::store::suppressions::{self, SuppressionRow};
use crate::store::{Store, StoreError};

/// How often a mail that made its renderer panic is tried.
const PANICS_MAX: i32 = 3;
/// How long a mail waits for a key that is not loaded.
const MISSING_KEY_PAUSE: Duration = Duration::from_mins(1);
/// How long the mails of a suspended organization wait before somebody looks at them again, unless it is resumed.
pub(super) const SUSPENDED_PAUSE: Duration = Duration::from_mins(5);
/// How long what was read of a mail is believed: whoever ends an invitation wants no mail a moment later.
const FRESH_FOR: Duration = Duration::from_secs(1);

/// What every attempt needs.
pub struct Mailroom {
    /// Where mails come from and are settled.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Derives the tokens: a mail that is tried twice carries the same link twice.
    pub keyring: Arc<Keyring>,
    /// Makes links of them.
    pub links: Arc<LinkTemplate>,
    /// Writes the mails.
    pub composer: Composer,
    /// The right-hand side of message ids.
    pub message_id_domain: String,
    /// Finds addresses on the suppression list.
    pub tagger: AddressTagger,
    /// Where bounces are delivered to, each mail's under an address of its own; the sender's own address if not set.
    pub bounce_mailbox: Option<String>,
    /// Where readers reach the page that stops mails; without it no mail offers it.
    pub public_url: Option<PublicUrl>,
}

/// A mail that was claimed, with what it is written from; `None` if the invitation or its organization is gone.
pub(super) struct Job {
    pub(super) claimed: ClaimedMail,
    pub(super) lease_token: Uuid,
    pub(super) content: Option<Arc<MailContent>>,
    is_suppressed: bool,
    read_at: Instant,
}

impl Job {
    /// The domain it goes to, in A-labels.
    pub(super) fn domain(&self) -> &str {
        let email = self
            .content
            .as_ref()
            .map(|content| &content.email_normalized);
        email
            .and_then(|email| email.rsplit_once('@'))
            .map_or("", |(_, domain)| domain)
    }

    /// Whether its organization is suspended, so that it waits.
    pub(super) fn is_held_back(&self) -> bool {
        self.content
            .as_ref()
            .is_some_and(|content| content.is_organization_suspended)
    }

    /// Its name and the lease it is held under.
    pub(super) fn held(&self) -> (MailKey, Uuid) {
        (self.claimed.key.clone(), self.lease_token)
    }

    /// Whether what was read of it can still be believed.
    pub(super) fn is_fresh(&self) -> bool {
        self.read_at.elapsed() < FRESH_FOR
    }

    /// What to settle it as.
    pub(super) fn settled(&self, settlement: Settlement) -> SettledMail {
        SettledMail {
            key: self.claimed.key.clone(),
            lease_token: self.lease_token,
            settlement,
            suppression: None,
        }
    }

    /// Which mail of which invitation it is.
    pub(super) fn reference(&self) -> SentMail {
        SentMail {
            invitation_id: self.claimed.key.invitation_id,
            send_seq: self.claimed.key.send_seq,
        }
    }
}

impl Mailroom {
    /// Reads what claimed mails are written from: one statement for all.
    pub(super) async fn read(
        &self,
        claimed: Vec<(ClaimedMail, Uuid)>,
    ) -> Result<Vec<Job>, StoreError> {
        if claimed.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Arc<[Uuid]> = claimed
            .iter()
            .map(|(mail, _)| mail.key.invitation_id)
            .collect();
        let read_at = Instant::now();
        let contents: HashMap<Uuid, Arc<MailContent>> = self
            .store
            .run("outbox.contents", move |connection| {
                let ids = Arc::clone(&ids);
                Box::pin(async move { outbox::contents(connection, &ids).await })
            })
            .await?
            .into_iter()
            .map(|content| (content.invitation_id, Arc::new(content)))
            .collect();
        let suppressed = self.suppressed_of(contents.values()).await?;
        Ok(claimed
            .into_iter()
            .map(|(claimed, lease_token)| Job {
                content: contents.get(&claimed.key.invitation_id).map(Arc::clone),
                is_suppressed: suppressed.contains(&claimed.key.invitation_id),
                claimed,
                lease_token,
                read_at,
            })
            .collect())
    }

    /// Those of the invitations whose address is to get no mail: one statement for all.
    async fn suppressed_of(
        &self,
        contents: impl Iterator<Item = &Arc<MailContent>> + Send,
    ) -> Result<HashSet<Uuid>, StoreError> {
        let asked: Arc<[(String, AddressTag, Uuid)]> = contents
            .flat_map(|content| {
                self.tagger
                    .tags_of_normalized(&content.email_normalized)
                    .map(|tag| (content.organization_id.clone(), tag, content.invitation_id))
            })
            .collect();
        let (these, now) = (Arc::clone(&asked), self.clock.now());
        let found = self
            .store
            .run("suppressions.find", move |connection| {
                let these = Arc::clone(&these);
                Box::pin(async move {
                    let pairs: Vec<_> = these
                        .iter()
                        .map(|(organization_id, tag, _)| (organization_id.as_str(), *tag))
                        .collect();
                    suppressions::find(connection, &pairs, now).await
                })
            })
            .await?;
        let found: HashSet<_> = found
            .into_iter()
            .map(|one| (one.organization_id, one.tag))
            .collect();
        Ok(asked
            .iter()
            .filter(|(id, tag, _)| found.contains(&(id.clone(), tag.bytes)))
            .map(|(.., invitation_id)| *invitation_id)
            .collect())
    }

    /// Keeps further mail from an address that does not exist.
    pub(super) fn hard_bounce(&self, job: &Job) -> Option<SuppressionRow> {
        let content = job.content.as_ref()?;
        let reason = SuppressionReason::HardBounce;
        Some(SuppressionRow {
            organization_id: EVERY_ORGANIZATION.to_owned(),
            tag: self.tagger.tag_of_normalized(&content.email_normalized),
            reason,
            expires_at: reason.ends_at(self.clock.now()),
        })
    }

    /// Reads jobs again that waited for their turn, and drops those whose lease was lost meanwhile: somebody else sends
    /// them. Where that fails, they are not sent.
    pub(super) async fn refresh(&self, jobs: Vec<Job>) -> Result<Vec<Job>, StoreError> {
        if jobs.iter().all(Job::is_fresh) {
            return Ok(jobs);
        }
        let held = self.still_held(&jobs).await?;
        let (kept, lost): (Vec<_>, Vec<_>) = jobs
            .into_iter()
            .map(|job| (job.claimed, job.lease_token))
            .partition(|(claimed, _)| held.contains(&claimed.key.id()));
        for (claimed, _) in lost {
            tracing::warn!(
                invitation.id = %claimed.key.invitation_id,
                "the lease of a mail was lost before it was sent"
            );
        }
        self.read(kept).await
    }

    async fn still_held(&self, jobs: &[Job]) -> Result<HashSet<(Uuid, i32)>, StoreError> {
        let (held, now): (Arc<[_]>, _) = (jobs.iter().map(Job::held).collect(), self.clock.now());
        self.store
            .run("outbox.held", move |connection| {
                let held = Arc::clone(&held);
                Box::pin(async move { outbox::filter_leased(connection, &held, now).await })
            })
            .await
    }

    /// Writes the mail in the form that a lane takes, or says how it is settled without being sent.
    pub(super) fn write<T>(
        &self,
        job: &Job,
        compose: impl Fn(&Composer, &InvitationMail) -> Result<T, ComposeError>,
    ) -> Result<T, Settlement> {
        let Some(content) = &job.content else {
            return Err(Settlement::Canceled);
        };
        let is_wanted = content.state == StateName::Pending.as_str()
            && content.expires_at > self.clock.now()
            && content.send_seq == job.claimed.key.send_seq;
        if !is_wanted {
            return Err(Settlement::Canceled);
        }
        if job.is_suppressed {
            return Err(Settlement::Suppressed);
        }
        if job.is_held_back() {
            return Err(self.held_back());
        }
        // A worker that dies of a mail never comes to count its own failure; the claim did.
        if job.claimed.attempts > backoff::ATTEMPTS_MAX {
            return Err(dead("given up after too many attempts"));
        }
        self.write_anyway(job, compose)
    }

    /// What becomes of a mail whose organization is suspended: it waits, and no attempt is counted.
    pub(super) fn held_back(&self) -> Settlement {
        Settlement::Released {
            next_attempt_at: Some(self.clock.now() + SUSPENDED_PAUSE),
        }
    }

    /// The same for a mail that may have been sent before, and is written again as it was.
    pub(super) fn write_anyway<T>(
        &self,
        job: &Job,
        compose: impl Fn(&Composer, &InvitationMail) -> Result<T, ComposeError>,
    ) -> Result<T, Settlement> {
        let Some(content) = &job.content else {
            return Err(Settlement::Canceled);
        };
        if !self.holds_key(content) {
            // Another process made it with a key that this one was not given yet.
            tracing::error!(
                key.id = content.key_id,
                "mails wait for a key that is not loaded"
            );
            return Err(Settlement::Deferred {
                next_attempt_at: self.clock.now() + MISSING_KEY_PAUSE,
                is_counted: false,
                error: "a key is not loaded".to_owned(),
                reply_code: None,
            });
        }
        let mail = self
            .mail(content, &job.claimed)
            .ok_or_else(|| dead("the stored invitation cannot be mailed"))?;
        match catch_unwind(AssertUnwindSafe(|| compose(&self.composer, &mail))) {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(error)) => {
                tracing::error!(invitation.id = %content.invitation_id, error = &error as &dyn Error, "cannot write the mail");
                Err(dead("the mail cannot be written"))
            }
            Err(_) if job.claimed.attempts >= PANICS_MAX => Err(dead("writing the mail panicked")),
            Err(_) => Err(Settlement::Deferred {
                next_attempt_at: self.clock.now() + MISSING_KEY_PAUSE,
                is_counted: true,
                error: "writing the mail panicked".to_owned(),
                reply_code: None,
            }),
        }
    }

    /// The bounce address of this one mail, where bounces come back to a mailbox of ours.
    fn envelope_from(&self, claimed: &ClaimedMail) -> Option<String> {
        let mail = SentMail {
            invitation_id: claimed.key.invitation_id,
            send_seq: claimed.key.send_seq,
        };
        let mailbox = self.bounce_mailbox.as_deref()?;
        mail.bounce_address(&self.keyring, mailbox)
    }

    fn unsubscribe_url(&self, content: &MailContent) -> Option<SecretString> {
        let public_url = self.public_url.as_ref()?;
        let tag = self.tagger.tag_of_normalized(&content.email_normalized);
        let token = unsubscribe_token::seal(&self.keyring, &tag)?;
        Some(public_url.unsubscribe_link(&token).into())
    }

    fn holds_key(&self, content: &MailContent) -> bool {
        u8::try_from(content.key_id)
            .is_ok_and(|kid| self.keyring.key_ids().any(|loaded| loaded == kid))
    }

    fn mail(&self, content: &MailContent, claimed: &ClaimedMail) -> Option<InvitationMail> {
        let subject = TokenSubject {
            organization_id: &content.organization_id,
            invitation_id: content.invitation_id,
            generation: u32::try_from(content.generation).ok()?,
            nonce: content.nonce.as_slice().try_into().ok()?,
            email_normalized: &content.email_normalized,
        };
        let token = Token::derive(&self.keyring, u8::try_from(content.key_id).ok()?, &subject)?;
        let non_empty = |text: &String| (!text.is_empty()).then(|| text.clone());
        Some(InvitationMail {
            kind: if claimed.is_reminder {
                MailKind::Reminder
            } else {
                MailKind::Invitation
            },
            message_id: format!(
                "inv.{}.{}.{}@{}",
                content.invitation_id,
                content.generation,
                claimed.key.send_seq,
                self.message_id_domain
            ),
            date: claimed.created_at,
            to: EmailAddress::from_stored(&content.email)?,
            organization_name: content.organization_name.clone(),
            brand: Brand::from_stored(
                &content.logo_url,
                &content.brand_color,
                &content.support_email,
            ),
            inviter_name: non_empty(&content.inviter_name),
            role: content.role.clone(),
            note: non_empty(&content.message),
            link: SecretString::from(self.links.link(&token, &content.redirect_url)),
            expires_at: content.expires_at,
            locale: content.locale.clone(),
            envelope_from: self.envelope_from(claimed),
            unsubscribe_url: self.unsubscribe_url(content),
        })
    }
}

fn dead(error: &str) -> Settlement {
    Settlement::Dead {
        error: error.to_owned(),
        reply_code: None,
    }
}

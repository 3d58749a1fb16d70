//! One attempt at one mail: look, render, send, settle.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::{Instant, interval_at};
use uuid::Uuid;

use super::backoff;
use super::lane::Lane;
use crate::clock::Clock;
use crate::domain::email_address::EmailAddress;
use crate::domain::invitation::StateName;
use crate::domain::keyring::Keyring;
use crate::domain::link::LinkTemplate;
use crate::domain::token::{Token, TokenSubject};
use crate::mail::message::{ComposedMail, Composer, InvitationMail};
use crate::mail::outcome::{Fate, SendError, Stage};
use crate::mail::transport::Session;
use crate::store::outbox::{self, ClaimedMail, Lease, MailContent, Settlement};
use crate::store::{Store, StoreError};

/// How often a mail that made its renderer panic is tried.
const PANICS_MAX: i32 = 3;
/// How long a mail waits for a key that is not loaded.
const MISSING_KEY_PAUSE: Duration = Duration::from_mins(1);
/// The pause between tries to settle while the database is away.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);

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
}

/// A mail that was claimed, with what it is written from; `None` if the invitation or its organization is gone.
pub(super) struct Job {
    pub(super) claimed: ClaimedMail,
    pub(super) lease_token: Uuid,
    pub(super) lease_duration: Duration,
    pub(super) content: Option<Arc<MailContent>>,
}

impl Mailroom {
    /// Tries a mail once and settles it. Returns the session for the next one.
    pub(super) async fn attempt(&self, mut session: Session, job: Job, lane: &Lane) -> Session {
        let settlement = match self.compose(&job) {
            Ok(mail) => {
                let outcome = self.send_under_lease(&mut session, &mail, &job).await;
                self.judge(outcome, &job, lane)
            }
            Err(settlement) => settlement,
        };
        self.settle(&job, &settlement).await;
        session
    }

    /// Renders the mail, or says how it is settled without being sent.
    fn compose(&self, job: &Job) -> Result<ComposedMail, Settlement> {
        let dead = |error: &str| Settlement::Dead {
            error: error.to_owned(),
            reply_code: None,
        };
        let Some(content) = &job.content else {
            return Err(Settlement::Canceled);
        };
        let is_wanted = content.state == StateName::Pending.as_str()
            && content.expires_at > self.clock.now()
            && content.send_seq == job.claimed.key.send_seq;
        if !is_wanted {
            return Err(Settlement::Canceled);
        }
        // A worker that dies of a mail never comes to count its own failure; the claim did.
        if job.claimed.attempts > backoff::ATTEMPTS_MAX {
            return Err(dead("given up after too many attempts"));
        }
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
        match catch_unwind(AssertUnwindSafe(|| self.composer.compose(&mail))) {
            Ok(Ok(mail)) => Ok(mail),
            Ok(Err(error)) => {
                tracing::error!(invitation.id = %content.invitation_id, error = &error as &dyn Error, "cannot write the mail");
                Err(dead("the mail cannot be written"))
            }
            Err(_) if job.claimed.attempts >= PANICS_MAX => Err(dead("writing the mail panicked")),
            Err(_) => Err(self.retry_later(job, "writing the mail panicked".to_owned(), None)),
        }
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
            message_id: format!(
                "inv.{}.{}.{}@{}",
                content.invitation_id, content.generation, content.send_seq, self.message_id_domain
            ),
            date: claimed.created_at,
            to: EmailAddress::from_stored(&content.email)?,
            organization_name: content.organization_name.clone(),
            inviter_name: non_empty(&content.inviter_name),
            role: content.role.clone(),
            note: non_empty(&content.message),
            link: SecretString::from(self.links.link(&token, &content.redirect_url)),
            expires_at: content.expires_at,
            locale: content.locale.clone(),
            envelope_from: None,
            unsubscribe_url: None,
        })
    }

    /// Sends, and asks for more time while the relay takes its own.
    async fn send_under_lease(
        &self,
        session: &mut Session,
        mail: &ComposedMail,
        job: &Job,
    ) -> Result<(), SendError> {
        let sending = session.send(mail);
        tokio::pin!(sending);
        let heartbeat = job.lease_duration / 4;
        let mut beats = interval_at(Instant::now() + heartbeat, heartbeat);
        loop {
            tokio::select! {
                outcome = &mut sending => return outcome.map(|_| ()),
                _ = beats.tick() => {
                    match self.extend(job).await {
                        Ok(true) => {}
                        // What is on the wire cannot be recalled; settling will find the lease lost too.
                        Ok(false) => tracing::warn!("the lease of a mail was lost while it was sent"),
                        Err(error) => {
                            tracing::warn!(error = &error as &dyn Error, "cannot extend the lease of a mail");
                        }
                    }
                }
            }
        }
    }

    async fn extend(&self, job: &Job) -> Result<bool, StoreError> {
        let key = job.claimed.key.clone();
        let lease = Lease {
            token: job.lease_token,
            until: self.clock.now() + job.lease_duration,
        };
        self.store
            .run("outbox.extend_lease", move |connection| {
                let key = key.clone();
                Box::pin(async move { outbox::extend_lease(connection, &key, lease).await })
            })
            .await
    }

    /// What an outcome means for the mail, and for the lane.
    fn judge(&self, outcome: Result<(), SendError>, job: &Job, lane: &Lane) -> Settlement {
        let error = match outcome {
            Ok(()) => {
                lane.works();
                return Settlement::Sent;
            }
            Err(error) => error,
        };
        tracing::info!(
            invitation.id = %job.claimed.key.invitation_id,
            mail.attempt = job.claimed.attempts,
            mail.stage = ?error.stage,
            mail.fate = ?error.fate,
            mail.reply_code = error.reply_code,
            mail.is_ambiguous = error.is_ambiguous(),
            "a mail was not accepted"
        );
        match error.fate {
            Fate::Retry => {
                lane.works();
                self.retry_later(job, error.text, error.reply_code)
            }
            Fate::Discard => {
                lane.works();
                Settlement::Dead {
                    error: error.text,
                    reply_code: error.reply_code,
                }
            }
            Fate::LaneDown => self.leave_lane(job, error, lane),
        }
    }

    /// The relay failed: it is left alone for a while. Only what happened once the recipient was named can be the
    /// mail's own doing, and costs an attempt.
    fn leave_lane(&self, job: &Job, error: SendError, lane: &Lane) -> Settlement {
        let pause = lane.failed();
        tracing::warn!(
            lane.pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            mail.stage = ?error.stage,
            mail.reply_code = error.reply_code,
            "the relay cannot be used"
        );
        let now = self.clock.now();
        if matches!(
            error.stage,
            Stage::RcptTo | Stage::Data | Stage::Body | Stage::FinalReply
        ) {
            return self.retry_later(job, error.text, error.reply_code);
        }
        if now > job.claimed.owed_since + backoff::GIVE_UP_AFTER {
            return Settlement::Dead {
                error: error.text,
                reply_code: error.reply_code,
            };
        }
        Settlement::Deferred {
            next_attempt_at: now + pause,
            is_counted: false,
            error: error.text,
            reply_code: error.reply_code,
        }
    }

    fn retry_later(&self, job: &Job, error: String, reply_code: Option<u16>) -> Settlement {
        let now = self.clock.now();
        let expires_at = job
            .content
            .as_ref()
            .map_or(now, |content| content.expires_at);
        match backoff::next_attempt_at(
            job.claimed.attempts,
            job.claimed.owed_since,
            expires_at,
            now,
        ) {
            Some(next_attempt_at) => Settlement::Deferred {
                next_attempt_at,
                is_counted: true,
                error,
                reply_code,
            },
            None => Settlement::Dead { error, reply_code },
        }
    }

    /// Settles, and goes on trying for as long as the lease may hold: what was sent and not settled is sent again.
    async fn settle(&self, job: &Job, settlement: &Settlement) {
        let give_up_at = Instant::now() + job.lease_duration;
        loop {
            let (key, lease_token, now) =
                (job.claimed.key.clone(), job.lease_token, self.clock.now());
            let settlement = settlement.clone();
            let settled = self
                .store
                .run("outbox.settle", move |connection| {
                    let (key, settlement) = (key.clone(), settlement.clone());
                    Box::pin(async move {
                        outbox::settle(connection, &key, lease_token, &settlement, now).await
                    })
                })
                .await;
            let invitation_id = job.claimed.key.invitation_id;
            match settled {
                Ok(true) => return,
                Ok(false) => {
                    tracing::warn!(invitation.id = %invitation_id, "the lease of a mail was lost before it was settled");
                    return;
                }
                Err(error) if Instant::now() >= give_up_at => {
                    tracing::error!(invitation.id = %invitation_id, error = &error as &dyn Error, "cannot settle a mail");
                    return;
                }
                Err(_) => tokio::time::sleep(SETTLE_PAUSE).await,
            }
        }
    }
}

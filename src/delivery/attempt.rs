//! One attempt at one mail: look, write, send, settle.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use super::backoff;
use super::lane::Lane;
use super::mailroom::{Job, Mailroom};
use super::settler::Settler;
use crate::mail::message::Composer;
use crate::mail::outcome::{Fate, SendError, Stage, Verdict};
use crate::mail::transport::Session;
use crate::store::settlements::{SettledMail, Settlement};

/// What to do with a mail that may or may not have been accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ambiguous {
    /// Send it again as the same mail: it may arrive twice, and is never lost.
    Retry,
    /// Give it up for a person to look at: it arrives once at most, and may be lost.
    Hold,
}

/// What an attempt works with.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) mailroom: Arc<Mailroom>,
    pub(super) settler: Settler,
    pub(super) ambiguous: Ambiguous,
    pub(super) lease_duration: Duration,
}

impl Desk {
    /// Tries a mail once and settles it. Returns the session for the next one.
    pub(super) async fn attempt(&self, mut session: Session, job: Job, lane: &Lane) -> Session {
        match self.mailroom.refresh(vec![job]).await {
            Ok(jobs) => {
                for job in jobs {
                    let settled = match self.mailroom.write(&job, Composer::compose) {
                        Ok(mail) => {
                            let outcome = session.send(&mail).await.map(|_| ());
                            self.judge(outcome, &job, lane)
                        }
                        Err(settlement) => job.settled(settlement),
                    };
                    self.settler.settle(settled).await;
                }
            }
            // Its lease runs out, and somebody tries it again.
            Err(error) => tracing::warn!(
                error = &error as &dyn Error,
                "cannot look at a mail once more before it is sent"
            ),
        }
        session
    }

    /// What an outcome means for the mail, and for the lane.
    pub(super) fn judge(
        &self,
        outcome: Result<(), SendError>,
        job: &Job,
        lane: &Lane,
    ) -> SettledMail {
        let error = match outcome {
            Ok(()) => {
                lane.breaker.judged(false);
                return job.settled(Settlement::Sent);
            }
            Err(error) => error,
        };
        tracing::info!(
            lane.name,
            invitation.id = %job.claimed.key.invitation_id,
            mail.attempt = job.claimed.attempts,
            mail.stage = ?error.stage,
            mail.fate = ?error.fate,
            mail.reply_code = error.reply_code,
            mail.is_ambiguous = error.is_ambiguous(),
            "a mail was not accepted"
        );
        if error.is_throttle() {
            lane.slow_down();
        }
        if error.is_ambiguous() && self.ambiguous == Ambiguous::Hold {
            return job.settled(dead(error));
        }
        match error.fate {
            Fate::LaneDown => {
                Self::leave_lane(&error, None, lane);
                job.settled(self.without_lane(job, error))
            }
            Fate::Retry | Fate::Discard => {
                Self::heed(&error, lane);
                self.refused(job, error)
            }
        }
    }

    /// What becomes of a mail that was refused for its own sake.
    fn refused(&self, job: &Job, error: SendError) -> SettledMail {
        let is_nobody = matches!(
            error.verdict(),
            Verdict::NoSuchAddress | Verdict::MailboxDisabled
        ) || error.is_inactive_recipient();
        if is_nobody {
            return SettledMail {
                suppression: self.mailroom.hard_bounce(job),
                ..job.settled(Settlement::Bounced {
                    error: error.text,
                    reply_code: error.reply_code,
                })
            };
        }
        job.settled(match error.fate {
            Fate::Discard => dead(error),
            _ => self.retry_later(job, error),
        })
    }

    /// The relay judged a mail, so it works; unless it has come to refuse whatever we send. Without a reply nothing was
    /// judged.
    fn heed(error: &SendError, lane: &Lane) {
        if error.reply_code.is_none() {
            return;
        }
        let is_policy_refusal = error.verdict() == Verdict::Policy;
        if let Some(pause) = lane.breaker.judged(is_policy_refusal) {
            tracing::error!(
                lane.name,
                lane.pause_ms = millis(pause),
                "the relay refuses most mails for policy; it is left alone"
            );
        }
    }

    /// The relay failed: it is left alone for a while, and for as long as it asked for.
    pub(super) fn leave_lane(error: &SendError, asked: Option<Duration>, lane: &Lane) {
        let Some(pause) = lane.breaker.failed(asked.unwrap_or_default()) else {
            return;
        };
        let (stage, reply_code) = (error.stage, error.reply_code);
        if error.is_misconfiguration() {
            tracing::error!(
                lane.name, lane.pause_ms = millis(pause), mail.stage = ?stage, mail.reply_code = reply_code,
                error = error.text,
                "the relay cannot be used until somebody mends its settings"
            );
        } else {
            tracing::warn!(
                lane.name, lane.pause_ms = millis(pause), mail.stage = ?stage, mail.reply_code = reply_code,
                error = error.text,
                "the relay cannot be used"
            );
        }
    }

    /// What becomes of a mail whose lane failed: another lane may have it at once. Only what happened once the recipient
    /// was named can be the mail's own doing, and costs an attempt.
    pub(super) fn without_lane(&self, job: &Job, error: SendError) -> Settlement {
        let now = self.mailroom.clock.now();
        if matches!(
            error.stage,
            Stage::RcptTo | Stage::Data | Stage::Body | Stage::FinalReply
        ) {
            return self.retry_later(job, error);
        }
        if now > job.claimed.retrying_since + backoff::GIVE_UP_AFTER {
            return dead(error);
        }
        Settlement::Deferred {
            // Behind what waits: a mail that makes a relay hang up must not be the first of every try.
            next_attempt_at: now,
            is_counted: false,
            error: error.text,
            reply_code: error.reply_code,
        }
    }

    /// A mail that may have been accepted, with nobody to say so.
    pub(super) fn doubtful(&self, job: &Job, text: &str) -> Settlement {
        match self.ambiguous {
            Ambiguous::Retry => self.retry_at(job, backoff::Wait::Usual, text.to_owned(), None),
            Ambiguous::Hold => Settlement::Dead {
                error: text.to_owned(),
                reply_code: None,
            },
        }
    }

    fn retry_later(&self, job: &Job, error: SendError) -> Settlement {
        let wait = match (error.verdict(), error.retry_after) {
            (Verdict::MailboxFull, _) => backoff::Wait::FullMailbox,
            (_, Some(asked)) => backoff::Wait::Asked(asked),
            _ => backoff::Wait::Usual,
        };
        self.retry_at(job, wait, error.text, error.reply_code)
    }

    fn retry_at(
        &self,
        job: &Job,
        wait: backoff::Wait,
        error: String,
        reply_code: Option<u16>,
    ) -> Settlement {
        let now = self.mailroom.clock.now();
        let expires_at = job
            .content
            .as_ref()
            .map_or(now, |content| content.expires_at);
        let due = backoff::next_attempt_at(
            wait,
            job.claimed.attempts,
            job.claimed.retrying_since,
            expires_at,
            now,
        );
        match due {
            Some(next_attempt_at) => Settlement::Deferred {
                next_attempt_at,
                is_counted: true,
                error,
                reply_code,
            },
            None => Settlement::Dead { error, reply_code },
        }
    }
}

fn dead(error: SendError) -> Settlement {
    Settlement::Dead {
        error: error.text,
        reply_code: error.reply_code,
    }
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

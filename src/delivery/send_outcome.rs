//! What the result of a send means for the email: sent, retried, bounced or given up.

use super::delivery_config::AmbiguousPolicy;
use super::delivery_context::DeliveryContext;
use super::lane::Lane;
use super::retry_schedule::{self, RetryWait};
use super::send_job::SendJob;
use crate::domain::suppression::{EVERY_ORGANIZATION, SuppressionReason};
use crate::mail::send_error::{FailureAction, RefusalReason, SendError, SendReceipt, SendStage};
use crate::store::settlements::{SettledMail, Settlement};
use crate::store::suppressions::SuppressionRow;

/// Decides the settlement of an email, and records the result on its lane.
pub(super) fn settlement(
    context: &DeliveryContext,
    outcome: Result<SendReceipt, SendError>,
    job: &SendJob,
    lane: &Lane,
) -> SettledMail {
    let Err(error) = outcome else {
        lane.record_judgement(Ok(()));
        return job.settled(Settlement::Sent);
    };
    tracing::info!(
        lane.name,
        invitation.id = %job.claimed.key.invitation_id,
        mail.attempt = job.claimed.attempts,
        mail.stage = ?error.stage,
        mail.action = ?error.action,
        mail.reply_code = error.reply_code,
        mail.is_ambiguous = error.is_ambiguous(),
        "an email was not accepted"
    );
    if error.is_throttle() {
        lane.slow_down();
    }
    if error.is_ambiguous() && context.config.ambiguous == AmbiguousPolicy::Hold {
        return job.settled(dead(error));
    }
    match error.action {
        FailureAction::PauseLane => {
            lane.record_failure(&error, None);
            job.settled(after_lane_failure(context, job, error))
        }
        FailureAction::Retry | FailureAction::Discard => {
            lane.record_judgement(Err(&error));
            after_refusal(context, job, error)
        }
    }
}

/// The settlement of an email whose lane failed: another lane may send it at once. The attempt counts only from
/// RCPT on, when the email itself may be the cause.
pub(super) fn after_lane_failure(
    context: &DeliveryContext,
    job: &SendJob,
    error: SendError,
) -> Settlement {
    if (SendStage::RcptTo..=SendStage::FinalReply).contains(&error.stage) {
        return retry_after_error(context, job, error);
    }
    let now = context.now();
    if now > job.claimed.retrying_since + retry_schedule::GIVE_UP_AFTER {
        return dead(error);
    }
    Settlement::Deferred {
        // Behind the waiting emails: an email that makes a relay hang up must not be first every time.
        next_attempt_at: now,
        is_counted: false,
        error: error.text,
        reply_code: error.reply_code,
    }
}

/// The settlement of an email that may have been accepted in a call with an unknown outcome.
pub(super) fn after_unknown_outcome(
    context: &DeliveryContext,
    job: &SendJob,
    text: &str,
) -> Settlement {
    match context.config.ambiguous {
        AmbiguousPolicy::Retry => retry(context, job, RetryWait::Scheduled, text.to_owned(), None),
        AmbiguousPolicy::Hold => Settlement::Dead {
            error: text.to_owned(),
            reply_code: None,
        },
    }
}

/// The settlement of an email that was refused for its own sake.
fn after_refusal(context: &DeliveryContext, job: &SendJob, error: SendError) -> SettledMail {
    let is_unreachable = error.is_inactive_recipient()
        || matches!(
            error.refusal_reason,
            RefusalReason::NoSuchAddress | RefusalReason::MailboxDisabled
        );
    if is_unreachable {
        return SettledMail {
            suppression: hard_bounce(context, job),
            ..job.settled(Settlement::Bounced {
                error: error.text,
                reply_code: error.reply_code,
            })
        };
    }
    job.settled(match error.action {
        FailureAction::Discard => dead(error),
        _ => retry_after_error(context, job, error),
    })
}

/// Suppresses further email to an address that does not exist.
fn hard_bounce(context: &DeliveryContext, job: &SendJob) -> Option<SuppressionRow> {
    let content = job.content.as_ref()?;
    let (tagger, reason) = (&context.builder.tagger, SuppressionReason::HardBounce);
    Some(SuppressionRow {
        organization_id: EVERY_ORGANIZATION.to_owned(),
        tag: tagger.tag_of_normalized(&content.email_normalized),
        reason,
        expires_at: reason.ends_at(context.now()),
    })
}

fn retry_after_error(context: &DeliveryContext, job: &SendJob, error: SendError) -> Settlement {
    let wait = match (error.refusal_reason, error.retry_after) {
        (RefusalReason::MailboxFull, _) => RetryWait::FullMailbox,
        (_, Some(requested)) => RetryWait::Requested(requested),
        _ => RetryWait::Scheduled,
    };
    retry(context, job, wait, error.text, error.reply_code)
}

fn retry(
    context: &DeliveryContext,
    job: &SendJob,
    wait: RetryWait,
    error: String,
    reply_code: Option<u16>,
) -> Settlement {
    let now = context.now();
    let (claimed, content) = (&job.claimed, job.content.as_ref());
    let expires_at = content.map_or(now, |content| content.expires_at);
    let (attempts, since) = (claimed.attempts, claimed.retrying_since);
    match retry_schedule::next_attempt_at(wait, attempts, since, expires_at, now) {
        Some(next_attempt_at) => Settlement::Deferred {
            next_attempt_at,
            is_counted: true,
            error,
            reply_code,
        },
        None => Settlement::Dead { error, reply_code },
    }
}

fn dead(error: SendError) -> Settlement {
    Settlement::Dead {
        error: error.text,
        reply_code: error.reply_code,
    }
}

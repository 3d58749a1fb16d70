//! What the result of a send means for the email: sent, retried, bounced or given up.

use std::time::Duration;

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
        lane.record_acceptance();
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
    } else if error.is_policy_closing() {
        lane.record_policy_closing();
    }
    // A lane that fails with one email after the other is at fault, and not the emails.
    let was_working = lane.is_working();
    match error.action {
        FailureAction::PauseLane => lane.record_failure(&error, None),
        FailureAction::Retry | FailureAction::Discard => lane.record_refusal(&error),
    }
    if error.is_ambiguous() {
        return job.settled(match context.config.ambiguous {
            AmbiguousPolicy::Hold => dead(error),
            AmbiguousPolicy::Retry => retry_after_error(context, job, error),
        });
    }
    let is_after_recipient = (SendStage::RcptTo..=SendStage::FinalReply).contains(&error.stage);
    match error.action {
        // From the recipient on, an email may itself be the cause.
        FailureAction::PauseLane if is_after_recipient && was_working => {
            job.settled(retry_after_error(context, job, error))
        }
        FailureAction::PauseLane => job.settled(after_lane_failure(context, job, error)),
        FailureAction::Retry if error.suspicion().is_some() && !lane.is_working() => {
            job.settled(after_lane_failure(context, job, error))
        }
        FailureAction::Retry if error.is_server_failure() => {
            let wait = retry_schedule::uncounted_wait(job.claimed.retrying_since, context.now());
            job.settled(uncounted(context, job, error, wait))
        }
        FailureAction::Retry | FailureAction::Discard => after_refusal(context, job, error),
    }
}

/// The settlement of an email whose lane failed: another lane may send it at once, and the attempt does not count.
pub(super) fn after_lane_failure(
    context: &DeliveryContext,
    job: &SendJob,
    error: SendError,
) -> Settlement {
    // Behind the waiting emails: an email that makes a relay hang up must not be first every time.
    uncounted(context, job, error, Duration::ZERO)
}

/// Retries an email after `wait` without counting the attempt, unless the email is too old.
fn uncounted(
    context: &DeliveryContext,
    job: &SendJob,
    error: SendError,
    wait: Duration,
) -> Settlement {
    let now = context.now();
    if now > job.claimed.retrying_since + retry_schedule::GIVE_UP_AFTER {
        return dead(error);
    }
    Settlement::Deferred {
        next_attempt_at: now + wait,
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

//! The rules for SMTP replies, and for missing ones: what each means for the email and for its address.
//!
//! The stage decides first. A 5xx before the recipient was named concerns the lane and not the message: otherwise one
//! wrong password would discard a whole queue. `docs/delivery.md` has the same rules as a table.

use crate::domain::enhanced_code::EnhancedCode;
use crate::domain::masking::masked;
use crate::mail::retry_hint;
use crate::mail::send_error::{FailureAction, RefusalReason, SendError, SendStage};

impl SendError {
    /// A reply that ends the attempt.
    pub(crate) fn reply(stage: SendStage, code: u16, text: &str) -> Self {
        let enhanced_code = EnhancedCode::parse(text);
        let is_temporary = (400..500).contains(&code);
        Self {
            action: action_for(stage, code, enhanced_code),
            stage,
            reply_code: Some(code),
            enhanced_code,
            text: masked(text),
            retry_after: is_temporary.then(|| retry_hint::find(text)).flatten(),
            is_misconfiguration: stage <= SendStage::MailFrom
                && matches!(code, 530 | 534 | 535 | 538),
            refusal_reason: reason_for(stage, code, enhanced_code, text),
        }
    }

    /// A positive reply that does not belong to the command: client and server are out of step.
    pub(crate) fn out_of_step(stage: SendStage, code: u16, text: &str) -> Self {
        Self {
            reply_code: Some(code),
            ..Self::broken(stage, &format!("unexpected reply: {text}"))
        }
    }

    /// The server did not reply in time.
    pub(crate) fn timed_out(stage: SendStage) -> Self {
        Self::fault(action_without_reply(stage), stage, "no reply in time")
    }

    /// The server's reply is not UTF-8.
    pub(crate) fn garbled(stage: SendStage) -> Self {
        Self::fault(
            action_without_reply(stage),
            stage,
            "the reply is not UTF-8 text",
        )
    }

    /// The server closed the connection or sent something that is not SMTP.
    pub(crate) fn broken(stage: SendStage, text: &str) -> Self {
        let action = if stage == SendStage::FinalReply {
            FailureAction::Retry
        } else {
            FailureAction::PauseLane
        };
        Self::fault(action, stage, text)
    }
}

fn action_for(stage: SendStage, code: u16, enhanced: Option<EnhancedCode>) -> FailureAction {
    if stage < SendStage::RcptTo || code == 421 {
        return FailureAction::PauseLane;
    }
    match (code, enhanced) {
        // A full mailbox may be emptied. A bare 552 means a full mailbox; 552 5.3.4 means that the message is too big.
        (500..=599, Some(EnhancedCode(5, 2, 2))) | (552, None) => FailureAction::Retry,
        (500..=599, _) => FailureAction::Discard,
        _ => FailureAction::Retry,
    }
}

/// An address that is classified as unknown or disabled gets no further email. So that needs an enhanced code, at RCPT
/// or after the final dot, in a text that does not blame the sender.
fn reason_for(
    stage: SendStage,
    code: u16,
    enhanced: Option<EnhancedCode>,
    text: &str,
) -> RefusalReason {
    if stage < SendStage::RcptTo || !(500..600).contains(&code) {
        return RefusalReason::None;
    }
    let is_about_recipient = matches!(stage, SendStage::RcptTo | SendStage::FinalReply);
    match (code, enhanced) {
        (_, Some(EnhancedCode(5, 2, 2))) | (552, None) => RefusalReason::MailboxFull,
        (_, Some(EnhancedCode(5, 1, 7 | 8) | EnhancedCode(5, 7, _))) | (550 | 551 | 553, None) => {
            RefusalReason::Policy
        }
        (_, Some(EnhancedCode(5, 1 | 2, _))) if blames_sender(text) => RefusalReason::Policy,
        (550 | 551 | 553 | 556, Some(EnhancedCode(5, 1, 0..=3 | 6 | 10))) if is_about_recipient => {
            RefusalReason::NoSuchAddress
        }
        (_, Some(EnhancedCode(5, 2, 1))) if is_about_recipient => RefusalReason::MailboxDisabled,
        (554, None | Some(EnhancedCode(5, 0 | 6, _))) if stage >= SendStage::Data => {
            RefusalReason::Policy
        }
        _ => RefusalReason::Other,
    }
}

/// Whether a reply with the code of a bad recipient speaks of the sender or of too much email instead.
///
/// Postfix replies 5.1.0 to an unknown sender, at RCPT. Google replies 5.2.1 to too much email at once.
fn blames_sender(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["sender", "at a rate", "too quickly", "too many"]
        .iter()
        .any(|words| text.contains(words))
}

/// From RCPT on a missing reply costs an attempt: a message that makes the relay stall must not pause its lane again
/// and again.
fn action_without_reply(stage: SendStage) -> FailureAction {
    match stage {
        SendStage::RcptTo | SendStage::Data | SendStage::FinalReply => FailureAction::Retry,
        _ => FailureAction::PauseLane,
    }
}

#[cfg(test)]
#[path = "reply_rules_tests.rs"]
mod tests;

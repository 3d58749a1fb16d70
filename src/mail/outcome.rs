//! What can happen to a mail on its way, and what that means for it.
//!
//! A reply is judged by the stage it comes at: a 5xx before the recipient was named concerns the lane, not the
//! message, or one wrong password would discard a whole queue. Texts kept here never hold an address. When to try
//! again is not decided here; what the server asked for is handed on.

use std::time::Duration;

use super::retry_hint;

pub use crate::domain::enhanced_code::EnhancedCode;
pub(super) use crate::domain::masking::masked;

/// Postmark's code for a recipient it has marked as inactive (<https://postmarkapp.com/developer/api/overview>).
pub(super) const INACTIVE_RECIPIENT: u16 = 406;

/// The relay, or the folder, took the mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What the server said to it, such as its queue id; addresses masked.
    pub reply: String,
}

/// What becomes of a message after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// This message may be tried again later, at the price of an attempt.
    Retry,
    /// This message will not be taken, however often it is tried.
    Discard,
    /// The message was not judged. The lane rests, the attempt does not count.
    LaneDown,
}

/// How far the conversation had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Finding and reaching the relay.
    Connect,
    /// Agreeing on TLS.
    Tls,
    /// The server's greeting and EHLO.
    Greeting,
    /// AUTH.
    Auth,
    /// MAIL FROM, and the RSET that may precede it.
    MailFrom,
    /// RCPT TO.
    RcptTo,
    /// DATA.
    Data,
    /// The message itself, before its final dot was sent.
    Body,
    /// The reply to the message. Without one, nobody knows whether it was taken.
    FinalReply,
    /// Writing a file.
    File,
    /// The answer of an HTTP provider: to the whole call or to one mail in it.
    Provider,
}

/// What a refusal says about the address, besides what becomes of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing: no reply, one that another day may change, or one that concerns the lane.
    None,
    /// Nobody has this address: 550, 551, 553 or 556 with 5.1.0, .1, .2, .3, .6 or .10. Mail to it only does harm.
    NoSuchAddress,
    /// The mailbox is there and shut: 5.2.1. Mail to it only does harm.
    MailboxDisabled,
    /// The mailbox takes nothing more for now: 5.2.2, or 552 without an enhanced code.
    MailboxFull,
    /// The server will not have this mail: 5.7.x, 554 to the message, or a refusal that does not say why. Many of
    /// these in a row are the sender's fault and not the recipients'.
    Policy,
    /// Any other permanent refusal, such as a message that is too big.
    Other,
}

/// Why a mail was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stage:?}: {text}")]
pub struct SendError {
    /// What becomes of the message.
    pub fate: Fate,
    /// Where the conversation ended.
    pub stage: Stage,
    /// The server's reply code, if it gave one.
    pub reply_code: Option<u16>,
    /// The enhanced status code in the reply, if there was one.
    pub enhanced_code: Option<EnhancedCode>,
    /// What the server said, addresses masked and cut; or a fixed sentence.
    pub text: String,
    /// How long the server asked to be spared, if it said so with a number; a day at most.
    pub retry_after: Option<Duration>,
    /// What a new attempt cannot mend and somebody has to; see [`SendError::is_misconfiguration`].
    is_misconfigured: bool,
    /// See [`SendError::verdict`]; read before the text was cut.
    verdict: Verdict,
}

impl SendError {
    /// A failure that no reply describes.
    pub(super) fn fault(fate: Fate, stage: Stage, text: &str) -> Self {
        Self {
            fate,
            stage,
            reply_code: None,
            enhanced_code: None,
            text: masked(text),
            retry_after: None,
            is_misconfigured: false,
            verdict: Verdict::None,
        }
    }

    /// A failure that repeats itself until somebody changes a setting or a certificate.
    pub(super) fn misconfigured(stage: Stage, text: &str) -> Self {
        Self {
            is_misconfigured: true,
            ..Self::fault(Fate::LaneDown, stage, text)
        }
    }

    /// A reply that ends the attempt.
    pub(super) fn reply(stage: Stage, code: u16, text: &str) -> Self {
        let enhanced_code = EnhancedCode::parse(text);
        Self {
            fate: fate_of_reply(stage, code, enhanced_code),
            stage,
            reply_code: Some(code),
            enhanced_code,
            text: masked(text),
            retry_after: (400..500)
                .contains(&code)
                .then(|| retry_hint::find(text))
                .flatten(),
            is_misconfigured: stage <= Stage::MailFrom && matches!(code, 530 | 534 | 535 | 538),
            verdict: verdict_of_reply(stage, code, enhanced_code, text),
        }
    }

    /// A positive reply, but not the one that belongs here: the conversation is out of step.
    pub(super) fn out_of_step(stage: Stage, code: u16, text: &str) -> Self {
        Self {
            reply_code: Some(code),
            ..Self::broken(stage, &format!("unexpected reply: {text}"))
        }
    }

    /// A provider's no: its HTTP status for a whole call, its own code for one mail, or no code at all.
    pub(super) fn provider(fate: Fate, code: Option<u16>, text: &str) -> Self {
        Self {
            reply_code: code,
            ..Self::fault(fate, Stage::Provider, text)
        }
    }

    /// The server did not answer in time.
    pub(super) fn timed_out(stage: Stage) -> Self {
        Self::fault(fate_of_silence(stage), stage, "no reply in time")
    }

    /// The server's reply could not be read.
    pub(super) fn garbled(stage: Stage) -> Self {
        Self::fault(fate_of_silence(stage), stage, "the reply is not text")
    }

    /// The server hung up or spoke nonsense.
    pub(super) fn broken(stage: Stage, text: &str) -> Self {
        let fate = if stage == Stage::FinalReply {
            Fate::Retry
        } else {
            Fate::LaneDown
        };
        Self::fault(fate, stage, text)
    }

    /// Whether the mail may have been accepted all the same: it was sent whole and no reply says no.
    #[must_use]
    pub fn is_ambiguous(&self) -> bool {
        self.stage == Stage::FinalReply && self.reply_code.is_none_or(|code| code < 400)
    }

    /// Whether the provider writes to this address no more, because mail to it bounced or its reader complained.
    #[must_use]
    pub fn is_inactive_recipient(&self) -> bool {
        self.stage == Stage::Provider
            && self.fate == Fate::Discard
            && self.reply_code == Some(INACTIVE_RECIPIENT)
    }

    /// What the refusal says about the address.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Whether somebody has to be told at once, because waiting mends nothing: a password that is wrong or missing
    /// (530, 534, 535, 538), a certificate that is not to be trusted, a relay without the encryption it must have.
    #[must_use]
    pub fn is_misconfiguration(&self) -> bool {
        self.is_misconfigured
    }

    /// Whether the server asks for less mail: 421, 432, 4.7.x, 4.5.3, and 429 of HTTP. Greylisting comes as 4.7.1 too, and
    /// is about the one recipient.
    #[must_use]
    pub fn is_throttle(&self) -> bool {
        matches!(self.reply_code, Some(421 | 429 | 432))
            || matches!(
                self.enhanced_code,
                Some(EnhancedCode(4, 7, _) | EnhancedCode(4, 5, 3))
            ) && !retry_hint::is_greylisting(&self.text)
    }
}

/// The table of `delivery`: fate by stage, code and enhanced code.
fn fate_of_reply(stage: Stage, code: u16, enhanced: Option<EnhancedCode>) -> Fate {
    if stage < Stage::RcptTo || code == 421 {
        return Fate::LaneDown;
    }
    match (code, enhanced) {
        // A full mailbox is emptied some day. A bare 552 means that; 552 5.3.4 says the message is too big.
        (500..=599, Some(EnhancedCode(5, 2, 2))) | (552, None) => Fate::Retry,
        (500..=599, _) => Fate::Discard,
        _ => Fate::Retry,
    }
}

/// The table of `delivery` once more: what the same reply says about the address.
///
/// Whoever is called unknown or disabled here gets no mail any more, so nothing is guessed: it takes the enhanced code,
/// at RCPT or after the final dot, in a text that does not blame somebody else.
fn verdict_of_reply(
    stage: Stage,
    code: u16,
    enhanced: Option<EnhancedCode>,
    text: &str,
) -> Verdict {
    if stage < Stage::RcptTo || !(500..600).contains(&code) {
        return Verdict::None;
    }
    let is_about_recipient = matches!(stage, Stage::RcptTo | Stage::FinalReply);
    match (code, enhanced) {
        (_, Some(EnhancedCode(5, 2, 2))) | (552, None) => Verdict::MailboxFull,
        (_, Some(EnhancedCode(5, 1, 7 | 8) | EnhancedCode(5, 7, _))) | (550 | 551 | 553, None) => {
            Verdict::Policy
        }
        (_, Some(EnhancedCode(5, 1 | 2, _))) if blames_sender(text) => Verdict::Policy,
        (550 | 551 | 553 | 556, Some(EnhancedCode(5, 1, 0..=3 | 6 | 10))) if is_about_recipient => {
            Verdict::NoSuchAddress
        }
        (_, Some(EnhancedCode(5, 2, 1))) if is_about_recipient => Verdict::MailboxDisabled,
        (554, None | Some(EnhancedCode(5, 0 | 6, _))) if stage >= Stage::Data => Verdict::Policy,
        _ => Verdict::Other,
    }
}

/// Whether a reply that bears the code of a bad recipient speaks of the sender or of too much mail instead.
///
/// Postfix calls an unknown sender 5.1.0 and says so at RCPT; Google calls too much mail at once 5.2.1.
fn blames_sender(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["sender", "at a rate", "too quickly", "too many"]
        .iter()
        .any(|words| text.contains(words))
}

/// The fate where the server is there but its judgement is not known.
///
/// From RCPT on that costs an attempt: a mail the relay stalls on must not hold a lane for ever.
fn fate_of_silence(stage: Stage) -> Fate {
    match stage {
        Stage::RcptTo | Stage::Data | Stage::FinalReply => Fate::Retry,
        _ => Fate::LaneDown,
    }
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;

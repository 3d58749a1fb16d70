//! What can happen to a mail on its way, and what that means for it.
//!
//! A reply is judged by the stage it comes at: a 5xx before the recipient was named concerns the lane, not the
//! message, or one wrong password would discard a whole queue. Texts kept here never hold an address. When to try
//! again is not decided here.

pub use crate::domain::enhanced_code::EnhancedCode;
pub(super) use crate::domain::masking::masked;

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
        }
    }

    /// A positive reply, but not the one that belongs here: the conversation is out of step.
    pub(super) fn out_of_step(stage: Stage, code: u16, text: &str) -> Self {
        Self {
            reply_code: Some(code),
            ..Self::broken(stage, &format!("unexpected reply: {text}"))
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

    /// Whether the server asks for less mail: 421, 432, 4.7.x, 4.5.3.
    #[must_use]
    pub fn is_throttle(&self) -> bool {
        matches!(self.reply_code, Some(421 | 432))
            || matches!(
                self.enhanced_code,
                Some(EnhancedCode(4, 7, _) | EnhancedCode(4, 5, 3))
            )
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
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_judged_by_stage_and_code() {
        use Fate::{Discard, LaneDown, Retry};
        let cases = [
            (Stage::Greeting, 554, "no", LaneDown),
            (Stage::Auth, 535, "5.7.8 bad credentials", LaneDown),
            (Stage::MailFrom, 550, "5.7.1 no", LaneDown),
            (Stage::MailFrom, 451, "4.3.0 later", LaneDown),
            (Stage::RcptTo, 421, "4.7.0 closing", LaneDown),
            (Stage::FinalReply, 421, "closing", LaneDown),
            (Stage::RcptTo, 450, "4.2.0 greylisted", Retry),
            (Stage::RcptTo, 452, "4.5.3 too many", Retry),
            (Stage::RcptTo, 550, "5.1.1 no such user", Discard),
            (Stage::RcptTo, 552, "5.2.2 full", Retry),
            (Stage::RcptTo, 552, "full", Retry),
            (Stage::FinalReply, 554, "5.2.2 full", Retry),
            (Stage::FinalReply, 552, "5.3.4 too big", Discard),
            (Stage::Data, 503, "bad sequence", Discard),
            (Stage::FinalReply, 554, "5.7.1 spam", Discard),
            (Stage::FinalReply, 451, "4.7.1 later", Retry),
        ];
        for (stage, code, text, fate) in cases {
            let error = SendError::reply(stage, code, text);
            assert_eq!(error.fate, fate, "{stage:?} {code} {text}");
            assert!(!error.is_ambiguous());
        }
    }

    #[test]
    fn silence_is_ambiguous_only_after_the_final_dot() {
        let before = SendError::broken(Stage::Body, "gone");
        let after = SendError::broken(Stage::FinalReply, "gone");
        assert_eq!(
            (before.fate, before.is_ambiguous()),
            (Fate::LaneDown, false)
        );
        assert_eq!((after.fate, after.is_ambiguous()), (Fate::Retry, true));
        let odd = SendError::out_of_step(Stage::FinalReply, 354, "go on");
        assert_eq!((odd.fate, odd.is_ambiguous()), (Fate::Retry, true));
        let silent = SendError::timed_out(Stage::RcptTo);
        assert_eq!((silent.fate, silent.is_ambiguous()), (Fate::Retry, false));
    }

    #[test]
    fn throttling_is_told_from_other_refusals() {
        let is_throttle = |code, text| SendError::reply(Stage::RcptTo, code, text).is_throttle();
        assert!(is_throttle(421, "bye"));
        assert!(is_throttle(450, "4.7.28 rate"));
        assert!(is_throttle(452, "4.5.3 too many recipients"));
        assert!(!is_throttle(450, "4.2.0 greylisted"));
        assert!(!is_throttle(550, "5.7.1 policy"));
    }
}

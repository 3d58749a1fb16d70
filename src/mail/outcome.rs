//! What can happen to a mail on its way, and what that means for it.
//!
//! A reply is judged by the stage it comes at: a 5xx before the recipient was named concerns the lane, not the
//! message, or one wrong password would discard a whole queue. Texts kept here never hold an address. When to try
//! again is not decided here.

/// Longest kept text of a reply, in characters.
pub const REPLY_CHARS_MAX: usize = 300;
/// Postmark's code for a recipient it has marked as inactive (<https://postmarkapp.com/developer/api/overview>).
pub(super) const INACTIVE_RECIPIENT: u16 = 406;
/// What stands where a reply named an address.
const ADDRESS_MASK: &str = "[address]";

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

/// An enhanced status code (RFC 3463): class, subject, detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnhancedCode(pub u16, pub u16, pub u16);

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
    /// What the server said, addresses masked and cut to [`REPLY_CHARS_MAX`]; or a fixed sentence.
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

    /// Whether the server asks for less mail: 421, 432, 4.7.x, 4.5.3, and 429 of HTTP.
    #[must_use]
    pub fn is_throttle(&self) -> bool {
        matches!(self.reply_code, Some(421 | 429 | 432))
            || matches!(
                self.enhanced_code,
                Some(EnhancedCode(4, 7, _) | EnhancedCode(4, 5, 3))
            )
    }
}

impl EnhancedCode {
    /// Reads the code a reply text begins with.
    fn parse(text: &str) -> Option<Self> {
        let word = text.split_whitespace().next()?;
        let mut numbers = word.split('.').map(|part| part.parse::<u16>().ok());
        let code = Self(numbers.next()??, numbers.next()??, numbers.next()??);
        (numbers.next().is_none() && matches!(code.0, 2 | 4 | 5)).then_some(code)
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

/// Masks what looks like an address, turns control characters to spaces and cuts.
pub(super) fn masked(text: &str) -> String {
    let is_delimiter = |character: char| {
        character.is_whitespace() || character.is_control() || "<>()[]\",;:\\".contains(character)
    };
    let mut kept = String::with_capacity(text.len());
    for piece in text.split_inclusive(is_delimiter) {
        let word = piece.trim_end_matches(is_delimiter);
        // A link in a reply ("to unblock, see ...") carries the address percent-encoded.
        if word.contains('@') || word.to_ascii_lowercase().contains("%40") {
            kept.push_str(ADDRESS_MASK);
        } else {
            kept.push_str(word);
        }
        kept.extend(piece[word.len()..].chars().map(|delimiter| {
            if delimiter.is_control() {
                ' '
            } else {
                delimiter
            }
        }));
    }
    super::untrusted::truncate(kept.trim(), REPLY_CHARS_MAX)
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

    #[test]
    fn replies_lose_addresses_control_characters_and_length() {
        let cases = [
            (
                "5.1.1 <Alice.O'x+t@Example.com>: unknown",
                "5.1.1 <[address]>: unknown",
            ),
            (
                "see https://r.example/u?a=alice%40example.com",
                "see https:[address]",
            ),
            ("a\r\n\u{1b}[31mred", "a   [31mred"),
            ("2.0.0 Ok: queued as 4Fx", "2.0.0 Ok: queued as 4Fx"),
        ];
        for (text, expected) in cases {
            assert_eq!(masked(text), expected, "{text:?}");
        }
        assert_eq!(masked(&"x".repeat(5_000)).chars().count(), REPLY_CHARS_MAX);
    }
}

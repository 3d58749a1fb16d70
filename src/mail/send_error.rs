//! Why an email was not accepted, and what the caller should do about it.
//!
//! Texts kept here never contain an email address. The caller decides when to retry; a wait that the server asked for
//! is passed on.

use std::time::Duration;

use super::retry_hint;
use crate::domain::diagnostic::EnhancedCode;
use crate::domain::masking::masked;

/// Postmark's error code for a recipient that it has marked as inactive
/// (<https://postmarkapp.com/developer/api/overview>).
pub(super) const INACTIVE_RECIPIENT: u16 = 406;

/// A relay, a provider or a folder accepted the email.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendReceipt {
    /// The server's reply, such as its queue id, with addresses masked.
    pub reply: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureAction {
    /// Retry this email later. The attempt counts.
    Retry,
    /// Give this email up: no further attempt would be accepted.
    Discard,
    /// The email was not judged: pause the lane. The attempt does not count.
    PauseLane,
}

/// How far a send had come. The SMTP stages are in the order of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SendStage {
    /// Resolving the host name and connecting.
    Connect,
    Tls,
    /// The server's greeting and EHLO.
    Greeting,
    Auth,
    /// MAIL FROM, and the RSET that may precede it.
    MailFrom,
    RcptTo,
    Data,
    /// The message, before its final dot was sent.
    Body,
    /// The reply to the message. Without a reply it is unknown whether the message was accepted.
    FinalReply,
    File,
    /// The response of an HTTP provider, to a whole call or to one email in it.
    Provider,
}

/// What a refusal says about the recipient's address, besides what to do with the email.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Nothing: there was no reply, or the refusal is temporary, or it concerns the lane.
    None,
    /// The address does not exist: 550, 551, 553 or 556 with 5.1.0, .1, .2, .3, .6 or .10. Further email to it harms
    /// the sender's reputation.
    NoSuchAddress,
    /// The mailbox exists and is disabled: 5.2.1. Further email to it harms the sender's reputation.
    MailboxDisabled,
    /// The mailbox is full: 5.2.2, or 552 without an enhanced code.
    MailboxFull,
    /// The server rejects this email: 5.7.x, 554 to the message, or a refusal without a reason. Many of these in a row
    /// are the sender's fault and not the recipients'.
    Policy,
    /// Any other permanent refusal, such as a message that is too big.
    Other,
}

/// Whom a temporary failure may concern besides its email.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suspicion {
    /// The recipient or the server.
    Unclear,
    /// The server as a whole, for every recipient: it is overloaded, out of order or silent.
    Server,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{stage:?}: {text}")]
pub struct SendError {
    pub action: FailureAction,
    pub stage: SendStage,
    pub reply_code: Option<u16>,
    /// The enhanced status code of the reply (RFC 3463), if it has one.
    pub enhanced_code: Option<EnhancedCode>,
    /// The server's words, masked and cut, or a fixed sentence.
    pub text: String,
    /// How long the server asked to wait, if its reply names a duration; at most a day.
    pub retry_after: Option<Duration>,
    /// Whether an operator must act because waiting does not help: a password that is wrong or missing (530, 534, 535,
    /// 538), an untrusted certificate, or a relay without the encryption that is required.
    pub is_misconfiguration: bool,
    /// Read from the reply before its text was cut.
    pub refusal_reason: RefusalReason,
}

impl SendError {
    /// A failure that no reply describes.
    pub(super) fn fault(action: FailureAction, stage: SendStage, text: &str) -> Self {
        Self {
            action,
            stage,
            reply_code: None,
            enhanced_code: None,
            text: masked(text),
            retry_after: None,
            is_misconfiguration: false,
            refusal_reason: RefusalReason::None,
        }
    }

    /// A failure that repeats until an operator changes a setting or a certificate.
    pub(super) fn misconfigured(stage: SendStage, text: &str) -> Self {
        Self {
            is_misconfiguration: true,
            ..Self::fault(FailureAction::PauseLane, stage, text)
        }
    }

    /// A provider's refusal. The code is the HTTP status of a whole call, the provider's own code for one email, or
    /// missing.
    pub(super) fn provider(action: FailureAction, code: Option<u16>, text: &str) -> Self {
        Self {
            reply_code: code,
            ..Self::fault(action, SendStage::Provider, text)
        }
    }

    /// Whether the email may have been accepted in spite of the failure: it was sent whole and no reply refused it.
    pub fn is_ambiguous(&self) -> bool {
        self.stage == SendStage::FinalReply && self.reply_code.is_none_or(|code| code < 400)
    }

    /// Whether the provider no longer sends to this address, because an email to it bounced or its reader complained.
    pub fn is_inactive_recipient(&self) -> bool {
        self.stage == SendStage::Provider
            && self.action == FailureAction::Discard
            && self.reply_code == Some(INACTIVE_RECIPIENT)
    }

    /// Whether the server asks for a lower rate: 432, 4.7.x, 4.5.3, and HTTP 429. Greylisting also uses 4.7.1, but
    /// concerns one recipient only. A 421 closes its connection, and asks for a lower rate only if it is repeated: see
    /// [`is_policy_closing`](Self::is_policy_closing).
    pub fn is_throttle(&self) -> bool {
        let is_asking = matches!(
            self.enhanced_code,
            Some(EnhancedCode(4, 7, _) | EnhancedCode(4, 5, 3))
        ) && !retry_hint::is_greylisting(&self.text);
        self.reply_code != Some(421) && (is_asking || matches!(self.reply_code, Some(429 | 432)))
    }

    /// Whether the server closed a new connection for a reason of policy, after MAIL FROM was sent: 421 with 4.7.x.
    /// Large providers limit rates in this way, but one such reply may only end a connection. A server that closes the
    /// connection earlier limits connections and not emails.
    pub fn is_policy_closing(&self) -> bool {
        self.reply_code == Some(421)
            && matches!(self.enhanced_code, Some(EnhancedCode(4, 7, _)))
            && (SendStage::MailFrom..=SendStage::FinalReply).contains(&self.stage)
    }

    /// Whether the server could send no email now: 4.3.x, or 451 and 452 without an enhanced code. Such a failure does
    /// not count as an attempt of its email. 4.3.4 concerns a message that is too big.
    pub fn is_server_failure(&self) -> bool {
        self.action == FailureAction::Retry
            && match (self.reply_code, self.enhanced_code) {
                (Some(_), Some(EnhancedCode(4, 3, detail))) => detail != 4,
                (Some(451 | 452), None) => !self.is_delay(),
                _ => false,
            }
    }

    /// Whom a temporary failure concerns; `None` if the server judged the email, also if only to delay it.
    pub fn suspicion(&self) -> Option<Suspicion> {
        let is_refusal =
            self.reply_code.is_some_and(|code| code >= 500) && self.stage != SendStage::Provider;
        if self.action != FailureAction::Retry || is_refusal {
            return None;
        }
        let is_silent = self.reply_code.is_none() && self.stage != SendStage::Provider;
        if is_silent || self.is_throttle() || self.is_server_failure() {
            return Some(Suspicion::Server);
        }
        (!self.is_delay()).then_some(Suspicion::Unclear)
    }

    /// Whether the server delays this email on purpose, as greylisting does.
    fn is_delay(&self) -> bool {
        self.retry_after.is_some() || retry_hint::is_greylisting(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_closed_for_policy_differs_from_one_that_is_refused() {
        let is_policy_closing = |stage, code, enhanced_code| {
            let error = SendError {
                reply_code: Some(code),
                enhanced_code,
                ..SendError::fault(FailureAction::PauseLane, stage, "closing")
            };
            assert!(!error.is_throttle() || code != 421, "one 421 is free");
            error.is_policy_closing()
        };
        for stage in [
            SendStage::MailFrom,
            SendStage::RcptTo,
            SendStage::Data,
            SendStage::FinalReply,
        ] {
            for detail in [0, 28] {
                let policy = Some(EnhancedCode(4, 7, detail));
                assert!(is_policy_closing(stage, 421, policy), "{stage:?}");
                assert!(!is_policy_closing(stage, 450, policy), "{stage:?}");
            }
            let other = Some(EnhancedCode(4, 3, 2));
            assert!(!is_policy_closing(stage, 421, other), "{stage:?}");
            assert!(!is_policy_closing(stage, 421, None), "{stage:?}");
        }
        for stage in [SendStage::Greeting, SendStage::Auth, SendStage::Provider] {
            let policy = Some(EnhancedCode(4, 7, 0));
            assert!(!is_policy_closing(stage, 421, policy), "{stage:?}");
        }
    }
}

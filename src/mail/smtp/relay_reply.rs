//! What `lettre` read from a relay, or failed to read: what it means for the email, its address and the connection.
//!
//! The stage decides first. A 5xx before the recipient was named concerns the lane and not the message: otherwise one
//! wrong password would discard a whole queue. `docs/delivery.md` has the same rules as a table.

use std::error::Error as StdError;
use std::io;

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::response::Response;
use tokio::time::error::Elapsed;
use tokio_rustls::rustls;

use crate::domain::diagnostic::EnhancedCode;
use crate::domain::masking::masked;
use crate::mail::retry_hint;
use crate::mail::send_error::{FailureAction, RefusalReason, SendError, SendStage};

pub(crate) struct RelayFailure {
    pub(crate) error: SendError,
    pub(super) connection: ConnectionState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// Usable: the refusal was an orderly reply.
    InSync,
    /// The server closed it, or ended the conversation.
    Closed,
    /// Unusable: it is unknown which command the next reply belongs to.
    OutOfSync,
}

impl RelayFailure {
    pub(super) fn out_of_sync(error: SendError) -> Self {
        Self {
            error,
            connection: ConnectionState::OutOfSync,
        }
    }
}

/// Checks the outcome of one command. Only a reply with an expected code is a success.
pub(super) fn check(
    stage: SendStage,
    expected: &[u16],
    outcome: Result<Result<Response, SmtpError>, Elapsed>,
) -> Result<Response, RelayFailure> {
    match outcome {
        Ok(Ok(response)) => {
            check_code(stage, expected, &response)?;
            Ok(response)
        }
        Ok(Err(error)) => Err(failure_of(stage, &error)),
        Err(_) => Err(RelayFailure::out_of_sync(SendError::timed_out(stage))),
    }
}

/// Refuses a positive reply with an unexpected code. `lettre` reports negative replies as errors.
pub(crate) fn check_code(
    stage: SendStage,
    expected: &[u16],
    response: &Response,
) -> Result<(), RelayFailure> {
    let code = u16::from(response.code());
    if expected.contains(&code) {
        return Ok(());
    }
    let error = SendError::out_of_sync(stage, code, &text_of(response));
    Err(RelayFailure::out_of_sync(error))
}

/// Classifies an error of `lettre`: a negative reply, an unreadable one, or none.
pub(super) fn failure_of(stage: SendStage, error: &SmtpError) -> RelayFailure {
    let Some(code) = error.status().map(u16::from) else {
        return failure_without_reply(stage, error);
    };
    let text = error.source().map_or_else(String::new, ToString::to_string);
    let connection = if stage >= SendStage::RcptTo && code != 421 {
        ConnectionState::InSync
    } else {
        ConnectionState::OutOfSync
    };
    RelayFailure {
        error: SendError::reply(stage, code, &text),
        connection,
    }
}

fn failure_without_reply(stage: SendStage, error: &SmtpError) -> RelayFailure {
    if is_not_utf8(error) {
        return RelayFailure::out_of_sync(SendError::garbled(stage));
    }
    // `lettre` itself refuses a server that offers no authentication mechanism that it knows.
    if error.is_client() || causes(error).any(blames_certificate) {
        return RelayFailure::out_of_sync(SendError::misconfigured(stage, &innermost_cause(error)));
    }
    RelayFailure {
        error: SendError::broken(stage, &innermost_cause(error)),
        connection: ConnectionState::Closed,
    }
}

/// Whether the reply is not UTF-8. `lettre` then gives neither its text nor its code.
fn is_not_utf8(error: &SmtpError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::InvalidData)
}

/// The innermost cause, such as the fault of a certificate. The outer causes only repeat it.
fn innermost_cause(error: &SmtpError) -> String {
    if error.is_response() {
        return "the server closed the connection or sent no SMTP reply".to_owned();
    }
    let innermost = causes(error).last();
    innermost.map_or_else(String::new, ToString::to_string)
}

/// An error and its sources, outermost first.
fn causes(error: &SmtpError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    let outermost: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(outermost), |error| (*error).source())
}

/// Whether a handshake failed because of the server's certificate: its name, its issuer or its dates.
pub(super) fn blames_certificate(error: &(dyn StdError + 'static)) -> bool {
    // An `io::Error` does not report the error that it wraps as its source.
    error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|wrapped| wrapped.downcast_ref::<rustls::Error>())
        .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)))
}

pub(crate) fn text_of(response: &Response) -> String {
    response.message().collect::<Vec<_>>().join(" ")
}

impl SendError {
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

    /// A positive reply that does not belong to the command: client and server are out of sync.
    pub(crate) fn out_of_sync(stage: SendStage, code: u16, text: &str) -> Self {
        Self {
            reply_code: Some(code),
            ..Self::broken(stage, &format!("unexpected reply: {text}"))
        }
    }

    pub(crate) fn timed_out(stage: SendStage) -> Self {
        Self::fault(action_without_reply(stage), stage, "no reply in time")
    }

    pub(crate) fn garbled(stage: SendStage) -> Self {
        let text = "the reply is not UTF-8 text";
        Self::fault(action_without_reply(stage), stage, text)
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
        (550 | 551 | 553 | 556, Some(code)) if is_about_recipient && code.is_unknown_mailbox() => {
            RefusalReason::NoSuchAddress
        }
        (_, Some(code)) if is_about_recipient && code.is_disabled_mailbox() => {
            RefusalReason::MailboxDisabled
        }
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
#[path = "relay_reply_tests.rs"]
mod tests;

//! What a reply, or its absence, says about a step of the conversation and about the connection.
//!
//! `lettre` reads replies; here they become a [`SendError`], judged by the stage they came at, and a word on whether the
//! connection is still in step. Nothing is written or read here.

use std::error::Error as _;
use std::io;

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::response::Response;
use tokio::time::error::Elapsed;
use tokio_rustls::rustls;

use super::outcome::{SendError, Stage};

/// A mail that was not accepted, and what is left of the connection.
pub(super) struct Failure {
    pub(super) error: SendError,
    pub(super) left: Left,
}

/// What is left of a connection after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// It can go on: the refusal was an orderly reply.
    InStep,
    /// The server hung up.
    HungUp,
    /// Nobody knows which reply comes next.
    OutOfStep,
}

pub(super) fn settle(
    stage: Stage,
    expected: &[u16],
    outcome: Result<Result<Response, SmtpError>, Elapsed>,
) -> Result<Response, Failure> {
    match outcome {
        Ok(Ok(response)) => {
            expect(stage, expected, &response)?;
            Ok(response)
        }
        Ok(Err(error)) => Err(judge(stage, &error)),
        Err(_) => Err(Failure {
            error: SendError::timed_out(stage),
            left: Left::OutOfStep,
        }),
    }
}

pub(super) fn expect(stage: Stage, expected: &[u16], response: &Response) -> Result<(), Failure> {
    let code = u16::from(response.code());
    if expected.contains(&code) {
        return Ok(());
    }
    Err(Failure {
        error: SendError::out_of_step(stage, code, &text_of(response)),
        left: Left::OutOfStep,
    })
}

pub(super) fn judge(stage: Stage, error: &SmtpError) -> Failure {
    let Some(code) = error.status().map(u16::from) else {
        return if is_garbled(error) {
            Failure {
                error: SendError::garbled(stage),
                left: Left::OutOfStep,
            }
        } else if error.is_client() || causes(error).any(blames_certificate) {
            // `lettre` refuses by itself where the server takes no password in a way it knows.
            Failure {
                error: SendError::misconfigured(stage, &cause_of(error)),
                left: Left::OutOfStep,
            }
        } else {
            Failure {
                error: SendError::broken(stage, &cause_of(error)),
                left: Left::HungUp,
            }
        };
    };
    let text = error.source().map_or_else(String::new, ToString::to_string);
    let error = SendError::reply(stage, code, &text);
    let left = if stage >= Stage::RcptTo && code != 421 {
        Left::InStep
    } else {
        Left::OutOfStep
    };
    Failure { error, left }
}

/// Whether a reply came that is not UTF-8: `lettre` then shows neither text nor code.
fn is_garbled(error: &SmtpError) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}

/// The innermost cause, such as what is wrong with a certificate; the layers above it only repeat themselves.
fn cause_of(error: &SmtpError) -> String {
    if error.is_response() {
        return "the server hung up or sent no SMTP reply".to_owned();
    }
    causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

type Cause<'a> = &'a (dyn std::error::Error + 'static);

/// An error and what it came from, outermost first.
fn causes(error: &SmtpError) -> impl Iterator<Item = Cause<'_>> {
    fn source<'a>(error: &Cause<'a>) -> Option<Cause<'a>> {
        let error: Cause<'a> = *error;
        error.source()
    }
    std::iter::successors(Some(error as Cause<'_>), source)
}

/// Whether a handshake failed because of whom the server's certificate names, who signed it, or when it ends.
pub(super) fn blames_certificate(error: Cause<'_>) -> bool {
    // What an I/O error wraps is not its source but the one before.
    error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
        .and_then(|wrapped| wrapped.downcast_ref::<rustls::Error>())
        .is_some_and(|error| matches!(error, rustls::Error::InvalidCertificate(_)))
}

pub(super) fn text_of(response: &Response) -> String {
    response.message().collect::<Vec<_>>().join(" ")
}

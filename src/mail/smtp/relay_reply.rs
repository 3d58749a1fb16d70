//! Turns what `lettre` read from a relay, or failed to read, into a [`SendError`] and the state of the connection.

use std::error::Error as StdError;
use std::io;

use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::response::Response;
use tokio::time::error::Elapsed;
use tokio_rustls::rustls;

use crate::mail::send_error::{SendError, SendStage};

/// An email that was not accepted, and whether its connection can still be used.
pub(crate) struct RelayFailure {
    pub(crate) error: SendError,
    pub(super) connection: ConnectionState,
}

/// The state of a connection after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionState {
    /// Usable: the refusal was an orderly reply.
    InStep,
    /// The server closed it.
    Closed,
    /// Unusable: it is unknown which command the next reply belongs to.
    OutOfStep,
}

impl RelayFailure {
    pub(super) fn out_of_step(error: SendError) -> Self {
        Self {
            error,
            connection: ConnectionState::OutOfStep,
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
        Err(_) => Err(RelayFailure::out_of_step(SendError::timed_out(stage))),
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
    let error = SendError::out_of_step(stage, code, &text_of(response));
    Err(RelayFailure::out_of_step(error))
}

/// Classifies an error of `lettre`: a negative reply, an unreadable one, or none.
pub(super) fn failure_of(stage: SendStage, error: &SmtpError) -> RelayFailure {
    let Some(code) = error.status().map(u16::from) else {
        return failure_without_reply(stage, error);
    };
    let text = error.source().map_or_else(String::new, ToString::to_string);
    let connection = if stage >= SendStage::RcptTo && code != 421 {
        ConnectionState::InStep
    } else {
        ConnectionState::OutOfStep
    };
    RelayFailure {
        error: SendError::reply(stage, code, &text),
        connection,
    }
}

fn failure_without_reply(stage: SendStage, error: &SmtpError) -> RelayFailure {
    if is_not_utf8(error) {
        return RelayFailure::out_of_step(SendError::garbled(stage));
    }
    // `lettre` itself refuses a server that offers no authentication mechanism that it knows.
    if error.is_client() || causes(error).any(blames_certificate) {
        return RelayFailure::out_of_step(SendError::misconfigured(stage, &innermost_cause(error)));
    }
    RelayFailure {
        error: SendError::broken(stage, &innermost_cause(error)),
        connection: ConnectionState::Closed,
    }
}

/// Whether the reply is not UTF-8. `lettre` then gives neither its text nor its code.
fn is_not_utf8(error: &SmtpError) -> bool {
    error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::InvalidData)
}

/// The innermost cause, such as the fault of a certificate. The outer causes only repeat it.
fn innermost_cause(error: &SmtpError) -> String {
    if error.is_response() {
        return "the server closed the connection or sent no SMTP reply".to_owned();
    }
    causes(error)
        .last()
        .map_or_else(String::new, ToString::to_string)
}

type Cause<'a> = &'a (dyn StdError + 'static);

/// An error and its sources, outermost first.
fn causes(error: &SmtpError) -> impl Iterator<Item = Cause<'_>> {
    fn source<'a>(error: &Cause<'a>) -> Option<Cause<'a>> {
        let error: Cause<'a> = *error;
        error.source()
    }
    std::iter::successors(Some(error as Cause<'_>), source)
}

/// Whether a handshake failed because of the server's certificate: its name, its issuer or its dates.
pub(super) fn blames_certificate(error: Cause<'_>) -> bool {
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

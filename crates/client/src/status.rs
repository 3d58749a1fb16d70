//! A refused call in words: the code, the sentence, the reason, every violation, and what to do about it.
//!
//! It only reads statuses. Whether a call is made again is decided in `retry`.

use std::fmt::Write as _;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::visible::visible;
use crate::proto::ErrorReason;
use invitations_command::error::CommandError;
use invitations_command::server::ServerArgs;

/// What tonic's client says of a call that it ended itself, under the code CANCELLED.
const LOCAL_TIMEOUT: &str = "Timeout expired";

/// The failure of a command whose call was refused.
#[must_use]
pub fn refused(call: &str, server: &ServerArgs, status: &Status) -> CommandError {
    CommandError::Refused(describe(call, server, status))
}

/// A refused call in several lines, without a line break at the end.
#[must_use]
pub fn describe(call: &str, server: &ServerArgs, status: &Status) -> String {
    let details = status.get_error_details();
    let mut text = format!("{call} failed: {}", summary_with(status, &details));
    for violation in details
        .bad_request()
        .iter()
        .flat_map(|it| &it.field_violations)
    {
        let _ = write!(
            text,
            "\n  {}: {}{}",
            visible(&violation.field),
            visible(&violation.description),
            parenthesized(&violation.reason),
        );
    }
    for violation in details
        .precondition_failure()
        .iter()
        .flat_map(|it| &it.violations)
    {
        let _ = write!(
            text,
            "\n  {}: {}",
            visible(&violation.subject),
            visible(&violation.description)
        );
    }
    for violation in details.quota_failure().iter().flat_map(|it| &it.violations) {
        let _ = write!(
            text,
            "\n  {}: {}",
            visible(&violation.subject),
            visible(&violation.description)
        );
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        let _ = write!(
            text,
            "\n  may be tried again in {:.1} s",
            delay.as_secs_f64()
        );
    }
    if let Some(hint) = hint(server, status, &details) {
        let _ = write!(text, "\n  {hint}");
    }
    text
}

/// A refused call in one line: code, reason and sentence.
#[must_use]
pub fn summary(status: &Status) -> String {
    summary_with(status, &status.get_error_details())
}

/// Whether the call's time ran out, be it the server or this side that noticed.
#[must_use]
pub fn is_timeout(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || (status.code() == Code::Cancelled && status.message() == LOCAL_TIMEOUT)
}

/// A reason as it travels in `ErrorInfo`: `EMAIL_INVALID`. One from a newer service shows as its number.
#[must_use]
pub fn reason_name(reason: i32) -> String {
    ErrorReason::try_from(reason).map_or_else(
        |_| format!("REASON_{reason}"),
        |known| short_name(known.as_str_name(), "ERROR_REASON_"),
    )
}

/// The name of an enum value without the prefix that the proto's style asks for.
#[must_use]
pub fn short_name(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_owned()
}

/// The code as the gRPC documents spell it.
#[must_use]
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

fn summary_with(status: &Status, details: &ErrorDetails) -> String {
    if is_timeout(status) && status.code() == Code::Cancelled {
        return "DEADLINE_EXCEEDED: no answer in time".to_owned();
    }
    let reason = details.error_info().map_or("", |info| info.reason.as_str());
    let space = if reason.is_empty() { "" } else { " " };
    format!(
        "{}{space}{reason}: {}",
        code_name(status.code()),
        visible(status.message())
    )
}

fn parenthesized(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(" ({reason})")
    }
}

fn hint(server: &ServerArgs, status: &Status, details: &ErrorDetails) -> Option<String> {
    let info = details.error_info();
    let fact = |key: &str| {
        info.and_then(|info| info.metadata.get(key))
            .map(String::as_str)
    };
    match (status.code(), info.map(|info| info.reason.as_str())) {
        (Code::Unauthenticated, _) => Some(
            "the server knows no caller with this token or certificate: check --token-file (INVITATIONS_TOKEN_FILE) or \
             --client-certificate-file, and that the server was started with a callers file that knows it (invitations \
             caller new)"
                .to_owned(),
        ),
        (Code::PermissionDenied, Some("SCOPE_MISSING")) => Some(format!(
            "the caller is known, but lacks the scope {}: add it to \"scopes\" of the caller in the server's \
             callers file",
            fact("scope").map_or_else(|| "this call needs".to_owned(), visible),
        )),
        (Code::PermissionDenied, Some("ORGANIZATION_DENIED")) => Some(
            "the caller is known, but may not act for this organization: see \"organizations\" of the caller in the \
             server's callers file"
                .to_owned(),
        ),
        (Code::Unavailable, None) => Some(format!(
            "nobody answers at {}: is the server running? try: invitations health --server {}",
            server.address(),
            server.address(),
        )),
        _ if is_timeout(status) => Some(format!(
            "no answer within {}, it may or may not have been done: allow more with --timeout",
            humantime::format_duration(server.timeout()),
        )),
        // TLS 1.3 lets a client speak before the server has seen its certificate, so a refusal breaks the first call.
        (Code::Unknown | Code::Cancelled, None) if server.is_encrypted() => Some(
            "the connection broke: the server may have turned the client certificate away, or want one \
             (--client-certificate-file)"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::time::Duration;

    fn server() -> ServerArgs {
        ServerArgs::at("http://127.0.0.1:1")
    }

    #[test]
    fn every_detail_is_told() {
        let mut details =
            ErrorDetails::with_error_info("ITEMS_FAILED", "invitation.v1", HashMap::new());
        details
            .add_bad_request_violation("invitations[0].email", "is no address")
            .add_bad_request_violation("invitations[7].role", "is no role")
            .set_retry_info(Some(Duration::from_millis(1500)));
        let status =
            Status::with_error_details(Code::InvalidArgument, "some items failed", details);
        assert_eq!(
            describe("BulkCreate", &server(), &status),
            "BulkCreate failed: INVALID_ARGUMENT ITEMS_FAILED: some items failed\n  \
             invitations[0].email: is no address\n  \
             invitations[7].role: is no role\n  \
             may be tried again in 1.5 s"
        );
    }

    #[test]
    fn a_missing_scope_is_named() {
        let facts = HashMap::from([("scope".to_owned(), "invitations:read".to_owned())]);
        let details = ErrorDetails::with_error_info("SCOPE_MISSING", "invitation.v1", facts);
        let status =
            Status::with_error_details(Code::PermissionDenied, "a scope is missing", details);
        let text = describe("List", &server(), &status);
        assert!(text.contains("lacks the scope invitations:read"), "{text}");
    }

    #[test]
    fn a_wrong_token_and_a_timeout_say_what_to_try() {
        let wrong = describe("List", &server(), &Status::unauthenticated("who are you"));
        assert!(wrong.contains("--token-file"), "{wrong}");
        let late = describe("List", &server(), &Status::cancelled(LOCAL_TIMEOUT));
        assert!(late.starts_with("List failed: DEADLINE_EXCEEDED"), "{late}");
        assert!(late.contains("--timeout"), "{late}");
    }

    #[test]
    fn reasons_of_a_newer_service_keep_their_number() {
        assert_eq!(reason_name(1), "EMAIL_INVALID");
        assert_eq!(reason_name(9999), "REASON_9999");
    }
}

//! Texts for rejected calls: the code, the message, the reason, every violation, and what the user can do.

use std::fmt::Write as _;

use invitations_command::server::ServerArgs;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::output::escaped;

/// Message of the status CANCELLED that the client of tonic returns when the deadline of a call passes.
const LOCAL_TIMEOUT: &str = "Timeout expired";

/// Several lines about a rejected call, without a line break at the end.
pub(crate) fn describe(method: &str, server: &ServerArgs, status: &Status) -> String {
    let details = status.get_error_details();
    let mut text = format!("{method} failed: {}", summary_with(status, &details));
    let fields = details.bad_request().into_iter();
    let fields = fields.flat_map(|it| &it.field_violations);
    let fields = fields.map(|it| (&it.field, &it.description, it.reason.as_str()));
    let preconditions = details.precondition_failure().into_iter();
    let preconditions = preconditions.flat_map(|it| &it.violations);
    let preconditions = preconditions.map(|it| (&it.subject, &it.description, ""));
    let quotas = details.quota_failure().into_iter();
    let quotas = quotas.flat_map(|it| &it.violations);
    let quotas = quotas.map(|it| (&it.subject, &it.description, ""));
    for (subject, description, reason) in fields.chain(preconditions).chain(quotas) {
        let (subject, description) = (escaped(subject), escaped(description));
        let _ = write!(text, "\n  {subject}: {description}");
        if !reason.is_empty() {
            let _ = write!(text, " ({reason})");
        }
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        let _ = write!(text, "\n  retry after {:.1} s", delay.as_secs_f64());
    }
    if let Some(hint) = hint(server, status, &details) {
        let _ = write!(text, "\n  {hint}");
    }
    text
}

/// One line about a rejected call: code, reason and message.
pub(crate) fn summary(status: &Status) -> String {
    summary_with(status, &status.get_error_details())
}

/// Whether the deadline of the call passed, noticed by the server or by this client.
pub(crate) fn is_timeout(status: &Status) -> bool {
    status.code() == Code::DeadlineExceeded
        || (status.code() == Code::Cancelled && status.message() == LOCAL_TIMEOUT)
}

/// The code as the documentation of gRPC spells it, such as `NOT_FOUND`.
fn code_name(code: Code) -> String {
    let mut name = String::new();
    for character in format!("{code:?}").chars() {
        if character.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(character.to_ascii_uppercase());
    }
    name
}

fn summary_with(status: &Status, details: &ErrorDetails) -> String {
    if is_timeout(status) && status.code() == Code::Cancelled {
        return "DEADLINE_EXCEEDED: no answer in time".to_owned();
    }
    let code = code_name(status.code());
    let message = escaped(status.message());
    match details.error_info() {
        Some(info) if !info.reason.is_empty() => format!("{code} {}: {message}", info.reason),
        _ => format!("{code}: {message}"),
    }
}

fn hint(server: &ServerArgs, status: &Status, details: &ErrorDetails) -> Option<String> {
    let info = details.error_info();
    match (status.code(), info.map(|info| info.reason.as_str())) {
        (Code::Unauthenticated, _) => Some(
            "the server does not know this token or certificate: check --token-file (INVITATIONS_TOKEN_FILE) or \
             --client-certificate-file, and check that the callers file of the server has this caller (`invitations \
             caller new` adds one)"
                .to_owned(),
        ),
        (Code::PermissionDenied, Some("SCOPE_MISSING")) => {
            let scope = info.and_then(|info| info.metadata.get("scope"));
            let scope = scope.map_or_else(|| "that this call needs".to_owned(), |it| escaped(it));
            Some(format!(
                "the caller lacks the scope {scope}: add it to \"scopes\" of the caller in the callers file of the server"
            ))
        }
        (Code::PermissionDenied, Some("ORGANIZATION_DENIED")) => Some(
            "the caller may not act for this organization: see \"organizations\" of the caller in the callers file of \
             the server"
                .to_owned(),
        ),
        (Code::Unavailable, None) => Some(format!(
            "check that the server runs at {0}: invitectl health --server {0}",
            server.address,
        )),
        _ if is_timeout(status) => Some(format!(
            "there was no answer within {}, and the call may or may not have taken effect: allow more time with --timeout",
            humantime::format_duration(server.timeout()),
        )),
        // With TLS 1.3 a client may send before the server has checked its certificate, so a rejection breaks the first call.
        (Code::Unknown | Code::Cancelled, None) if server.is_encrypted() => Some(
            "the connection broke: the server may have rejected the client certificate, or it requires one \
             (--client-certificate-file)"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::server_args;
    use std::collections::HashMap;
    use std::time::Duration;

    fn server() -> ServerArgs {
        server_args("http://127.0.0.1:1")
    }

    #[test]
    fn every_detail_is_printed() {
        let mut details =
            ErrorDetails::with_error_info("ITEMS_FAILED", "invitation.v1", HashMap::new());
        details
            .add_bad_request_violation("invitations[0].email", "is not an address")
            .add_bad_request_violation("invitations[7].role", "is not a role")
            .set_retry_info(Some(Duration::from_millis(1500)));
        let status =
            Status::with_error_details(Code::InvalidArgument, "some items failed", details);
        assert_eq!(
            describe("BulkCreate", &server(), &status),
            "BulkCreate failed: INVALID_ARGUMENT ITEMS_FAILED: some items failed\n  \
             invitations[0].email: is not an address\n  \
             invitations[7].role: is not a role\n  \
             retry after 1.5 s"
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
    fn a_wrong_token_and_a_timeout_come_with_a_hint() {
        let wrong = describe(
            "List",
            &server(),
            &Status::unauthenticated("the credentials are not valid"),
        );
        assert!(wrong.contains("--token-file"), "{wrong}");
        let late = describe("List", &server(), &Status::cancelled(LOCAL_TIMEOUT));
        assert!(late.starts_with("List failed: DEADLINE_EXCEEDED"), "{late}");
        assert!(late.contains("--timeout"), "{late}");
    }
}

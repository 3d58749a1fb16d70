//! The page of errors in the documentation, made from the protocol: its comments are the only place where they are
//! written.
//!
//! After a change of a comment or a reason: `make docs`.

use std::fmt::Write as _;

use invitations::domain::reason::{ErrorKind, Reason};

use crate::support::descriptors;
use crate::support::documented_reasons::{METHOD_REASONS, OF_EVERY_METHOD};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
const BEGIN: &str = "<!-- errors -->\n";
const END: &str = "<!-- /errors -->";
const PREFIX: &str = "ERROR_REASON_";
/// Set by `make docs`: write the page instead of checking it.
const WRITE: &str = "WRITE_DOCS";

#[test]
fn the_page_of_errors_says_what_the_protocol_says() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (found, tail) = rest.split_once(END).unwrap();
    let expected = table();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(PAGE, format!("{head}{BEGIN}{expected}{END}{tail}")).unwrap();
        return;
    }
    assert!(
        found == expected,
        "docs/errors.md is not what the protocol says: run `make docs` and commit it"
    );
}

#[test]
fn every_reason_says_what_to_do() {
    for (code, comment) in reasons() {
        let sentences = comment.matches(". ").count() + 1;
        assert!(sentences >= 2, "{code} says what it is and not what to do");
    }
}

#[test]
fn every_reason_is_of_some_method() {
    for reason in Reason::ALL {
        let is_of_one = METHOD_REASONS
            .values()
            .any(|reasons| reasons.of_call.contains(&reason) || reasons.of_items.contains(&reason));
        let is_of_every_method = OF_EVERY_METHOD.contains(&reason);
        assert!(
            is_of_one || is_of_every_method,
            "no method names {}",
            reason.code()
        );
    }
}

fn table() -> String {
    let mut table = "| reason | code | what it means, and what to do |\n|---|---|---|\n".to_owned();
    for (code, comment) in reasons() {
        let reason = Reason::from_code(&code).unwrap();
        let kind = status_code(reason.kind());
        writeln!(table, "| `{code}` | {kind} | {comment} |").unwrap();
    }
    table.push_str("\n## The reasons of each method\n\n");
    writeln!(
        table,
        "Every method may also answer {}.\n",
        list(OF_EVERY_METHOD.into_iter())
    )
    .unwrap();
    table.push_str(
        "| method | reasons of a refused call | reasons of a refused item |\n|---|---|---|\n",
    );
    for (path, reasons) in METHOD_REASONS.iter() {
        let name = path.trim_start_matches("/invitation.v1.").replace('/', ".");
        let is_named = |reason: &Reason| !OF_EVERY_METHOD.contains(reason);
        let of_call = list(reasons.of_call.iter().copied().filter(is_named));
        let of_items = list(reasons.of_items.iter().copied());
        writeln!(table, "| {name} | {of_call} | {of_items} |").unwrap();
    }
    table
}

fn list(reasons: impl Iterator<Item = Reason>) -> String {
    let codes = reasons.map(|reason| format!("`{}`", reason.code()));
    codes.collect::<Vec<_>>().join(", ")
}

/// Recorded a second time, so that a code that changes is noticed here.
const fn status_code(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "INVALID_ARGUMENT",
        ErrorKind::Unauthenticated => "UNAUTHENTICATED",
        ErrorKind::Denied => "PERMISSION_DENIED",
        ErrorKind::NotFound => "NOT_FOUND",
        ErrorKind::Exists => "ALREADY_EXISTS",
        ErrorKind::Precondition => "FAILED_PRECONDITION",
        ErrorKind::Exhausted => "RESOURCE_EXHAUSTED",
        ErrorKind::Aborted => "ABORTED",
        ErrorKind::Unavailable => "UNAVAILABLE",
        ErrorKind::Deadline => "DEADLINE_EXCEEDED",
        ErrorKind::Internal => "INTERNAL",
    }
}

/// Every reason with its comment, as one line.
fn reasons() -> Vec<(String, String)> {
    let mut reasons = Vec::new();
    for file in descriptors::files() {
        for (number, found) in file.enum_type.iter().enumerate() {
            if found.name() != "ErrorReason" {
                continue;
            }
            for (value_number, value) in found.value.iter().enumerate().skip(1) {
                let code = value.name().strip_prefix(PREFIX).unwrap().to_owned();
                let comment = descriptors::comment(&file, [5, number, 2, value_number]);
                reasons.push((code, comment.replace('|', "\\|")));
            }
        }
    }
    reasons
}

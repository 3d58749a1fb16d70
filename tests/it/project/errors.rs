//! The page of errors in the documentation, made from the protocol: its comments are the only place where they are
//! written.
//!
//! After a change of a comment or a reason: `make docs`.

use std::fmt::Write as _;

use invitations::domain::reason::{ErrorKind, Reason};
use invitations::proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
const BEGIN: &str = "<!-- errors -->\n";
const END: &str = "<!-- /errors -->";
const PREFIX: &str = "ERROR_REASON_";
/// Set by `make docs`: write the page instead of checking it.
const WRITE: &str = "WRITE_DOCS";
/// Every method may answer these, so none names them.
const OF_EVERY_METHOD: [Reason; 10] = [
    Reason::CredentialsInvalid,
    Reason::ScopeMissing,
    Reason::MethodDenied,
    Reason::OrganizationDenied,
    Reason::UserDenied,
    Reason::RequestMalformed,
    Reason::Conflict,
    Reason::Overloaded,
    Reason::DeadlineExceeded,
    Reason::Internal,
];

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
fn every_reason_is_some_methods_and_named_by_it() {
    let methods = methods();
    for reason in Reason::ALL {
        let named = methods
            .iter()
            .any(|(_, comment)| names(comment, reason.code()));
        let expected = !OF_EVERY_METHOD.contains(&reason);
        assert!(
            named || !expected,
            "no method's comment names {}",
            reason.code()
        );
    }
}

fn table() -> String {
    let methods = methods();
    let mut table =
        "| reason | code | what it means, and what to do | methods |\n|---|---|---|---|\n"
            .to_owned();
    for (code, comment) in reasons() {
        let reason = Reason::from_code(&code).unwrap();
        let from = if OF_EVERY_METHOD.contains(&reason) {
            "all".to_owned()
        } else {
            let from = methods
                .iter()
                .filter(|(_, comment)| names(comment, &code))
                .map(|(name, _)| name.as_str());
            from.collect::<Vec<_>>().join(", ")
        };
        let kind = status_code(reason.kind());
        writeln!(table, "| `{code}` | {kind} | {comment} | {from} |").unwrap();
    }
    table
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

/// Whether a comment names a reason as a word of its own: `REVOKED` is not in `ALREADY_REVOKED`.
fn names(comment: &str, code: &str) -> bool {
    comment
        .split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
        .any(|word| word == code)
}

/// Every reason with its comment, as one line.
fn reasons() -> Vec<(String, String)> {
    let mut reasons = Vec::new();
    for file in files() {
        for (number, found) in file.enum_type.iter().enumerate() {
            if found.name() != "ErrorReason" {
                continue;
            }
            for (value_number, value) in found.value.iter().enumerate().skip(1) {
                let code = value.name().strip_prefix(PREFIX).unwrap().to_owned();
                reasons.push((code, comment(&file, &[5, number, 2, value_number])));
            }
        }
    }
    reasons
}

/// Every method of the protocol as `Service.Method`, with its comment.
fn methods() -> Vec<(String, String)> {
    let mut methods = Vec::new();
    for file in files() {
        for (service_number, service) in file.service.iter().enumerate() {
            for (number, method) in service.method.iter().enumerate() {
                let service = service.name().trim_end_matches("Service");
                let name = format!("{service}.{}", method.name());
                methods.push((name, comment(&file, &[6, service_number, 2, number])));
            }
        }
    }
    methods
}

fn files() -> Vec<FileDescriptorProto> {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    let is_ours = |file: &FileDescriptorProto| file.package() == "invitation.v1";
    files.into_iter().filter(is_ours).collect()
}

fn comment(file: &FileDescriptorProto, path: &[usize]) -> String {
    let path: Vec<i32> = path
        .iter()
        .map(|part| i32::try_from(*part).unwrap())
        .collect();
    let locations = &file.source_code_info.as_ref().unwrap().location;
    let location = locations.iter().find(|location| location.path == path);
    let words: Vec<&str> = location
        .unwrap()
        .leading_comments()
        .split_whitespace()
        .collect();
    words.join(" ").replace('|', "\\|")
}

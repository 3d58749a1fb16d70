//! Errors as gRPC statuses: code, reason and details. Failures of the service are logged here, once.

use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::limits::{RETRY_DELAY_JITTER, RETRY_DELAY_MAX, VIOLATIONS_IN_STATUS_MAX};
use crate::domain::new_invitation::ITEMS_MAX;
use crate::domain::quota::ExceededQuota;
use crate::domain::reason::{DOMAIN, ErrorKind, Reason, Violation};
use crate::entropy;
use crate::service::ServiceError;

pub(super) const fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::Unauthenticated => Code::Unauthenticated,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::Exists => Code::AlreadyExists,
        ErrorKind::Precondition => Code::FailedPrecondition,
        ErrorKind::Exhausted => Code::ResourceExhausted,
        ErrorKind::Aborted => Code::Aborted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Deadline => Code::DeadlineExceeded,
        ErrorKind::Internal => Code::Internal,
    }
}

pub(super) fn refused(reason: Reason) -> Status {
    build(reason, reason.kind(), &[], [])
}

/// The status for a caller that is too fast, with the time until it may continue.
pub(super) fn rate_limited(delay: Duration) -> Status {
    let reason = Reason::RateLimited;
    let mut details = ErrorDetails::with_error_info(reason.code(), DOMAIN, HashMap::new());
    details.set_retry_info(Some(delay));
    Status::with_error_details(code(reason.kind()), reason.sentence(), details)
}

/// The status for a call that exceeds quotas, with the time until all of them may have room. The metadata describes the first
/// quota.
fn exhausted(exceeded: &[ExceededQuota]) -> Status {
    let reason = Reason::QuotaExceeded;
    let facts = exceeded.first().map(quota_facts).into_iter().flatten();
    let mut details = ErrorDetails::with_error_info(
        reason.code(),
        DOMAIN,
        facts.collect::<HashMap<String, String>>(),
    );
    for one in exceeded {
        details.add_quota_failure_violation(one.quota.subject(), one.quota.sentence());
    }
    let delay = exceeded.iter().map(|one| one.retry_after).max();
    details.set_retry_info(delay);
    Status::with_error_details(code(reason.kind()), reason.sentence(), details)
}

pub(super) fn quota_facts(exceeded: &ExceededQuota) -> [(String, String); 3] {
    [
        ("quota", exceeded.quota.as_str().to_owned()),
        ("limit", exceeded.limit.to_string()),
        (
            "retry_after_seconds",
            exceeded.retry_after_seconds().to_string(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
}

/// [`refused`] with one entry of metadata.
pub(super) fn refused_with(reason: Reason, name: &str, value: &str) -> Status {
    build(reason, reason.kind(), &[], [(name, value.to_owned())])
}

pub(super) fn invalid(violations: Vec<Violation>) -> Status {
    from_service(&ServiceError::Invalid(violations))
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        from_service(&error)
    }
}

/// The status for an error of a use case. Texts of the database driver are logged, and never sent.
fn from_service(error: &ServiceError) -> Status {
    let reason = error.reason();
    match error.kind() {
        ErrorKind::Internal => tracing::error!(
            error = error as &dyn Error,
            cause = error.source(),
            "a call failed"
        ),
        ErrorKind::Unavailable => {
            tracing::warn!(error = error as &dyn Error, "the database is unavailable");
        }
        _ => tracing::debug!(error.reason = reason.code(), "a call was refused"),
    }
    if !error.exceeded().is_empty() {
        return exhausted(error.exceeded());
    }
    let violations = error.violations();
    let count = (!violations.is_empty()).then(|| ("violation_count", violations.len().to_string()));
    let limit = (reason == Reason::TooManyItems).then(|| ("limit", ITEMS_MAX.to_string()));
    build(
        reason,
        error.kind(),
        violations,
        count.into_iter().chain(limit),
    )
}

fn build<'a>(
    reason: Reason,
    kind: ErrorKind,
    violations: &[Violation],
    facts: impl IntoIterator<Item = (&'a str, String)>,
) -> Status {
    let facts: HashMap<String, String> = facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let mut details = ErrorDetails::with_error_info(reason.code(), DOMAIN, facts);
    if !violations.is_empty() {
        let fields: Vec<FieldViolation> = violations
            .iter()
            .take(VIOLATIONS_IN_STATUS_MAX)
            .map(|violation| {
                let mut field = FieldViolation::new(&violation.field, violation.reason.sentence());
                violation.reason.code().clone_into(&mut field.reason);
                field
            })
            .collect();
        details.set_bad_request(fields);
    }
    let delay = matches!(kind, ErrorKind::Aborted | ErrorKind::Unavailable)
        .then(|| entropy::jittered(RETRY_DELAY_MAX, RETRY_DELAY_JITTER));
    if delay.is_some() {
        details.set_retry_info(delay);
    }
    let mut status = Status::with_error_details(code(kind), reason.sentence(), details);
    if let Some(delay) = delay.filter(|_| kind == ErrorKind::Unavailable) {
        push_back(&mut status, delay);
    }
    status
}

/// Tells clients that retry automatically how long to wait (gRFC A6).
fn push_back(status: &mut Status, delay: Duration) {
    let millis = u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
    status
        .metadata_mut()
        .insert("grpc-retry-pushback-ms", MetadataValue::from(millis));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_violation_is_named_or_counted() {
        let violations: Vec<_> = (0..1_000)
            .map(|index| {
                Violation::new(format!("invitations[{index}].email"), Reason::EmailInvalid)
            })
            .collect();
        let status = from_service(&ServiceError::ItemsFailed(violations));
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "ITEMS_FAILED");
        assert_eq!(
            details.error_info().unwrap().metadata["violation_count"],
            "1000"
        );
        assert_eq!(
            details.bad_request().unwrap().field_violations.len(),
            VIOLATIONS_IN_STATUS_MAX
        );
        // In base64 the details must fit into the headers that clients accept.
        assert!(
            status.details().len() < 6 * 1_024,
            "{}",
            status.details().len()
        );
    }

    #[test]
    fn an_error_that_is_worth_a_retry_says_when() {
        for reason in [Reason::Conflict, Reason::Overloaded] {
            let status = refused(reason);
            let delay = status
                .get_error_details()
                .retry_info()
                .unwrap()
                .retry_delay
                .unwrap();
            assert!((Duration::from_millis(500)..=RETRY_DELAY_MAX).contains(&delay));
        }
    }
}

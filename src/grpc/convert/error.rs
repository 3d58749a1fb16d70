//! Reasons and the errors of items.

use crate::domain::quota::ExceededQuota;
use crate::domain::reason::{Reason, Violation};
use crate::grpc::status;
use crate::proto;

/// A reason on the wire: the protocol's enum has the same names.
pub(in crate::grpc) fn reason(reason: Reason) -> proto::ErrorReason {
    proto::ErrorReason::from_str_name(&format!("ERROR_REASON_{}", reason.code()))
        .unwrap_or_default()
}

/// The error of an item: its first violation speaks for it.
pub(in crate::grpc) fn item_error(
    violations: &[Violation],
    first_index: Option<usize>,
) -> proto::ItemError {
    let first = violations
        .first()
        .map_or(Reason::Internal, |violation| violation.reason);
    proto::ItemError {
        code: i32::from(status::code(first.kind())),
        reason: reason(first).into(),
        message: first.sentence().to_owned(),
        metadata: first_index
            .map(|index| ("first_index".to_owned(), index.to_string()))
            .into_iter()
            .collect(),
        violations: violations
            .iter()
            .map(|violation| proto::ItemViolation {
                field: violation.field.clone(),
                reason: reason(violation.reason).into(),
                message: violation.reason.sentence().to_owned(),
            })
            .collect(),
    }
}

/// The same with what is to be known of the quota that has no room for it, if that is why.
pub(in crate::grpc) fn with_quota(
    mut error: proto::ItemError,
    exceeded: Option<&ExceededQuota>,
) -> proto::ItemError {
    error
        .metadata
        .extend(exceeded.map(status::quota_facts).into_iter().flatten());
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_and_the_domain_name_the_same_reasons() {
        let names: Vec<_> = Reason::ALL
            .iter()
            .map(|one| reason(*one).as_str_name())
            .collect();
        let expected: Vec<_> = Reason::ALL
            .iter()
            .map(|one| format!("ERROR_REASON_{}", one.code()))
            .collect();
        assert_eq!(names, expected);
        let in_protocol = (1..200)
            .filter_map(|number| proto::ErrorReason::try_from(number).ok())
            .count();
        assert_eq!(in_protocol, Reason::ALL.len());
    }
}

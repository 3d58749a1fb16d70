//! Reasons, and the errors of items.

use prost::Message as _;

use crate::domain::reason::{Reason, Violation};
use crate::grpc::status;
use crate::grpc::wire::limits::{ITEM_ERROR_BYTES_MAX, ITEM_ERROR_BYTES_MAX_BESIDE_INVITATION};
use crate::proto;
use crate::service::{ItemOutcome, ItemResult, RefusedInvitation};

/// The reason in the enum of the protocol, which has the same names.
pub(in crate::grpc) fn reason(reason: Reason) -> proto::ErrorReason {
    proto::ErrorReason::from_str_name(&format!("ERROR_REASON_{}", reason.code()))
        .unwrap_or_default()
}

/// The error of an item. The first violation gives its code, reason and message. At most [`ITEM_ERROR_BYTES_MAX`] long.
pub(in crate::grpc) fn item_error(
    violations: &[Violation],
    first_index: Option<usize>,
) -> proto::ItemError {
    let first = violations
        .first()
        .map_or(Reason::Internal, |violation| violation.reason);
    let mut error = proto::ItemError {
        code: i32::from(status::code(first.kind())),
        reason: reason(first).into(),
        message: first.sentence().to_owned(),
        metadata: first_index
            .map(|index| ("first_index".to_owned(), index.to_string()))
            .into_iter()
            .collect(),
        omitted_violation_count: 0,
        violations: violations
            .iter()
            .map(|violation| proto::ItemViolation {
                field: violation.field.clone(),
                reason: reason(violation.reason).into(),
                message: violation.reason.sentence().to_owned(),
            })
            .collect(),
    };
    limit(&mut error, ITEM_ERROR_BYTES_MAX);
    error
}

/// Leaves out violations from the end until the error is not larger than `bytes_max`.
fn limit(error: &mut proto::ItemError, bytes_max: usize) {
    while error.encoded_len() > bytes_max && error.violations.pop().is_some() {
        error.omitted_violation_count += 1;
    }
}

pub(super) fn of_result(result: &ItemResult) -> Option<proto::ItemError> {
    if result.outcome != ItemOutcome::Failed {
        return None;
    }
    let mut error = item_error(&result.violations, result.first_index);
    let quota = result.exceeded.as_ref().map(status::quota_facts);
    error.metadata.extend(quota.into_iter().flatten());
    let bytes_max = match result.invitation {
        None => ITEM_ERROR_BYTES_MAX,
        Some(_) => ITEM_ERROR_BYTES_MAX_BESIDE_INVITATION,
    };
    limit(&mut error, bytes_max);
    Some(error)
}

pub(super) fn of_refused(refused: RefusedInvitation) -> proto::ItemError {
    let violation = Violation::new("invitation_id", refused.reason);
    item_error(&[violation], refused.first_index)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::quota::{ExceededQuota, Quota};

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

    /// An item that breaks every rule, with the reason and the longest sentence of the protocol.
    fn every_violation(first: Reason) -> Vec<Violation> {
        let longest = Reason::ALL.into_iter().max_by_key(|it| it.sentence().len());
        let others = [longest.unwrap(); 14].map(|it| Violation::new("private_metadata", it));
        let first = Violation::new("private_metadata", first);
        std::iter::once(first).chain(others).collect()
    }

    #[test]
    fn an_error_with_every_violation_is_bounded() {
        for reason in Reason::ALL {
            let mut error = item_error(&every_violation(reason), Some(9_999));
            assert!(error.encoded_len() <= ITEM_ERROR_BYTES_MAX, "{reason:?}");
            assert!(!error.violations.is_empty(), "{reason:?}");
            let violation_count = error.violations.len() + count(&error);
            assert_eq!(violation_count, 15);
            error.metadata.clear();
            limit(&mut error, ITEM_ERROR_BYTES_MAX_BESIDE_INVITATION);
            assert!(error.encoded_len() <= ITEM_ERROR_BYTES_MAX_BESIDE_INVITATION);
            assert_eq!(error.violations.len() + count(&error), 15);
        }
    }

    #[test]
    fn an_error_of_a_quota_keeps_its_violation_and_its_facts() {
        let exceeded = Quota::ALL.map(|quota| ExceededQuota {
            quota,
            limit: u64::MAX,
            retry_after: Duration::from_secs(u64::from(u32::MAX)),
        });
        for exceeded in exceeded {
            let violation = Violation::new("email", Reason::QuotaExceeded);
            let result = ItemResult {
                outcome: ItemOutcome::Failed,
                invitation: None,
                violations: vec![violation],
                first_index: None,
                exceeded: Some(exceeded),
                link: None,
            };
            let error = of_result(&result).unwrap();
            assert!(error.encoded_len() <= ITEM_ERROR_BYTES_MAX);
            assert_eq!((error.violations.len(), error.metadata.len()), (1, 3));
        }
    }

    fn count(error: &proto::ItemError) -> usize {
        usize::try_from(error.omitted_violation_count).unwrap()
    }
}

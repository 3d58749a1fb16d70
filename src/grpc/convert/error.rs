//! Reasons, and the errors of items.

use std::collections::HashMap;

use prost::Message as _;

use crate::domain::reason::{Reason, Violation};
use crate::grpc::status;
use crate::grpc::wire::limits::{BASIC_INVITATION_BYTES_MAX, ITEM_ERRORS_BYTES_MAX};
use crate::proto;
use crate::service::{ItemOutcome, ItemResult, RefusedInvitation};

/// The reason in the enum of the protocol, which has the same names.
pub(in crate::grpc) fn reason(reason: Reason) -> proto::ErrorReason {
    proto::ErrorReason::from_str_name(&format!("ERROR_REASON_{}", reason.code()))
        .unwrap_or_default()
}

/// The errors of the items of one response, each of which gets an equal share of [`ITEM_ERRORS_BYTES_MAX`].
#[derive(Clone, Copy)]
pub(in crate::grpc) struct ItemErrors {
    bytes_max: usize,
}

impl ItemErrors {
    pub(in crate::grpc) fn among(result_count: usize) -> Self {
        Self {
            bytes_max: ITEM_ERRORS_BYTES_MAX / result_count.max(1),
        }
    }

    /// The error of an item. The first violation gives its code, reason and message.
    pub(super) fn of_violations(
        self,
        violations: &[Violation],
        first_index: Option<usize>,
    ) -> proto::ItemError {
        let mut error = item_error(violations);
        if let Some(index) = first_index {
            let fact = ("first_index".to_owned(), index.to_string());
            error.metadata.extend([fact]);
        }
        limit(&mut error, self.bytes_max);
        error
    }

    pub(super) fn of_result(self, result: &ItemResult) -> Option<proto::ItemError> {
        if result.outcome != ItemOutcome::Failed {
            return None;
        }
        let mut error = self.of_violations(&result.violations, result.first_index);
        let quota = result.exceeded.as_ref().map(status::quota_facts);
        error.metadata.extend(quota.into_iter().flatten());
        if result.invitation.is_some() {
            self.leave_room_for_invitation(&mut error);
        }
        Some(error)
    }

    fn leave_room_for_invitation(self, error: &mut proto::ItemError) {
        limit(error, self.bytes_max - BASIC_INVITATION_BYTES_MAX);
    }

    pub(super) fn of_refused(self, refused: RefusedInvitation) -> proto::ItemError {
        let violation = Violation::new("invitation_id", refused.reason);
        self.of_violations(&[violation], refused.first_index)
    }
}

fn item_error(violations: &[Violation]) -> proto::ItemError {
    let first = violations
        .first()
        .map_or(Reason::Internal, |violation| violation.reason);
    proto::ItemError {
        code: i32::from(status::code(first.kind())),
        reason: reason(first).into(),
        message: first.sentence().to_owned(),
        metadata: HashMap::new(),
        omitted_violation_count: 0,
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

/// Leaves out violations from the end until the error is not larger than `bytes_max`.
fn limit(error: &mut proto::ItemError, bytes_max: usize) {
    while error.encoded_len() > bytes_max && error.violations.pop().is_some() {
        error.omitted_violation_count += 1;
    }
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
    fn errors_with_every_violation_share_the_bytes_of_a_response() {
        for (result_count, reason) in [10_000, 1_000, 1]
            .into_iter()
            .flat_map(|count| Reason::ALL.map(|reason| (count, reason)))
        {
            let errors = ItemErrors::among(result_count);
            let error = errors.of_violations(&every_violation(reason), Some(9_999));
            assert!(error.encoded_len() * result_count <= ITEM_ERRORS_BYTES_MAX);
            assert!(!error.violations.is_empty(), "{reason:?}");
            assert_eq!(error.violations.len() + count(&error), 15);
            assert!(result_count == 10_000 || count(&error) == 0, "{reason:?}");
        }
    }

    #[test]
    fn an_error_leaves_room_for_its_invitation() {
        for reason in Reason::ALL {
            let errors = ItemErrors::among(10_000);
            let mut error = errors.of_violations(&every_violation(reason), None);
            errors.leave_room_for_invitation(&mut error);
            let bytes_max = ITEM_ERRORS_BYTES_MAX / 10_000 - BASIC_INVITATION_BYTES_MAX;
            assert!(error.encoded_len() <= bytes_max, "{reason:?}");
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
                exceeded: Some(exceeded),
                outcome: ItemOutcome::Failed,
                invitation: None,
                violations: vec![violation],
                first_index: None,
                link: None,
            };
            let error = ItemErrors::among(10_000).of_result(&result).unwrap();
            assert!(error.encoded_len() * 10_000 <= ITEM_ERRORS_BYTES_MAX);
            assert_eq!((error.violations.len(), error.metadata.len()), (1, 3));
        }
    }

    fn count(error: &proto::ItemError) -> usize {
        usize::try_from(error.omitted_violation_count).unwrap()
    }
}
